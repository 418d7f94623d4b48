"""The closed loop over a program's own Runner and Metrics."""

import subprocess
import sys
import time

import pytest
from places import either, urls

from scheduler import (
    Arm,
    Data,
    Err,
    EvaluationsFailed,
    Experiment,
    GenerationStep,
    GenerationStrategy,
    Metric,
    MetricFetchE,
    Models,
    Objective,
    Ok,
    OptimizationConfig,
    RangeParameter,
    Runner,
    Scheduler,
    SchedulerOptions,
    SearchSpace,
    SyntheticRunner,
    TrialStatus,
    UserInputError,
)
from scheduler.generation.inline import InlineGenerator

__all__ = ["either", "urls"]

SPACE = SearchSpace([RangeParameter("x", lower=-5.0, upper=10.0)])
SOBOL = GenerationStrategy(steps=[GenerationStep(Models.SOBOL)])


class Loss(Metric):
    """As in Ax's tutorial: rows of a trial's arms."""

    def fetch_trial_data(self, trial, **kwargs):
        return Ok(
            Data(
                rows=[
                    {
                        "arm_name": name,
                        "trial_index": trial.index,
                        "metric_name": self.name,
                        "mean": arm.parameters["x"] ** 2,
                        "sem": 0.0,
                    }
                    for name, arm in trial.arms_by_name.items()
                ]
            )
        )


class Queue(Runner):
    """Jobs that run until they were polled twice."""

    def __init__(self):
        self.started, self.polls, self.most, self.stopped = [], {}, 0, []

    def run(self, trial):
        self.started.append(trial.index)
        return {"job": f"j{trial.index}"}

    def poll_trial_status(self, trials):
        found = {TrialStatus.RUNNING: set(), TrialStatus.COMPLETED: set()}
        self.most = max(self.most, len(trials))
        for trial in trials:
            self.polls[trial.index] = self.polls.get(trial.index, 0) + 1
            ended = self.polls[trial.index] > 2
            found[TrialStatus.COMPLETED if ended else TrialStatus.RUNNING].add(trial.index)
        return found

    def stop(self, trial, reason=None):
        self.stopped.append(trial.index)


