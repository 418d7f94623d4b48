"""Whole experiments: the real loop, databases, Sobol and fetchers; a runner without a backend."""

import json
from pathlib import Path

import pytest
from places import another, url
from simulation.bench import Bench, definition
from sqlalchemy import event

from metrics.base import Fetcher, FetcherOptions, Point
from runners.base import JobState, Rejected
from runners.testing import FakeRunner
from scheduler.loop import Loop
from scheduler.measure import measure
from scheduler.model.experiment import Changes, Criterion, ExperimentStatus
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.storage.errors import StorageBusy
from scheduler.storage.journal import ExperimentJournal
from scheduler.storage.write import write

__all__ = ["url"]

S, T = JobState, TrialStatus


@pytest.fixture
def bench(url, tmp_path):
    made = []

    def make(**changes):
        made.append(Bench(url, tmp_path, **changes))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_whole_experiment_runs_each_trial_once(bench):
    done = bench().run()
    assert done.statuses() == [(T.COMPLETED, None)] * 6
    assert (done.stop, done.loop.state.status) == (
        Criterion.TOTAL_TRIALS,
        ExperimentStatus.COMPLETED,
    )
    assert list(done.backend.executions.values()) == [1] * 6
    losses = {o.trial_index: o.means["loss"] for o in done.loop.state.outcomes}
    assert losses == {t.index: t.arms[0].parameters["x"] for t in done.trials().values()}


def test_it_goes_on_in_another_process_after_any_tick_with_the_same_arms(bench, url, tmp_path):
    plain = bench().run()
    with another(url, tmp_path) as elsewhere:
        restarted = Bench(elsewhere, tmp_path / "again")
        for _ in range(200):
            if not restarted.loop.ended:
                restarted.tick()
                restarted.loop = restarted.start()
                restarted.tick(0.2)
        assert [t.arms for t in restarted.trials().values()] == [
            t.arms for t in plain.trials().values()
        ]
        assert list(restarted.backend.executions.values()) == [1] * 6
        restarted.close()


@pytest.mark.parametrize(("away", "driven"), [(60.0, 60.0), (3600.0, 0.0)])
def test_a_short_gap_between_two_drivers_counts_as_driven(away, driven, bench):
    made = bench()
    noted = made.loop.world.now() - away
    assert Loop(made.loop.world, noted).tick() is not None
    again = Loop(made.loop.world, noted)
    again.tick()
    assert again.state.seconds == pytest.approx(2 * driven if driven else 0.0, abs=1e-6)


def test_arms_of_a_batch_are_deployed_together_with_the_status_quo(bench):
    done = bench(
        trials={"total_trials": 3, "batch_size": 3},
        status_quo={"parameters": {"x": 0.5}},
    ).run()
    assert [[a.name for a in t.arms] for t in done.trials().values()] == [
        ["status_quo"],
        ["1_0", "1_1", "1_2", "status_quo"],
        ["2_0", "2_1", "2_2", "status_quo"],
    ]
    assert len(done.backend.executions) == 3
    assert len(done.loop.state.outcomes) == 9
    assert done.loop.state.baseline == {"loss": 0.5}


def test_replicates_give_a_mean_and_its_standard_error(bench):
    done = bench(trials={"total_trials": 1, "replicates": 3})
    done.writes = lambda task, x: {"loss": 1.0 + int(task.env["SCHEDD_REPLICATE"])}
    ((_, metrics),) = done.run().loop.world.journal.measured()
    mean, sem = metrics["loss"]
    assert (mean, round(sem, 12)) == (2.0, round(1 / 3**0.5, 12))


def test_curves_are_stored_while_a_job_runs_and_once(bench):
    done = bench(
        trials={"total_trials": 1},
        metrics={"loss": {"available_while_running": True}},
    )
    done.backend.seconds = lambda _: 100.0
    for _ in range(4):
        done.tick()
    folder = done.experiment.trials_dir / "0" / "a1"
    folder.mkdir(parents=True)
    with (folder / "metrics.jsonl").open("w") as file:
        for step in (1, 2):
            print(json.dumps({"step": step, "loss": 1 / step}), file=file, flush=True)
            done.tick()
            assert done.curve() == [(0, 1.0, 1.0), (0, 2.0, 0.5)][:step]
    written = done.written()
    done.tick(0.2)
    assert done.written() == written


