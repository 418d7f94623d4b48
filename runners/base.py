"""The runner contract: what schedd asks of a backend, and what it may conclude from the answers.

A runner knows jobs and files. It knows nothing of trials, experiments or optimization. To write
one, read this file, subclass :class:`Runner` and run ``runners.testing.RunnerContract`` on it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from runners.units import Duration, Size

STDOUT = "stdout.log"
STDERR = "stderr.log"
"""Where a task's output lies in its folder, whatever the backend."""


class JobState(StrEnum):
    """What a backend says of a job."""

    QUEUED = "QUEUED"
    """It exists and waits for its turn."""
    HELD = "HELD"
    """It exists and waits for :meth:`Runner.release`."""
    RUNNING = "RUNNING"
    """At least one of its tasks has started and not all have ended."""
    SUCCEEDED = "SUCCEEDED"
    """Every task ended with exit status 0."""
    FAILED = "FAILED"
    """Every task ended, at least one with another exit status or by a signal."""
    CANCELLED = "CANCELLED"
    """It was ended on request, ours or somebody's."""
    INTERRUPTED = "INTERRUPTED"
    """The infrastructure ended it: preemption, a lost node, a reboot."""
    LOST = "LOST"
    """The backend states that there is no such job."""

    @property
    def is_final(self) -> bool:
        """Whether nothing of this job runs now or will ever run."""
        return self not in (JobState.QUEUED, JobState.HELD, JobState.RUNNING)


class RunnerError(Exception):
    """A backend could not do what was asked; the message is one sentence for people."""


class Rejected(RunnerError):
    """The backend will never accept this job; no part of it exists."""


class Unavailable(RunnerError):
    """The backend did not answer, or has no room now; ask later.

    The job may or may not exist: only a poll by name can tell.
    """


class Resources(BaseModel):
    """What each task of a job needs; what is left out, the backend decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: int | None = Field(default=None, ge=1)
    cpus: int | None = Field(default=None, ge=1)
    """Of each node, as are ``gpus`` and ``memory``."""
    gpus: int | None = Field(default=None, ge=0)
    memory: Size | None = None
    time: Duration | None = Field(default=None, gt=0)
    """The backend ends a task that has run for longer."""


NO_RESOURCES = Resources()


@dataclass(frozen=True, slots=True)
class Task:
    """One process of a job, with a folder of its own."""

    name: str
    """Unique within the job."""
    argv: tuple[str, ...]
    directory: Path
    """Absolute. The runner makes it; the process's output and results lie in it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment the runner provides."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files, by bare name, that lie in ``directory`` before the process starts."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to run: one or more tasks that start together, under a name known beforehand."""

    name: str
    """Unique for ever, ``[a-z0-9-]``, at most 63 characters; the job's identity."""
    tasks: tuple[Task, ...]
    workdir: Path | None = None
    """Where the processes start; where ``None``, each task's own folder, or the image's."""
    hold: bool = False
    """Create it held, to start at :meth:`Runner.release`."""
    resources: Resources = NO_RESOURCES
    avoid: tuple[str, ...] = ()
    """Nodes that failed under earlier attempts, by the names that ``JobReport.node`` gave: a wish,
    since a job must not wait for ever where there are no others."""


@dataclass(frozen=True, slots=True)
class JobRef:
    """How a job is asked for again, perhaps by another process, perhaps after a crash."""

    name: str
    job_id: str | None
    """What ``submit`` or ``poll`` gave; ``None`` where no answer was ever seen."""
    directories: tuple[Path, ...]
    """The tasks' folders, in order."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """A backend's positive statement about one job.

    When ``state.is_final`` the job's output lies in its folders, and nothing of it will run later.
    """

    state: JobState
    job_id: str | None = None
    reason: str | None = None
    """A machine-readable cause, where there is one: ``OOM``, ``TIMEOUT``, ``NODE_FAIL``,
    ``PREEMPTED``, ``EXIT_CODE``, ``SIGNAL``, ``LOST``."""
    message: str = ""
    """One sentence for people: why it waits, or how it ended."""
    exit_code: int | None = None
    """Of the first task that failed; negative where a signal ended it; 0 where all succeeded."""
    may_have_run: bool = True
    """With LOST: False states that no task has ever started, so the same job may be submitted."""
    started_at: float | None = None
    """Seconds since the epoch, UTC, where the backend tells."""
    ended_at: float | None = None
    node: str | None = None
    """With a final state: the node it ran on, of several the one that failed first, where the
    backend tells and can avoid it. With ``NODE_FAIL`` it is to blame."""


class RunnerOptions(BaseModel):
    """Base of a runner's own section of the YAML; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    same_disk: ClassVar[bool] = True
    """Whether jobs see this machine's folders; else ``Job.workdir`` is one where they run."""

    @classmethod
    def located(cls, section: Any, folder: Path) -> Any:  # noqa: ARG003  # for subclasses
        """Return a section, not validated yet, that no longer depends on its file's ``folder``.

        Files that it names are read, or their paths made absolute. Raises ValueError with a
        sentence where one cannot be read.
        """
        return section


