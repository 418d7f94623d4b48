"""What really happened to each attempt's job on a simulated cluster, whatever objects are left."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.kubernetes.containers import Container

from runners.base import JobState
from runners.kube.observe import OUTPUT_PATIENCE
from scheduler.model.trial import Reason
from simulation.faults import Chance
from simulation.invariants import Truth, gone

INDEX = "JOB_COMPLETION_INDEX"
LASTS = (0.0, 5.0, 50.0, 500.0)
GRACE = 30.0


@dataclass
class Ghost:
    """One attempt's job: which objects it had, what ran of it, and what befell it."""

    name: str
    trial: int
    attempt: int
    look: Callable[["Ghost"], JobState]
    uid: str = ""
    """Of the last object that was made for it."""
    starts: Counter[int] = field(default_factory=Counter)
    """By task, how often its body has begun."""
    restarts: int = 0
    """How often somebody else took its Pods away, to be made anew."""
    happened: set[str] = field(default_factory=set)
    values: dict[int, float] = field(default_factory=dict)
    """By task, what its body has measured."""
    printed: dict[int, bytes] = field(default_factory=dict)
    ends: dict[int, str] = field(default_factory=dict)
    strayed_at: float | None = None
    """When the server made it long after it was asked to, or somebody else did."""
    unread: list[float] = field(default_factory=list)
    """When its output could not be read since it was over."""
    undeleted: list[float] = field(default_factory=list)
    """When its object could not be deleted since it was over."""

    @property
    def state(self) -> JobState:
        """How it stands now."""
        return self.look(self)


@dataclass
class Body:
    """One container that runs."""

    container: Container
    ghost: Ghost
    index: int
    ends_at: float
    fate: str
    value: float
    says: str
    folder: Path


ENDS = {"exit_code": (3, ""), "oom": (137, "OOMKilled"), "killed": (137, "")}


class Bodies:
    """Runs containers in simulated time: they print, and end as chance will have it."""

    def __init__(self, chance: Chance, ghost_of: Callable[[int, int], Ghost]) -> None:
        self.chance, self.ghost_of = chance, ghost_of
        self.changed: Callable[[], None] = lambda: None
        self.now: Callable[[], float] = lambda: 0.0
        self.running: dict[int, Body] = {}
        self.began: Callable[[Ghost, int], None] = lambda *_: None

    def start(self, container: Container) -> None:
        """Begin the body of one task."""
        env, chance = container.env, self.chance
        ghost = self.ghost_of(int(env["SCHEDD_TRIAL_INDEX"]), int(env["SCHEDD_ATTEMPT"]))
        index = int(env.get(INDEX, "0"))
        ghost.starts[index] += 1
        ghost.printed.pop(index, None)
        self.began(ghost, index)
        fate = next((f for f in ("exit_code", "oom") if chance.strikes(f)), "succeeds")
        says = next((k for k in ("never", "invalid", "nan") if chance.strikes(f"metrics_{k}")), "")
        rng = chance.of(f"{ghost.name}/{index}/{ghost.starts[index]}")
        container.started_at = self.now()
        body = Body(
            *(container, ghost, index, self.now() + rng.choice(LASTS), fate, rng.random(), says),
            folder=container.workdir,
        )
        self.running[id(container)] = body
        if says != "never":
            self._say(body, f'{{"step": 1, "loss": {body.value + 1.0}}}')

    def stop(self, container: Container, grace: float) -> None:
        """End it: now, or only when its grace is over."""
        body = self.running.get(id(container))
        if body is None:
            return
        stubborn = grace and self.chance.strikes("cancel_slow")
        body.ends_at = min(body.ends_at, self.now() + (GRACE if stubborn else 0.0))
        if body.ends_at == self.now() + (GRACE if stubborn else 0.0):
            body.fate = "killed"
        if not stubborn:
            self._end(body, 143 if grace else 137)

    def progress(self) -> None:
        """End what has run its time."""
        for body in list(self.running.values()):
            if body.ends_at <= self.now():
                self._end(body, None)

    def close(self) -> None:
        """Do nothing."""

    def _end(self, body: Body, code: int | None) -> None:
        self.running.pop(id(body.container))
        ghost = body.ghost
        if body.fate == "killed":
            ghost.happened.add("killed")
        if body.fate == "succeeds" and code is None:
            self._finish(body)
        own, reason = ENDS.get(body.fate, (0, ""))
        ghost.ends[body.index] = body.fate
        body.container.ended(own if code is None else code, self.now(), reason)

    def _finish(self, body: Body) -> None:
        if body.says == "never":
            body.ghost.happened.add("silent")
            return
        values = {"invalid": '"text"', "nan": "NaN"}
        body.ghost.happened |= {"invalid"} if body.says else set()
        self._say(body, f'{{"step": 2, "loss": {values.get(body.says, body.value)}}}')
        body.ghost.values[body.index] = body.value

    def _say(self, body: Body, text: str) -> None:
        line = f"{text}\n".encode()
        body.container.lines.append((self.now(), line))
        printed = body.ghost.printed
        printed[body.index] = printed.get(body.index, b"") + line


def _succeeded(ghost: Ghost | None) -> bool:
    return ghost is not None and bool(ghost.ends) and set(ghost.ends.values()) == {"succeeds"}


def _after(*what: str) -> Truth:
    """Return whether one of these befell it, or one of its bodies ended so, and it is over."""

    def holds(ghost: Ghost | None) -> bool:
        if ghost is None or not gone(ghost):
            return False
        return bool({*what} & (ghost.happened | {*ghost.ends.values()}))

    return holds


def _unmeasured(*what: str) -> Truth:
    return lambda ghost: _succeeded(ghost) and bool({*what} & ghost.happened)


def _lost(ghost: Ghost | None) -> bool:
    """Whether it is gone, or nobody could ask its Pods for their last words for long enough."""
    if ghost is None or not gone(ghost):
        return False
    return bool(TAKEN & ghost.happened) or was_patient(ghost.unread)


def was_patient(troubles: Sequence[float]) -> bool:
    """Whether it was tried for long enough; the server tells whole seconds."""
    return bool(troubles) and troubles[-1] - troubles[0] > OUTPUT_PATIENCE - 1.0


TAKEN = {"job_deleted", "pod_deleted", "suspended", "preempted", "node_fails", "collected"}
"""After these there may be no Pod that could be asked."""
TRUTHS: dict[str | None, Truth] = {
    None: _succeeded,
    Reason.METRICS_MISSING: _unmeasured("silent", "fetch_failed"),
    Reason.METRICS_INVALID: _unmeasured("invalid"),
    Reason.EXIT_CODE: _after("exit_code", "pod_deleted", "killed", "collected"),
    Reason.SIGNAL: _after("killed", "pod_deleted", "collected"),
    Reason.OOM: _after("oom"),
    Reason.NODE_FAIL: _after("node_fails"),
    Reason.PREEMPTED: _after("preempted", "node_fails"),
    Reason.LOST: _lost,
    "CANNOT_START": _after("image_missing"),
    Reason.TIMEOUT: gone,
    Reason.PENDING_TIMEOUT: gone,
    Reason.USER: gone,
    Reason.EXPERIMENT_STOPPED: gone,
}
"""What must be true of an attempt's job where the attempt has ended for a reason."""