@pytest.fixture
def experiment(either):
    made = []

    def make(runner, metric=None, name="loop", **options) -> Experiment:
        config = OptimizationConfig(Objective(metric or Loss("loss"), minimize=True))
        made.append(Experiment(SPACE, name, config, runner=runner, storage=either, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def scheduler(experiment, own_process=False, **options) -> Scheduler:
    """Return one that makes arms in this process, which is quick, unless told otherwise."""
    options = {"max_pending_trials": 2, "init_seconds_between_polls": 0.05} | options
    made = Scheduler(experiment, SOBOL, SchedulerOptions(**options))
    if not own_process:
        made._generator._worker = InlineGenerator()
    return made


def statuses(experiment):
    return [trial.status.value for trial in experiment.trials.values()]


def test_it_may_be_given_the_runner(experiment, tmp_path):
    queue, mine = Queue(), experiment(None)
    driver = Scheduler(mine, SOBOL, SchedulerOptions(total_trials=2), runner=queue)
    assert mine.definition.runner.type == "python"
    keys = {"type": "local", "command": ["true"]}
    with pytest.raises(UserInputError, match="stored with another runner: 'python'"):
        Scheduler(mine, runner=keys)
    driver.close()
    local = Scheduler(experiment(None, name="local"), SOBOL, runner=keys)
    assert local.experiment.definition.runner.command == ("true",)
    assert Scheduler(local.experiment, runner=keys).session is local.session


def test_a_daemon_that_looks_at_it_and_lets_go_is_waited_for(experiment):
    driver = scheduler(experiment(Queue()), total_trials=1)
    session = driver.session
    lease = session.place.store.acquire(session.experiment, time.time())
    real, tries = session.place.store.acquire, []

    def let_go_at_the_second(*arguments):
        tries.append(1)
        if len(tries) == 2:
            lease.release()
        return real(*arguments)

    session.place.store.acquire = let_go_at_the_second
    driver.run_all_trials()
    assert statuses(driver.experiment) == ["COMPLETED"]


def test_trials_are_run_and_learned_from_and_more_of_them_later(experiment):
    queue = Queue()
    mine = experiment(queue)
    mine.new_trial().add_arm(Arm({"x": 1.0}))
    driver, turns = scheduler(mine, own_process=True, total_trials=4), []
    driver.run_n_trials(3, idle_callback=turns.append)
    assert statuses(mine) == ["COMPLETED"] * 3
    assert (queue.started, queue.most, turns[0]) == ([0, 1, 2], 2, driver)
    assert mine.trials[2].run_metadata == {"job": "j2"}
    best = driver.get_best_parameterization()[0]["x"]
    assert abs(best) == min(abs(trial.arm.parameters["x"]) for trial in mine.trials.values())
    driver.run_all_trials()
    assert (statuses(mine), queue.started) == (["COMPLETED"] * 4, [0, 1, 2, 3])
    driver.run_n_trials(5)
    assert len(statuses(mine)) == 4


def test_what_a_process_began_another_one_ends(experiment):
    """The first is interrupted while jobs run; they go on, and are polled again."""

    def interrupt(driver):
        if statuses(driver.experiment) == ["RUNNING", "RUNNING"]:
            raise KeyboardInterrupt

    queue = Queue()
    queue.poll_trial_status = lambda trials: {TrialStatus.RUNNING: {t.index for t in trials}}
    mine = experiment(queue)
    scheduler(mine).run_n_trials(2, timeout_hours=0)
    assert not mine.session.state().tally.finished
    with pytest.raises(KeyboardInterrupt):
        scheduler(mine).run_n_trials(2, idle_callback=interrupt)
    assert statuses(mine) == ["RUNNING", "RUNNING"]
    after = Queue()
    again = Experiment.load(
        "loop", mine.session.place.url, runner=after, tracking_metrics=[Loss("loss")]
    )
    scheduler(again).run_n_trials(2)
    assert (statuses(again), after.started) == (["COMPLETED"] * 2, [])
    again.close()


def test_a_runner_may_be_synchronous_and_fail(experiment):
    class Broken(SyntheticRunner):
        def run(self, trial):
            if trial.index == 1:
                raise OSError("no space")
            return super().run(trial)

        def poll_trial_status(self, trials):
            found = {trial.index for trial in trials}
            return {TrialStatus.FAILED: found & {2}, TrialStatus.COMPLETED: found - {2}}

    class Sometimes(Loss):
        def fetch_trial_data(self, trial, **kwargs):
            if trial.index == 3:
                return Err(MetricFetchE("no such file"))
            return float("nan") if trial.index == 4 else trial.arm.parameters["x"]

    mine = experiment(Broken(), Sometimes("loss"))
    scheduler(mine, tolerated_trial_failure_rate=0.9).run_n_trials(6)
    found = [(t.status.value, t.status_reason) for t in mine.trials.values()]
    completed = ("COMPLETED", "")
    assert (found[0], found[5]) == (completed, completed)
    assert [status for status, _ in found[1:5]] == ["FAILED"] * 4
    said = [
        "OSError: no space",
        "the job ended FAILED",
        "no such file",
        "nan, not a finite number",
    ]
    for (_, reason), words in zip(found[1:5], said, strict=True):
        assert words in reason


def test_too_many_failures_end_it(experiment):
    class Broken(Runner):
        def run(self, trial):
            raise RuntimeError("it broke")

    mine = experiment(Broken())
    with pytest.raises(EvaluationsFailed, match="2 of 2 trials failed; 50% are tolerated"):
        scheduler(mine, min_failed_trials_for_failure_rate_check=2).run_n_trials(9)


def test_a_trial_that_runs_too_long_is_stopped(experiment):
    queue = Queue()
    queue.poll_trial_status = lambda trials: {TrialStatus.RUNNING: {t.index for t in trials}}
    mine = experiment(queue)
    driver = scheduler(mine, ttl_seconds_for_trials=0.1)
    with pytest.raises(EvaluationsFailed, match="none of them completed"):
        driver.run_n_trials(1)
    assert (queue.stopped, statuses(mine)) == ([0], ["FAILED"])
    assert "the limit is" in mine.trials[0].status_reason


def test_trials_run_by_hand_use_the_runner_too(experiment):
    queue = Queue()
    mine = experiment(queue)
    trial = mine.new_trial().add_arm(Arm({"x": 1.0})).run()
    assert (trial.status, trial.run_metadata) == (TrialStatus.RUNNING, {"job": "j0"})
    trial.stop(TrialStatus.ABANDONED, "enough")
    assert (queue.stopped, trial.status_reason) == ([0], "enough")
    queue.run = lambda trial: {"job": object()}
    other = mine.new_trial().add_arm(Arm({"x": 2.0}))
    with pytest.raises(UserInputError, match="what the runner returned cannot be stored"):
        other.run()
    queue.staging_required, queue.run = True, lambda trial: None
    assert mine.new_trial().add_arm(Arm({"x": 3.0})).run().status is TrialStatus.STAGED


def test_a_runner_that_schedd_knows_is_driven_by_whoever_comes(experiment, tmp_path):
    """Begun by a program, ended by the command line."""
    fetcher = {"fetcher": {"type": "json", "path": "{trial_dir}/m.json"}}
    code = "import sys, json; json.dump({'loss': float(sys.argv[1])}, open(sys.argv[2], 'w'))"
    command = [sys.executable, "-c", code, "{params.x}", "{trial_dir}/m.json"]
    options = {"metrics": {"loss": fetcher}}
    mine = experiment({"type": "local", "command": command}, Metric("loss"), options=options)
    scheduler(mine).run_n_trials(1)
    assert statuses(mine) == ["COMPLETED"]
    mine.new_trial().add_arm(Arm({"x": 1.5}))
    scheduler(mine, total_trials=2)._set({})
    url = mine.session.place.url
    schedd = [sys.executable, "-P", "-c", "from scheduler.cli import main; main()"]
    done = subprocess.run(
        [*schedd, "resume", "loop", "--storage", url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert statuses(mine) == ["COMPLETED"] * 2
    assert mine.lookup_data().rows[1]["mean"] == 1.5


def test_what_is_missing_is_told(experiment):
    with pytest.raises(UserInputError, match="'loss' does not say how it is fetched"):
        scheduler(experiment(Queue(), Metric("loss")))
    with pytest.raises(UserInputError, match="run_all_trials needs"):
        scheduler(experiment(Queue(), name="other")).run_all_trials()
