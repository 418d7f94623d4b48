"""When an experiment is called stalled, and when it is not."""

from dataclasses import replace

import pytest
from places import url
from simulation.bench import Bench, definition

from runners.base import JobReport, JobState
from runners.testing import FakeRunner
from scheduler.model.experiment import Event, ExperimentState, Progress, Tally, Verdict
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.stalled import AT_FIRST, AT_LEAST, NO_SIGNS, Signs, hindrance, news

__all__ = ["url"]

T = TrialStatus
NOW = 1e6
MADE = definition()
SILENT = Signs(silent_since=NOW - 60, silence="no route")


def trial(index, status, **fields):
    return Trial(index, (Arm(f"{index}_0", {"x": 0.5}),), status, **fields)


def staged(**fields):
    return trial(0, T.STAGED, **{"job_id": "7", "job_state": "QUEUED", **fields})


QUEUED = (staged(),)
RUNNING = trial(1, T.RUNNING, job_id="8")
HELD = staged(job_state=JobState.HELD.value)
WHY = {
    "a trial runs": ([RUNNING, staged()], Signs(), ""),
    "metrics are awaited": ([trial(1, T.RUNNING, ended_at=NOW)], SILENT, ""),
    "the backend is silent": ([RUNNING], SILENT, "the runner does not answer: no route"),
    "a queue": (
        [staged(message="Priority"), trial(2, T.CANDIDATE)],
        Signs(),
        "1 trial waits for its turn in the queue: Priority",
    ),
    "no room": (
        [staged(job_id=None, job_state=None, message="no quota")] * 2,
        Signs(),
        "2 trials wait for a job that the runner has not accepted: no quota",
    ),
    "a person must release it": ([HELD], Signs(), ""),
    "it was released": (
        [staged(job_state="HELD", released=True)],
        Signs(),
        "1 trial waits for its turn in the queue",
    ),
    "people carry it out": ([staged()], Signs(by_people=True), ""),
    "others use all slots": (
        [trial(0, T.CANDIDATE)],
        Signs(),
        "1 trial waits for a free slot of the runner: others use all of them",
    ),
    "back-off": ([trial(0, T.CANDIDATE, not_before=NOW + 1)], Signs(), ""),
    "no arms": ([], Signs(generation="out of memory"), "no arm is proposed: out of memory"),
}


@pytest.mark.parametrize("case", WHY, ids=str)
def test_what_keeps_it_from_moving_is(case):
    trials, signs, words = WHY[case]
    assert hindrance(dict(enumerate(trials)), signs, NOW) == words


def state(quiet, completed=0, slowest=0.0, **fields):
    tally = Tally(finished={T.COMPLETED: completed}, slowest=slowest)
    progress = Progress(NOW - quiet, fields.pop("stalled", False))
    return ExperimentState(MADE, tally=tally, progress=progress, **fields)


def told(made, trials=QUEUED, signs=NO_SIGNS, events=()):
    event = news(made, {t.index: t for t in trials}, signs, events, NOW)
    return event and event.kind


@pytest.mark.parametrize(
    ("made", "limit"),
    [
        (state, AT_FIRST),
        (lambda quiet: state(quiet, completed=2, slowest=1.0), AT_FIRST),
        (lambda quiet: state(quiet, completed=3, slowest=1.0), AT_LEAST),
        (lambda quiet: state(quiet, completed=3, slowest=7200.0), 5 * 7200.0),
    ],
)
def test_the_patience_is_a_multiple_of_what_is_usual_here(made, limit):
    assert told(made(limit - 1)) is None
    assert told(made(limit)) == "stalled"


def test_a_silent_backend_is_told_of_within_an_hour_of_its_silence_alone():
    old = state(1e5, completed=9, slowest=1e5)
    assert told(old, [RUNNING], Signs(NOW - AT_FIRST + 1, "no")) is None
    assert told(old, [RUNNING], Signs(NOW - AT_FIRST, "no")) == "stalled"


def test_a_trial_may_run_for_ever_and_a_pause_may_last_as_long():
    assert told(state(1e6, completed=9, slowest=1.0), [RUNNING]) is None
    assert told(state(1e6, paused=True)) is None
    assert told(state(1e6, stop=Verdict("user", "")), []) is None
    assert told(ExperimentState(MADE)) is None


def test_back_off_is_counted_from_its_end():
    late = trial(0, T.CANDIDATE, not_before=NOW - AT_FIRST + 1)
    assert told(state(1e6), [late]) is None
    assert told(state(1e6), [trial(0, T.CANDIDATE, not_before=NOW - AT_FIRST)]) == "stalled"


def test_it_is_told_once_and_its_end_too():
    assert told(state(1e6, stalled=True)) is None
    assert told(state(9, stalled=True), [RUNNING]) == "moving_again"
    moved = [Event(NOW, "trial_running", "")]
    assert told(state(9, stalled=True), events=moved) == "moving_again"
    assert told(state(1e6), events=moved) is None


class Queue(FakeRunner):
    """Starts nothing while ``full``."""

    full = True

    def submit(self, jobs):
        return super().submit([replace(job, hold=True) for job in jobs])

    def poll(self, refs):
        if self.full:
            return {ref.name: JobReport(JobState.QUEUED, ref.job_id) for ref in refs}
        self.release(refs)
        return super().poll(refs)


@pytest.fixture
def bench(url, tmp_path):
    made = Bench(url, tmp_path, trials={"max_pending_trials": 1})
    yield made
    made.close()


def kinds(made):
    told = [e for e in made.events if e.kind in ("stalled", "moving_again", "driven_again")]
    return [(e.kind, e.message) for e in told]


def test_one_alarm_outlives_a_restart_and_ends_with_the_trouble(bench):
    queue = bench.runner = Queue(world=bench.backend)
    bench.loop = bench.start()
    stalled = ("stalled", "1 trial waits for its turn in the queue")
    for _ in range(2):
        for _ in range(10):
            bench.tick(600)
        assert kinds(bench) == [stalled]
        bench.loop = bench.start()
    queue.full = False
    assert bench.run().statuses() == [(T.COMPLETED, None)] * 6
    assert [kind for kind, _ in kinds(bench)] == ["stalled", "moving_again"]


def test_a_backend_that_falls_silent_and_speaks_again(bench):
    bench.backend.seconds = lambda _: 1e6
    for _ in range(3):
        bench.tick()
    for _ in range(20):
        bench.tick(1000)
    assert kinds(bench) == []
    bench.backend.down = True
    for _ in range(5):
        bench.tick(1000)
    bench.backend.down = False
    bench.tick()
    assert kinds(bench) == [
        ("stalled", "the runner does not answer: the fake backend does not answer"),
        ("moving_again", "10 s after the alarm"),
    ]


def test_time_without_a_driver_is_no_stall(bench, monkeypatch):
    from scheduler.loop import Loop

    monkeypatch.setattr(bench.backend, "start", lambda _: None)
    bench.tick()
    noted = bench.now.time
    bench.now.time += 86400
    bench.loop = Loop(bench.loop.world, noted)
    bench.tick()
    assert kinds(bench) == [("driven_again", "nobody drove it for 86400 s")]
    stored = bench.store.peek(bench.experiment)
    assert bench.loop.state.progress == stored.progress == Progress(noted + 86400)
