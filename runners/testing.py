"""For tests: the conformance suite that every runner passes, and a runner without a backend.

pytest itself is not imported, so that a simulation can use the fake where there is none.
"""
# ruff: noqa: D102  # the names of the tests are their sentences

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from runners.base import (
    Job,
    JobRef,
    JobReport,
    JobState,
    Runner,
    RunnerError,
    RunnerOptions,
    Task,
    Unavailable,
)

MakeRunner = Callable[[], Runner]


def ref_to(job: Job, job_id: str | None = None) -> JobRef:
    """Return how ``job`` is asked for."""
    return JobRef(job.name, job_id, tuple(task.directory for task in job.tasks))


def deploy(runner: Runner, *jobs: Job) -> dict[str, str]:
    """Submit ``jobs`` as the scheduler does: the ids that are answered are then told to be stored.

    Return the ids by name. Raises the error of a job that was not accepted.
    """
    answers = runner.submit(jobs)
    ids: dict[str, str] = {}
    for job in jobs:
        answer = answers[job.name]
        if isinstance(answer, RunnerError):
            raise answer
        ids[job.name] = answer
    runner.stored([ref_to(job, ids[job.name]) for job in jobs])
    return ids


def wait_for(
    runner: Runner,
    job: Job,
    until: Callable[[JobReport], bool] = lambda report: report.state.is_final,
    seconds: float = 120.0,
) -> JobReport:
    """Poll by name until ``until`` holds of the report, and return it. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    report = None
    while time.monotonic() < deadline:
        report = runner.poll([ref_to(job)]).get(job.name)
        if report is not None and until(report):
            return report
        time.sleep(max(runner.poll_floor, 0.005))
    raise TimeoutError(f"{job.name} came no further than {report}")


@dataclass(slots=True)
class _FakeJob:
    job: Job
    report: JobReport
    polls: int
    ends_at: float = -math.inf


class FakeWorld:
    """What a backend remembers, whatever becomes of the runner objects that talk to it.

    To simulate a crash, drop the :class:`FakeRunner` and make another over the same world.
    """

    def __init__(
        self,
        outcome: Callable[[Job], int] = lambda _job: 0,
        *,
        polls: int = 0,
        clock: Callable[[], float] = lambda: 0.0,
        seconds: Callable[[Job], float] = lambda _job: 0.0,
    ) -> None:
        """Make a world without jobs.

        Args:
            outcome: Called once for a job, when it ends; does what its command would have done
                and returns the exit status, negative for a signal.
            polls: How many polls see a started job RUNNING.
            clock: Tells the time in seconds since the epoch.
            seconds: How long a job takes, by that clock.
        """
        self.outcome = outcome
        self.polls = polls
        self.clock = clock
        self.seconds = seconds
        self.executions: Counter[str] = Counter()
        """How often the body of each job was started: never more than once."""
        self.lose_answers = 0
        """So many submissions to come succeed and are answered by Unavailable."""
        self.refuse = 0
        """So many submissions to come fail with Unavailable."""
        self.down = False
        """While true, nothing is answered and nothing is done."""
        self._jobs: dict[str, _FakeJob] = {}

    def report(self, name: str) -> JobReport | None:
        """Return what the backend knows of a job, without any time passing."""
        fake = self._jobs.get(name)
        return None if fake is None else fake.report

    @property
    def unfinished(self) -> list[str]:
        """The names of the jobs that have not ended."""
        return [name for name, fake in self._jobs.items() if not fake.report.state.is_final]

    def finish(self, name: str, state: JobState, reason: str | None = None) -> None:
        """Let a job end in ``state`` now: INTERRUPTED, LOST, or what an administrator did."""
        fake = self._jobs[name]
        ran, now = self.executions[name] > 0, self.clock()
        fake.report = JobReport(state, fake.report.job_id, reason, may_have_run=ran, ended_at=now)

    def create(self, job: Job) -> str:
        """Make and start (or hold) a job, unless there is one of that name; return its id."""
        fake = self._jobs.get(job.name)
        if fake is None:
            job_id = f"fake-{len(self._jobs) + 1}"
            fake = _FakeJob(job, JobReport(JobState.HELD, job_id), self.polls)
            self._jobs[job.name] = fake
            if not job.hold:
                self.start(job.name)
        return fake.report.job_id or job.name

    def start(self, name: str) -> None:
        """Start a job if it is held."""
        fake = self._jobs.get(name)
        if fake is None or fake.report.state is not JobState.HELD:
            return
        now = self.clock()
        self.executions[name] += 1
        fake.ends_at = now + self.seconds(fake.job)
        fake.report = JobReport(JobState.RUNNING, fake.report.job_id, started_at=now)

    def look(self, ref: JobRef) -> JobReport:
        """Return the state of a job as a poll sees it; a started one comes nearer to its end."""
        fake = self._jobs.get(ref.name)
        if fake is None:
            known = ref.job_id is not None
            return JobReport(JobState.LOST, reason="LOST", may_have_run=known)
        if fake.report.state is JobState.RUNNING:
            if fake.polls > 0:
                fake.polls -= 1
            elif self.clock() >= fake.ends_at:
                fake.report = self._ended(fake)
        return fake.report

    def _ended(self, fake: _FakeJob) -> JobReport:
        code = self.outcome(fake.job)
        state = JobState.FAILED if code else JobState.SUCCEEDED
        reason = "SIGNAL" if code < 0 else "EXIT_CODE" if code else None
        message = f"it ended with exit status {code}" if code else ""
        times = fake.report.started_at, self.clock()
        return JobReport(state, fake.report.job_id, reason, message, code, True, *times)


class FakeRunner(Runner):
    """A runner over a :class:`FakeWorld`; nothing of it touches the disk or the clock."""

    can_hold = True

    def __init__(
        self,
        options: RunnerOptions | None = None,
        wake: Callable[[], None] = lambda: None,
        world: FakeWorld | None = None,
    ) -> None:
        super().__init__(options or RunnerOptions(), wake)
        self.world = world or FakeWorld()

    def render(self, job: Job) -> str:
        """Return the job as Python writes it."""
        return f"{job!r}\n"

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
        """Create ``jobs`` in the world, unless it refuses."""
        return {job.name: self._submit(job) for job in jobs}

    def _submit(self, job: Job) -> str | RunnerError:
        world = self.world
        if world.down or world.refuse > 0:
            world.refuse -= not world.down
            return Unavailable("the fake backend has no room")
        job_id = world.create(job)
        if world.lose_answers > 0:
            world.lose_answers -= 1
            return Unavailable("the fake backend's answer was lost")
        return job_id

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Report on ``refs``, and let the started ones come nearer to their end."""
        self._reach()
        return {ref.name: self.world.look(ref) for ref in refs}

    def unfinished(self, prefix: str) -> Sequence[str]:
        """Return all names in the world."""
        return [name for name in self.world.unfinished if name.startswith(prefix)]

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """End ``refs`` now."""
        self._reach()
        for ref in refs:
            report = self.world.report(ref.name)
            if report is not None and not report.state.is_final:
                self.world.finish(ref.name, JobState.CANCELLED)

    def release(self, refs: Sequence[JobRef]) -> None:
        """Start those of ``refs`` that are held."""
        self._reach()
        for ref in refs:
            self.world.start(ref.name)

    def close(self) -> None:
        """Do nothing: all lies in the world."""

    def _reach(self) -> None:
        if self.world.down:
            raise Unavailable("the fake backend does not answer")