def test_a_trial_that_runs_too_long_is_cancelled_and_tried_again(bench):
    done = bench(
        trials={"total_trials": 1, "ttl": 30},
        failures={"retries": {"timeout": 1}},
    )
    done.backend.seconds = lambda job: 15.0 if job.name.endswith("a2") else 1e9
    done.run()
    (trial,) = done.trials().values()
    assert (trial.status, trial.attempt, trial.retries) == (T.COMPLETED, 2, {"timeout": 1})
    first = next(n for n in done.backend.executions if n.endswith("a1"))
    assert done.backend.report(first).state is S.CANCELLED


def test_a_trial_that_waits_too_long_is_cancelled(bench, monkeypatch):
    done = bench(trials={"total_trials": 1, "pending_ttl": 30})
    monkeypatch.setattr(done.backend, "start", lambda _: None)
    assert done.run().statuses() == [(T.FAILED, "PENDING_TIMEOUT")]
    assert done.loop.state.status is ExperimentStatus.FAILED
    assert not done.backend.executions


@pytest.mark.parametrize("then", ["fail", "abandon"])
def test_metrics_that_never_come_are_waited_for_a_while(bench, then):
    done = bench(
        trials={"total_trials": 1},
        missing_metrics={"retry_for": 60, "then": then},
    )
    done.writes = lambda task, x: None
    done.run()
    (trial,) = done.trials().values()
    status = {"fail": T.FAILED, "abandon": T.ABANDONED}[then]
    assert (trial.status, trial.reason) == (status, "METRICS_MISSING")
    assert 60 <= trial.completed_at - trial.ended_at <= 70


def test_metrics_that_come_late_complete_the_trial(bench):
    done = bench(trials={"total_trials": 1})
    done.writes = lambda task, x: None
    while not any(t.ended_at for t in done.trials().values()):
        done.tick()
    done.writes = lambda task, x: {"loss": 0.5}
    done.body(next(iter(done.backend._jobs.values())).job)
    assert done.run().statuses() == [(T.COMPLETED, None)]


