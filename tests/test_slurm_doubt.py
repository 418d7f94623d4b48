"""When neither the clock nor Slurm can be trusted: found by breaking a real Slurm."""

from pathlib import Path

import pytest
from slurm_fakes import (
    Clock,
    FakeSlurm,
    claim,
    make_job,
    make_runner,
    note_of,
    path_with,
    record,
    ref,
    row,
    task,
)

from runners.base import Job, JobRef, JobReport, JobState, Unavailable
from runners.slurm import SlurmRunner

YEARS = 10 * 365 * 86400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "fake")
    fake.says("sbatch", "17\n")
    monkeypatch.setenv("PATH", path_with([fake]))
    return fake


def state_after(runner: SlurmRunner, clock: Clock, job: Job, seconds: float) -> JobState | None:
    clock.now += seconds
    report = runner.poll([ref(job, "17")]).get(job.name)
    return None if report is None else report.state


def outcome(runner: SlurmRunner, clock: Clock, name: str, refs: list[JobRef]) -> JobReport:
    """Poll until ``name`` has ended."""
    for _ in range(5):
        clock.now += 100
        report = runner.poll(refs).get(name)
        if report is not None and report.state.is_final:
            return report
    raise AssertionError(f"{name} has not ended")


def test_a_clock_that_is_set_back_by_years_makes_nothing_deaf(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner, job = make_runner(clock), make_job(tmp_path)
    runner.submit([job])
    fake.queue(row("17", "PENDING", "job-s1"))
    assert state_after(runner, clock, job, 100) is JobState.QUEUED
    fake.queue(row("17", "CANCELLED", "job-s1"))
    assert state_after(runner, clock, job, 100) is None
    assert state_after(runner, clock, job, -YEARS) is None
    assert state_after(runner, clock, job, 100) is JobState.CANCELLED


def test_a_start_in_years_to_come_is_no_reason_to_wait_for_it(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner, job = make_runner(clock), make_job(tmp_path)
    runner.submit([job])
    claim(job, "17", at=clock.now)
    fake.queue(row("17", "NODE_FAIL", "job-s1"))
    states = [state_after(runner, clock, job, seconds) for seconds in (-YEARS, 100, 100)]
    assert states[-1] is JobState.INTERRUPTED


@pytest.mark.parametrize("ended", [False, True], ids=["it-runs", "it-has-ended"])
def test_what_slurm_cancels_after_it_lost_its_memory_is_tried_again(
    fake: FakeSlurm, clock: Clock, tmp_path: Path, ended: bool
) -> None:
    """A controller that shows a job as not yet started that has: it mixes up ids from then on."""
    runner = make_runner(clock)
    old, new = make_job(tmp_path, "old"), make_job(tmp_path, "new")
    runner.submit([old])
    claim(old, "17", at=clock.now)
    if ended:
        record(old)
    fake.queue(row("17", "RUNNING", "old-s1"))
    clock.now += 100
    runner.poll([ref(old, "17")])
    fake.says("sbatch", "18\n")
    runner.submit([new])
    refs = [ref(new, "18")] if ended else [ref(old, "17"), ref(new, "18")]
    fake.queue(row("17", "PENDING", "old-s1"), row("18", "CANCELLED", "new-s1"))
    report = outcome(runner, clock, "new", refs)
    assert (report.state, report.reason) == (JobState.INTERRUPTED, "LOST")
    assert not report.may_have_run


def test_after_a_requeue_its_word_still_counts(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner = make_runner(clock, on_requeue="resume")
    old, new = make_job(tmp_path, "old"), make_job(tmp_path, "new")
    runner.submit([old])
    claim(old, "17", at=clock.now)
    runner.submit([new])
    row_of_old = row("17", "PENDING", "old-s1", restarts=1)
    fake.queue(row_of_old, row("18", "CANCELLED", "new-s1"))
    report = outcome(runner, clock, "new", [ref(old, "17"), ref(new, "18")])
    assert report.state is JobState.CANCELLED


RETRIES = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"


def test_an_sbatch_that_would_retry_for_minutes_is_ended_and_less_is_tried_next(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    """As where an array is larger than MaxJobCount: it would never get in."""
    runner = make_runner(clock)
    jobs = [Job(f"job{i}", (task(tmp_path / str(i)),)) for i in range(8)]
    fake.does("sbatch", f"echo '{RETRIES}' >&2; exec sleep 900")
    answers = runner.submit(jobs)
    assert all(isinstance(answer, Unavailable) for answer in answers.values())
    assert "temporarily unable" in str(answers["job0"])
    runner.submit(jobs)
    assert len(fake.calls("sbatch")) == 1, "it is not asked again at once"
    fake.does("sbatch", "echo 18")
    for _ in range(4):
        clock.now += 200
        runner.poll([ref(job) for job in jobs])
    runner.submit(jobs)
    arrays = [word for call in fake.calls("sbatch") for word in call if "--array" in word]
    assert arrays == ["--array=0-7", "--array=0-3", "--array=0-3"]
    assert note_of(jobs[0]).given[-1].name == "job0-s2"
