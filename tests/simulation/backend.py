"""A backend that runs jobs in simulated time, and all the ways in which one misbehaves.

It keeps the contract of ``runners.base``: a lost answer, no answer, an old answer; never a wrong
final one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metrics.base import Fetcher, FetcherOptions, FetchRequest, InvalidMetric, Point
from metrics.base import UnavailableMetric as Absent
from runners.base import (
    Job,
    JobRef,
    JobReport,
    JobState,
    Rejected,
    Runner,
    RunnerError,
    RunnerOptions,
    Unavailable,
)
from simulation.faults import Chance, Violation

S = JobState
ENDS = {
    "exit_code": (S.FAILED, "EXIT_CODE", 1),
    "oom": (S.FAILED, "OOM", -9),
    "node_fail": (S.INTERRUPTED, "NODE_FAIL", None),
    "preempted": (S.INTERRUPTED, "PREEMPTED", None),
    "vanishes": (S.LOST, None, None),
}
"""How a job ends that does not succeed: state, reason, exit code."""


@dataclass
class SimulatedJob:
    """One job as the backend keeps it."""

    name: str
    job_id: str
    trial: int
    attempt: int
    directories: tuple[Path, ...]
    starts_at: float
    lasts: float
    fate: str
    requeues: int
    visible_at: float
    waits: bool = False
    """Whether it is not to start before its id is stored."""
    state: JobState = S.QUEUED
    ends_at: float = 0.0
    started_at: float | None = None
    cancel_at: float = float("inf")
    old: JobReport | None = None
    """What an old answer says."""


class Backend:
    """All jobs there ever were.

    ``allowed`` is asked before one is made; ``stored_id`` tells which id of an attempt is stored.
    """

    def __init__(
        self,
        chance: Chance,
        allowed: Callable[[int, int], str] = lambda *_: "",
        stored_id: Callable[[int, int], str | None] = lambda *_: None,
    ) -> None:
        self.chance = chance
        self.allowed = allowed
        self.stored_id = stored_id
        self.jobs: dict[str, SimulatedJob] = {}
        self.bodies: Counter[tuple[int, int]] = Counter()
        self.rejected: set[tuple[int, int]] = set()
        self.touched: set[str] = set()
        """Names that were cancelled."""
        self.files: dict[Path, tuple[SimulatedJob, float, str, float]] = {}
        """By folder: job, when the metric can be read, what it is, its value."""
        self.skew = chance.rng.choice((0.0, 0.0, -3.15e8, 3.15e8))
        """How far the backend's clock is off."""
        self.two_phases = chance.of("two phases").random() < 0.5
        """Whether a job starts only when its id is known to be stored."""
        self.names_ids = chance.rng.random() < 0.8 or self.two_phases
        self.max_jobs: int | None = None
        self.poll_floor = 0.0

    def at(self, trial: int, attempt: int) -> SimulatedJob | None:
        """Return the job of one attempt."""
        found = [j for j in self.jobs.values() if (j.trial, j.attempt) == (trial, attempt)]
        return found[0] if found else None

    def live(self, trial: int) -> list[SimulatedJob]:
        """Return the jobs of a trial that run or may run yet."""
        return [j for j in self.jobs.values() if j.trial == trial and not j.state.is_final]

    def create(self, job: Job) -> str:
        """Make a job, unless there is one of that name; return its id."""
        if job.name in self.jobs:
            return self.jobs[job.name].job_id
        env = job.tasks[0].env
        trial, attempt = int(env["SCHEDD_TRIAL_INDEX"]), int(env["SCHEDD_ATTEMPT"])
        if why := self.allowed(trial, attempt):
            raise Violation(f"{job.name} was submitted although {why}")
        if others := self.live(trial):
            raise Violation(f"{job.name} was submitted while {others[0].name} is alive")
        alive = sum(not j.state.is_final for j in self.jobs.values())
        if self.max_jobs is not None and alive >= self.max_jobs:
            raise Violation(f"{job.name} was submitted while {alive} jobs are alive")
        made = self._drawn(job, trial, attempt)
        self.jobs[job.name] = made
        return made.job_id

    def _drawn(self, job: Job, trial: int, attempt: int) -> SimulatedJob:
        chance, now = self.chance, self.chance.now
        fate = next((f for f in ENDS if chance.strikes(f)), "succeeds")
        late = chance.strikes("appears_late")
        made = SimulatedJob(
            name=job.name,
            job_id=str(len(self.jobs) - chance.rng.randint(0, 1)),  # ids are given twice
            trial=trial,
            attempt=attempt,
            directories=tuple(t.directory for t in job.tasks),
            starts_at=now + chance.rng.choice((0.0, 1.0, 30.0, 300.0)),
            lasts=chance.rng.choice((0.0, 5.0, 50.0, 500.0)),
            fate=fate,
            requeues=2 if chance.strikes("requeued") else 0,
            visible_at=now + 60.0 if late else now,
            waits=self.two_phases,
        )
        if chance.strikes("ack_then_forget"):
            made.state = S.LOST
        return made

    def start(self, name: str, job_id: str | None) -> None:
        """Let a job start whose id is stored, if it is that job and waits for this."""
        job = self.jobs.get(name)
        if job is None or job.job_id != job_id or not job.waits:
            return
        if self.stored_id(job.trial, job.attempt) != job_id:
            raise Violation(f"{name} is to start although its id is not stored")
        job.waits = False
        job.starts_at = max(job.starts_at, self.chance.now)

    def calm(self) -> None:
        """Let no fault last; here none does."""

    def progress(self) -> None:
        """Let time have its effect on all jobs."""
        for job in self.jobs.values():
            while not job.state.is_final and self._moved(job, self.chance.now):
                pass

    def _moved(self, job: SimulatedJob, now: float) -> bool:
        waits = float("inf") if job.waits else job.starts_at
        due = waits if job.state is S.QUEUED else job.ends_at
        if job.cancel_at <= now and job.cancel_at <= due:
            job.state = S.CANCELLED
            job.ends_at = job.cancel_at
            return True
        if due > now:
            return False
        if job.state is S.QUEUED:
            job.state, job.started_at = S.RUNNING, due
            job.ends_at = due + job.lasts
            if not job.requeues:
                self._start_body(job)
        elif job.requeues:
            job.requeues -= 1
            job.state, job.starts_at = S.QUEUED, due + 20.0
        else:
            self._end(job)
        return True

    def _start_body(self, job: SimulatedJob) -> None:
        self.bodies[job.trial, job.attempt] += 1
        if self.bodies[job.trial, job.attempt] > 1:
            raise Violation(f"the body of {job.name} ran twice")
        rng = self.chance.of(job.name)
        for folder in job.directories:
            kind = next((k for k in METRICS if self.chance.strikes(k)), "")
            ready = job.ends_at + {"metrics_late": 40.0, "metrics_never": 1e18}.get(kind, 0.0)
            self.files[folder] = (job, ready, kind, rng.random())

    def _end(self, job: SimulatedJob) -> None:
        job.state = ENDS[job.fate][0] if job.fate in ENDS else S.SUCCEEDED

    def report(self, job: SimulatedJob) -> JobReport:
        """Return the truth about a job, by the backend's clock."""
        job_id = job.job_id if self.names_ids else None
        if job.state is S.LOST:
            return JobReport(S.LOST, None, "LOST")
        start = None if job.started_at is None else job.started_at + self.skew
        if not job.state.is_final:
            running = job.state is S.RUNNING
            return JobReport(job.state, job_id, started_at=start if running else None)
        _, reason, code = ENDS.get(job.fate, (None, None, 0))
        if job.state is S.CANCELLED:
            reason, code = None, None
        end = job.ends_at + self.skew
        return JobReport(job.state, job_id, reason, exit_code=code, started_at=start, ended_at=end)