def test_each_kind_of_failure_has_its_attempts_and_waits_longer_each_time(bench):
    done = bench(
        trials={"total_trials": 1},
        failures={"retries": {"error": 2}, "backoff": {"initial": 100, "factor": 3}},
    )
    done.fails = lambda job: 3
    done.run()
    (trial,) = done.trials().values()
    assert (trial.status, trial.attempt, trial.reason) == (T.FAILED, 3, "EXIT_CODE")
    staged = [e.time for e in done.events if e.kind == "trial_staged"]
    failed = [e.time for e in done.events if e.kind == "trial_candidate"]
    waits = [b - a for a, b in zip(failed, staged[1:], strict=True)]
    assert [w // 100 for w in waits] == [1, 3]


def test_failures_end_the_experiment_and_what_runs_is_cancelled(bench):
    done = bench(
        trials={"total_trials": 20, "max_pending_trials": 4},
        failures={"min_failed_trials_for_failure_rate_check": 2},
    )
    done.backend.seconds = lambda job: 1e9 if "-t3-" in job.name else 15.0
    done.fails = lambda job: 1
    done.run()
    assert (done.stop, done.loop.state.status) == (
        Criterion.FAILURE_RATE,
        ExperimentStatus.FAILED,
    )
    assert done.statuses()[3] == (T.ABANDONED, "EXPERIMENT_STOPPED")
    assert len(done.backend.executions) <= 4


def test_a_goal_ends_it(bench):
    done = bench(
        trials={"total_trials": 20},
        stopping_criteria={"goal": {"metric": "loss", "value": 0.2}},
    ).run()
    assert done.stop is Criterion.GOAL
    assert len(done.trials()) < 20


def test_a_person_stops_it_and_nothing_goes_on(bench):
    done = bench(trials={"total_trials": 20})
    done.backend.seconds = lambda _: 1e9
    for _ in range(4):
        done.tick()
    done.command("stop")
    done.run(5)
    assert done.stop is Criterion.USER
    assert {status for status, _ in done.statuses()} == {T.ABANDONED}
    assert {done.backend.report(n).state for n in done.backend.executions} == {S.CANCELLED}


def test_a_retry_of_a_failed_trial_reopens_an_experiment(bench):
    done = bench(trials={"total_trials": 2})
    done.fails = lambda job: int("-t1-a1" in job.name)
    assert done.run().statuses()[1] == (T.FAILED, "EXIT_CODE")
    done.command("retry", 1)
    done.loop = done.start()
    assert done.run().statuses() == [(T.COMPLETED, None)] * 2
    assert done.trials()[1].attempt == 2


class Choosy(FakeRunner):
    """Refuses some jobs for ever, and notes how many come at once."""

    refuses = ()
    sizes = ()

    def submit(self, jobs):
        self.sizes = (*self.sizes, len(jobs))
        refused = {j.name: Rejected("no") for j in jobs if j.name.endswith(self.refuses)}
        return {**super().submit([j for j in jobs if j.name not in refused]), **refused}


def test_after_a_refusal_submissions_start_slowly(bench):
    done = bench(trials={"total_trials": 20, "max_pending_trials": 8})
    runner = Choosy(world=done.backend)
    runner.refuses = ("-t0-a1", "-t1-a1")
    done.backend.seconds = lambda _: 1e9
    done.runner = runner
    done.loop = done.start()
    for _ in range(8):
        done.tick()
    assert runner.sizes == (8, 1, 1)


class Mute(FakeRunner):
    """Answers with what no runner should answer with."""

    answer = None

    def poll(self, refs):
        super().poll(refs)
        return self.answer

    def submit(self, jobs):
        super().submit(jobs)
        return self.answer


@pytest.mark.parametrize("answer", [None, 7, "yes", {}, {"other": "1"}])
def test_nonsense_of_a_runner_neither_ends_the_loop_nor_moves_a_trial(bench, answer):
    done = bench()
    runner = Mute(world=done.backend)
    runner.answer = answer
    healthy, done.runner = done.runner, runner
    done.loop = done.start()
    for _ in range(8):
        done.tick()
    assert {t.status for t in done.trials().values()} <= {T.CANDIDATE, T.STAGED}
    done.runner = healthy
    done.loop = done.start()
    assert done.run().statuses() == [(T.COMPLETED, None)] * 6
    assert set(done.backend.executions.values()) == {1}


class Counting(FakeRunner):
    """Counts cancellations, and lets what was cancelled go on."""

    cancelled = 0

    def cancel(self, refs):
        self.cancelled += len(refs)


def test_a_cancellation_is_asked_for_again_but_not_all_the_time(bench):
    done = bench(trials={"total_trials": 1})
    done.runner = Counting(world=done.backend)
    done.backend.seconds = lambda _: 1e9
    done.loop = done.start()
    for _ in range(3):
        done.tick()
    done.command("stop")
    done.tick()
    assert done.loop.eager
    for _ in range(90):
        done.tick(0.2)
    assert not done.loop.eager
    assert done.runner.cancelled == 2


class Failing(ExperimentJournal):
    """A journal of which some commits fail, before or after they are stored."""

    fails = ""

    def commit(self, state, changes):
        if self.fails == "before":
            raise StorageBusy("full")
        super().commit(state, changes)
        if self.fails == "after":
            raise StorageBusy("cut")


@pytest.mark.parametrize("when", ["before", "after"])
def test_storage_that_fails_for_several_ticks_loses_nothing(bench, when):
    done = bench()
    journal = Failing(done.store, done.experiment, done.lease, done.now)
    object.__setattr__(done.loop.world, "journal", journal)
    for tick in range(60):
        journal.fails = when if tick % 3 else ""
        if not done.loop.ended:
            try:
                done.tick()
            except StorageBusy:
                continue
    journal.fails = ""
    done.loop.tick()
    assert done.run().statuses() == [(T.COMPLETED, None)] * 6
    assert set(done.backend.executions.values()) == {1}


class Says(Fetcher):
    """Says what it is told to say."""

    def __init__(self, *points):
        super().__init__(FetcherOptions())
        self.points = points

    def fetch(self, request):
        return self.points[int(request.directory.name[-1])]


@pytest.mark.parametrize(
    "points",
    [
        [Point(float("nan"))],
        [Point(float("inf"))],
        [Point(1.0, sem=float("nan"))],
        [Point(1.0, step=float("nan"))],
    ],
)
def test_what_is_not_finite_is_invalid(points):
    found = measure(definition(), trial(), Path("/t"), {"loss": Says(points, points)})
    assert found.invalid
    assert not found.observations


def test_a_mean_too_large_for_a_number_is_invalid():
    made = definition(trials={"replicates": 2})
    huge = [Point(1.7e308)]
    found = measure(made, trial(), Path("/t"), {"loss": Says(huge, huge)})
    assert "too large" in found.invalid


def trial():
    return Trial(0, (Arm("0_0", {"x": 0.5}),), T.RUNNING)


def test_held_trials_wait_for_a_person_and_then_run(bench):
    done = bench(
        trials={"total_trials": 3, "max_pending_trials": 3},
        runner={"command": ["train"], "staging_required": True},
    )
    for _ in range(10):
        done.tick()
    assert not done.backend.executions
    assert {t.job_state for t in done.trials().values()} == {"HELD"}
    done.backend.down = True
    done.command("release", 1)
    for _ in range(3):
        done.tick()
    done.backend.down = False
    done.loop = done.start()
    for _ in range(10):
        done.tick()
    assert [t.status for t in done.trials().values()] == [T.STAGED, T.COMPLETED, T.STAGED]
    for index in (0, 2):
        done.command("release", index)
    assert done.run().statuses() == [(T.COMPLETED, None)] * 3
    assert set(done.backend.executions.values()) == {1}


class Told(FakeRunner):
    """Compares what it is told with what is stored."""

    told: tuple[str, ...] = ()
    stored_ids: object = None
    breaks = 0

    def stored(self, refs):
        for ref in refs:
            assert ref.job_id in self.stored_ids()
        if self.breaks:
            self.breaks -= 1
            raise RuntimeError("no answer")
        self.told += tuple(ref.name[-5:] for ref in refs)


def test_the_runner_is_told_of_each_job_id_once_it_is_on_disk(bench):
    done = bench(trials={"total_trials": 2})
    runner = done.runner = Told(world=done.backend)
    runner.stored_ids = lambda: {t.job_id for t in done.trials().values()}
    done.backend.seconds = lambda _: 1e9
    done.loop = done.start()
    runner.breaks = 2
    for _ in range(8):
        done.tick()
    assert sorted(runner.told) == ["t0-a1", "t1-a1"]
    done.loop = done.start()
    done.tick()
    assert sorted(runner.told[2:]) == ["t0-a1", "t1-a1"]


def test_a_tick_asks_no_more_of_the_database_when_many_trials_have_ended(bench):
    bench = bench()
    bench.backend.seconds = lambda _: 1e9
    for _ in range(3):
        bench.tick()
    asked = []

    def noted(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    event.listen(bench.store.database.engine, "before_cursor_execute", noted)
    bench.tick(0.1)
    few, asked[:] = list(asked), []
    done = {"status": TrialStatus.COMPLETED, "started_at": 1.0, "completed_at": 2.0}
    old = tuple(Trial(i, (Arm(f"{i}_0", {"x": 0.5}),), **done) for i in range(100, 1100))
    with bench.store.writing() as connection:
        write(connection, bench.experiment.id, Changes(trials=old), 100)
    asked.clear()
    bench.tick(0.1)
    assert asked == few
    assert len(few) <= 2