class Runner(ABC):
    """A backend. Calls come from one thread; each must end within its own time limits."""

    Options: ClassVar[type[RunnerOptions]] = RunnerOptions
    """The model of the runner's section of the YAML."""
    poll_floor: float = 0.0
    """Seconds that must lie between two polls, however often the loop turns."""
    max_jobs: int | None = None
    """Never more than this many unfinished jobs; ``None``: as many as wanted."""
    can_hold: ClassVar[bool] = False
    """Whether jobs can be created held, and then released."""
    takes_many: ClassVar[bool] = False
    """Whether many jobs cost a call or two of the backend: then they are given at once."""
    needs_command: ClassVar[bool] = True
    """Whether there is something to run."""
    by_people: ClassVar[bool] = False
    """Whether people say when a job begins and how it ended; a poll never does."""
    uses_resources: ClassVar[bool] = True
    """Whether ``Job.resources`` reach the backend."""

    def __init__(self, options: RunnerOptions, wake: Callable[[], None]) -> None:
        """Do no I/O. ``wake`` may be called from any thread to hint that a poll would see news."""
        self.options = options
        self.wake = wake

    @abstractmethod
    def render(self, job: Job) -> str:
        """Return, as text, exactly what :meth:`submit` would do; touch nothing."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
        """Start ``jobs``; return for each name its job id, or the error of that one job.

        With a job id: the backend has accepted it. With :class:`Rejected`: no part of it exists.
        With :class:`Unavailable`: unknown; the caller polls by name before it tries again.
        Submitting a name twice never runs a task twice.
        """

    @abstractmethod
    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Report on ``refs`` by name, in as few calls of the backend as possible.

        A name that is absent from the answer is one of which nothing is known now: it changes
        nothing. LOST of a job with an id states that nothing of it will ever run; of one without,
        only that nothing has. Raises :class:`Unavailable` where nothing is known of any.
        """

    @abstractmethod
    def cancel(self, refs: Sequence[JobRef]) -> None:
        """Ask for the end of ``refs``; return at once. A later poll says whether it happened.

        A job that has not started never will. Final jobs and unknown names are left alone.
        Raises :class:`Unavailable` where the request did not get through.
        """

    def unfinished(self, prefix: str) -> Sequence[str]:  # noqa: ARG002  # most see no others
        """Return the names that begin with ``prefix`` of jobs that the last poll saw unfinished.

        Whether it was asked about them or not: a request that takes effect late may make a job
        that nobody waits for any more, and that only this tells of. Asks the backend nothing.
        """
        return ()

    def stored(self, refs: Sequence[JobRef]) -> None:  # noqa: B027  # most have nothing to do
        """Learn that the ids of these jobs are on disk; asked at least once for each id.

        A backend that can create a job without starting it lets it start here, unless it is held:
        so a job whose id was never stored has never run. Raises :class:`Unavailable` where that
        did not get through for each of them; then it is asked again. Unknown and final jobs are
        left alone.
        """

    def release(self, refs: Sequence[JobRef]) -> None:
        """Let held jobs start; again for the same job, perhaps.

        Raises :class:`Unavailable` where that did not get through. Only for runners that
        ``can_hold``.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot hold jobs")

    def examine(self, job: Job) -> None:  # noqa: B027  # most backends cannot say
        """Ask the backend, without a trace, whether it would take ``job``.

        Raises :class:`Rejected` where it would not, and :class:`Unavailable`.
        """

    def check(self) -> Sequence[tuple[bool, str]]:
        """For ``schedd doctor``: (works, one sentence) for each thing the runner needs."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Free what this object holds in this process. Jobs go on."""