_LONG = ("sleep", "3600")


class RunnerContract:
    """What every runner promises. Subclass it in a test module, with one pytest fixture.

    ``make_runner`` returns a function that makes a new runner object over one and the same
    backend, as a daemon does after a crash. The backend must be able to run ``sh`` and ``sleep``
    and see ``tmp_path``. Override :meth:`seconds` where it is slow.
    """

    seconds = 120.0
    """How long a small job may take from its submission to its end."""

    def job(self, folder: Path, script: str = "exit 0", name: str = "contract", n: int = 1) -> Job:
        """Return a job of ``n`` tasks, which note that they ran and then run ``script``."""
        note = 'echo ran >> "$0/ran"; ' + script
        tasks = (
            Task(f"{i}_0", ("sh", "-c", note, f"{folder}/{i}"), folder / str(i)) for i in range(n)
        )
        return Job(name, tuple(tasks))

    def runs(self, job: Job) -> list[int]:
        """Return how often each task ran."""
        notes = [task.directory / "ran" for task in job.tasks]
        return [len(note.read_text().split()) if note.exists() else 0 for note in notes]

    def test_render_touches_nothing_and_is_repeatable(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        job = self.job(tmp_path / "job")
        with closing(make_runner()) as runner:
            assert runner.render(job) == runner.render(job)
            assert list(tmp_path.glob("job/*")) == []
            assert wait_for(runner, job).state is JobState.LOST

    def test_no_jobs_are_no_problem(self, make_runner: MakeRunner) -> None:
        with closing(make_runner()) as runner:
            assert runner.submit([]) == {}
            assert runner.poll([]) == {}
            runner.cancel([])

    def test_a_job_that_was_never_submitted_is_lost_and_has_not_run(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        with closing(make_runner()) as runner:
            report = wait_for(runner, self.job(tmp_path), seconds=self.seconds)
        assert (report.state, report.may_have_run) == (JobState.LOST, False)

    def test_every_job_gets_an_id_and_exit_status_0_is_success(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        jobs = [self.job(tmp_path / name, name=name) for name in ("one", "two")]
        with closing(make_runner()) as runner:
            assert {name: type(job_id) for name, job_id in deploy(runner, *jobs).items()} == {
                "one": str,
                "two": str,
            }
            reports = [wait_for(runner, job, seconds=self.seconds) for job in jobs]
        assert [report.state for report in reports] == [JobState.SUCCEEDED] * 2
        assert [report.exit_code for report in reports] == [0, 0]
        assert [self.runs(job) for job in jobs] == [[1], [1]]

    def test_another_exit_status_is_a_failure_and_is_told(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        job = self.job(tmp_path, "exit 3")
        with closing(make_runner()) as runner:
            deploy(runner, job)
            report = wait_for(runner, job, seconds=self.seconds)
        assert (report.state, report.exit_code, report.reason) == (JobState.FAILED, 3, "EXIT_CODE")
        assert report.message

    def test_all_tasks_run_once_and_one_that_fails_fails_the_job(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        job = self.job(tmp_path, 'case "$0" in */1) exit 4;; esac', n=3)
        with closing(make_runner()) as runner:
            deploy(runner, job)
            report = wait_for(runner, job, seconds=self.seconds)
        assert (report.state, report.exit_code) == (JobState.FAILED, 4)
        assert self.runs(job) == [1, 1, 1]

    def test_submitting_a_name_twice_never_runs_a_task_twice(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        job = self.job(tmp_path, n=2)
        with closing(make_runner()) as runner:
            deploy(runner, job)
        for _ in range(2):
            with closing(make_runner()) as runner:
                runner.submit([job])
                assert wait_for(runner, job, seconds=self.seconds).state is JobState.SUCCEEDED
        assert self.runs(job) == [1, 1]

    def test_a_job_is_found_by_name_after_a_crash_and_cancelled(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        job = Job("long", (Task("0_0", _LONG, tmp_path / "long"),))
        with closing(make_runner()) as runner:
            deploy(runner, job)
        with closing(make_runner()) as runner:
            report = wait_for(runner, job, lambda report: report.state is JobState.RUNNING)
            assert report.job_id
            runner.cancel([ref_to(job)])
            assert wait_for(runner, job, seconds=self.seconds).state is JobState.CANCELLED
            runner.cancel([ref_to(job)])
            assert wait_for(runner, job).state is JobState.CANCELLED

    def test_a_job_whose_id_no_one_stored_is_found_by_name_and_goes_on(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        """The daemon died between the acknowledgement and the transaction that takes it up."""
        job = self.job(tmp_path)
        with closing(make_runner()) as runner:
            runner.submit([job])
        with closing(make_runner()) as runner:
            report = wait_for(runner, job, lambda report: report.job_id is not None)
            runner.stored([ref_to(job, report.job_id)])
            runner.stored([ref_to(job, report.job_id)])
            assert wait_for(runner, job, seconds=self.seconds).state is JobState.SUCCEEDED
        assert self.runs(job) == [1]

    def test_a_held_job_waits_for_its_release_whatever_is_stored(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        first, second = (
            replace(self.job(tmp_path / name, name=name), hold=True) for name in ("one", "two")
        )
        with closing(make_runner()) as runner:
            if not runner.can_hold:
                return
            ids = deploy(runner, first, second)
        refs = [ref_to(job, ids[job.name]) for job in (first, second)]
        with closing(make_runner()) as runner:
            for job in (first, second):
                wait_for(runner, job, lambda report: report.state is JobState.HELD)
            runner.cancel(refs[:1])
            for _ in range(2):
                runner.release(refs[1:])
            assert wait_for(runner, first, seconds=self.seconds).state is JobState.CANCELLED
            assert wait_for(runner, second, seconds=self.seconds).state is JobState.SUCCEEDED
            runner.release(refs)
            assert wait_for(runner, first).state is JobState.CANCELLED
        assert (self.runs(first), self.runs(second)) == ([0], [1])

    def test_cancel_leaves_ended_and_unknown_jobs_alone(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        job = self.job(tmp_path / "known")
        unknown = self.job(tmp_path / "unknown", name="unknown")
        with closing(make_runner()) as runner:
            deploy(runner, job)
            wait_for(runner, job, seconds=self.seconds)
            runner.cancel([ref_to(job), ref_to(unknown)])
            assert wait_for(runner, job).state is JobState.SUCCEEDED
            assert wait_for(runner, unknown).state is JobState.LOST

    def test_a_job_that_never_existed_under_a_known_id_may_have_run(
        self, make_runner: MakeRunner, tmp_path: Path
    ) -> None:
        job = self.job(tmp_path)
        with closing(make_runner()) as runner:
            report = runner.poll([ref_to(job, "no-such-id")]).get(job.name)
        assert report is None or (report.state, report.may_have_run) == (JobState.LOST, True)
