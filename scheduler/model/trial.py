"""Arms and trials: what a trial may become, and the one way to change it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from scheduler.model.base import Value


class TrialStatus(StrEnum):
    """Ax's statuses, and no others."""

    CANDIDATE = "CANDIDATE"
    """Arms are chosen; nothing is wanted of a backend yet."""
    STAGED = "STAGED"
    """A job is wanted: it may not exist yet, waits in a queue, or is held."""
    RUNNING = "RUNNING"
    """The backend says that it runs, or it has ended and its metrics are awaited."""
    COMPLETED = "COMPLETED"
    """Its metrics are in."""
    FAILED = "FAILED"
    """No attempt is left."""
    ABANDONED = "ABANDONED"
    """A person, or a rule of theirs, gave it up."""
    EARLY_STOPPED = "EARLY_STOPPED"
    """It was ended because it could not become good."""

    @property
    def is_final(self) -> bool:
        """Whether nothing will follow by itself."""
        return self in FINAL

    @property
    def is_pending(self) -> bool:
        """Whether it takes up one of ``max_pending_trials``."""
        return self in (TrialStatus.STAGED, TrialStatus.RUNNING)


TRANSITIONS: Mapping[TrialStatus, frozenset[TrialStatus]] = {
    TrialStatus.CANDIDATE: frozenset({TrialStatus.STAGED, TrialStatus.ABANDONED}),
    TrialStatus.STAGED: frozenset(
        {
            TrialStatus.CANDIDATE,
            TrialStatus.RUNNING,
            TrialStatus.FAILED,
            TrialStatus.ABANDONED,
        }
    ),
    TrialStatus.RUNNING: frozenset(
        {
            TrialStatus.CANDIDATE,
            TrialStatus.STAGED,
            TrialStatus.COMPLETED,
            TrialStatus.FAILED,
            TrialStatus.ABANDONED,
            TrialStatus.EARLY_STOPPED,
        }
    ),
    TrialStatus.COMPLETED: frozenset(),
    TrialStatus.FAILED: frozenset({TrialStatus.CANDIDATE}),
    TrialStatus.ABANDONED: frozenset({TrialStatus.CANDIDATE}),
    TrialStatus.EARLY_STOPPED: frozenset(),
}
"""What may follow what. FAILED and ABANDONED go back only when a person says ``schedd retry``."""

FINAL = frozenset(
    {
        TrialStatus.COMPLETED,
        TrialStatus.FAILED,
        TrialStatus.ABANDONED,
        TrialStatus.EARLY_STOPPED,
    }
)


class Reason(StrEnum):
    """Why a trial is where it is, for machines; its message says it to people."""

    OOM = "OOM"
    TIMEOUT = "TIMEOUT"
    PENDING_TIMEOUT = "PENDING_TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    EXIT_CODE = "EXIT_CODE"
    SIGNAL = "SIGNAL"
    REPORTED = "REPORTED"
    """Whoever carried it out said so."""
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    REJECTED = "REJECTED"
    METRICS_MISSING = "METRICS_MISSING"
    METRICS_INVALID = "METRICS_INVALID"
    USER = "USER"
    EXPERIMENT_STOPPED = "EXPERIMENT_STOPPED"


ARMS_OWN = frozenset(
    {
        Reason.OOM,
        Reason.TIMEOUT,
        Reason.EXIT_CODE,
        Reason.SIGNAL,
        Reason.REPORTED,
        Reason.METRICS_MISSING,
        Reason.METRICS_INVALID,
    }
)
"""Reasons of a failure that lie in the arm: the same arm would most likely fail again."""


class InvalidTransition(Exception):
    """A trial was asked to become what its status does not allow."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A point of the search space, with a name: ``3_0`` is arm 0 of trial 3."""

    name: str
    parameters: Mapping[str, Value]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Wish:
    """A decision to end a trial, kept until the backend says that its job has ended."""

    status: TrialStatus
    """What it becomes then; CANDIDATE where a new attempt is to follow if one is left."""
    reason: str
    message: str
    told: bool = False
    """Whether a cancellation got through to the backend: what has not started never will."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One deployment of one arm, or of several together. All times are seconds since the epoch."""

    index: int
    arms: tuple[Arm, ...]
    status: TrialStatus = TrialStatus.CANDIDATE
    generator_run: int | None = None
    """Index of the generator run that made its arms; ``None`` where a person did."""
    node: int | None = None
    """Index of the generation strategy's node that made it."""
    attempt: int = 1
    job_id: str | None = None
    """Of this attempt; ``None`` until the backend has acknowledged it."""
    job_state: str | None = None
    """The backend's last positive statement about this attempt."""
    exit_code: int | None = None
    reason: str | None = None
    message: str = ""
    not_before: float = 0.0
    """Nothing is submitted for it earlier."""
    wish: Wish | None = None
    released: bool = False
    """Whether a person lets its jobs start, where they are held."""
    avoid: tuple[str, ...] = ()
    """Nodes that failed under earlier attempts."""
    retries: Mapping[str, int] = field(default_factory=dict)
    """Attempts used, by kind of failure."""
    created_at: float = 0.0
    staged_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    """When the job of this attempt ended; its metrics are awaited from then on."""
    completed_at: float | None = None
    """When it reached its final status."""

    def move(self, status: TrialStatus, **changes: Any) -> "Trial":
        """Return the trial in another status; raise :class:`InvalidTransition` if not allowed."""
        if status not in TRANSITIONS[self.status]:
            raise InvalidTransition(f"trial {self.index} cannot go from {self.status} to {status}")
        return replace(self, status=status, **changes)

    def having(self, **changes: Any) -> "Trial":
        """Return the trial with other fields and the same status."""
        assert "status" not in changes
        return replace(self, **changes)