METRICS = ("metrics_late", "metrics_never", "metrics_invalid", "metrics_nan")


class SimulatedRunner(Runner):
    """The backend as one process reaches it; ``fenced`` raises where it should do nothing."""

    def __init__(self, backend: Backend, fenced: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(RunnerOptions(), lambda: None)
        self.backend, self.chance, self.fenced = backend, backend.chance, fenced
        self.max_jobs = backend.max_jobs
        self.poll_floor = backend.poll_floor

    def render(self, job: Job) -> str:
        """Return the job as text."""
        return repr(job)

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
        """Make jobs, or some of them, or none; answer, or not."""
        self.fenced("submit")
        answers: dict[str, str | RunnerError] = {}
        for job in jobs:
            self.chance.point()
            answer = self._submit(job)
            if not self.chance.strikes("submit_unanswered"):
                answers[job.name] = answer
        self.chance.point()
        if self.chance.strikes("submit_breaks"):
            raise RuntimeError("half of an answer came back")
        return answers

    def _submit(self, job: Job) -> str | RunnerError:
        chance, backend = self.chance, self.backend
        known = job.name in backend.jobs
        if chance.strikes("submit_dropped"):
            return Unavailable("no room")
        if not known and chance.strikes("submit_rejected"):
            env = job.tasks[0].env
            backend.rejected.add((int(env["SCHEDD_TRIAL_INDEX"]), int(env["SCHEDD_ATTEMPT"])))
            return Rejected("no such partition")
        job_id = backend.create(job)
        return Unavailable("timed out") if chance.strikes("submit_answer_lost") else job_id

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Tell the truth, or an old one, or nothing."""
        self.chance.point()
        self.backend.progress()
        if self.chance.strikes("poll_fails"):
            raise Unavailable("no answer")
        if self.chance.strikes("poll_garbage"):
            return None  # type: ignore[return-value]
        found = {ref.name: self._look(ref) for ref in refs}
        return {name: report for name, report in found.items() if report is not None}

    def _look(self, ref: JobRef) -> JobReport | None:
        if self.chance.strikes("poll_omits"):
            return None
        job = self.backend.jobs.get(ref.name)
        if job is None or (job.visible_at > self.chance.now and ref.job_id is None):
            return JobReport(S.LOST, reason="LOST", may_have_run=ref.job_id is not None)
        old, job.old = job.old, self.backend.report(job)
        stale = old is not None and not old.state.is_final and self.chance.strikes("poll_stale")
        return old if stale else job.old

    def stored(self, refs: Sequence[JobRef]) -> None:
        """Let jobs start, all or some of them, and say so, or not."""
        self.chance.point()
        for ref in refs:
            if self.chance.strikes("stored_fails"):
                raise Unavailable("no answer")
            self.backend.start(ref.name, ref.job_id)
        if self.chance.strikes("stored_answer_lost"):
            raise Unavailable("timed out")
        self.chance.point()

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """End jobs: now, later, or only seemingly."""
        self.fenced("cancel")
        self.chance.point()
        if self.chance.strikes("cancel_fails"):
            raise Unavailable("no answer")
        for ref in refs:
            self.backend.touched.add(ref.name)
            job = self.backend.jobs.get(ref.name)
            if job is None:
                continue
            job.visible_at = self.chance.now
            if not self.chance.strikes("cancel_lost"):
                slow = 45.0 if self.chance.strikes("cancel_slow") else 0.0
                job.cancel_at = min(job.cancel_at, self.chance.now + slow)
        self.backend.progress()
        self.chance.point()

    def close(self) -> None:
        """Do nothing."""


class SimulatedFetcher(Fetcher):
    """Reads the value that a job left in its folder."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(FetcherOptions())
        self.backend, self.chance = backend, backend.chance

    def fetch(self, request: FetchRequest) -> Sequence[Point]:
        """Return a curve of one point while it runs, and the value once it is there."""
        if self.chance.strikes("fetch_fails"):
            raise Absent("no answer") if self.chance.rng.random() < 0.5 else OSError("disk")
        job, ready, kind, value = self.backend.files.get(request.directory, (None, 1e18, "", 0.0))
        if request.running and job is not None:
            return (Point(value, step=1.0), Point(value, step=2.0))
        if self.chance.now < ready:
            return ()
        if kind == "metrics_invalid":
            raise InvalidMetric("loss is text")
        return (Point(float("nan") if kind == "metrics_nan" else value),)
