"""What squeue and sacct say, line by line. Pure; whatever is not understood is left out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

_SQUEUE = ("JobArrayID", "State", "Reason", "NodeList", "exit_code", "RestartCnt", "Name")
_SACCT = ("JobID", "State", "ExitCode", "NodeList", "JobName")
SQUEUE = (
    *("squeue", "--me", "--states=all", "--array", "-O"),
    ",".join(f"{field}:|" for field in _SQUEUE[:-1]) + f",{_SQUEUE[-1]}:",
)
_JOB = re.compile(r"(\d+)(?:_(\d+))?")

Key = tuple[str, int | None]
"""A Slurm job's name, and an element's index in it where it is an array."""

LIVE = frozenset(
    {
        *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"),
        *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESIZING", "STAGE_OUT"),
        *("RESV_DEL_HOLD", "EXPEDITING", "POWER_UP_NODE", "LAUNCH_FAILED", "UPDATE_DB"),
    }
)
"""States of jobs that are not over."""
WAITING = frozenset(
    {
        *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"),
        *("RESV_DEL_HOLD", "POWER_UP_NODE", "LAUNCH_FAILED"),
    }
)
"""Those of them in which nothing runs yet, or again."""
ENDED = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY"),
        *("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"),
    }
)
"""States of jobs that are over, unless Slurm puts them back into its queue."""


@dataclass(frozen=True, slots=True)
class Line:
    """Slurm's word on one job, or one element of an array."""

    key: Key
    job_id: str
    """``17``, or ``17_3`` of an array."""
    state: str
    """Slurm's full name of it, of :data:`LIVE` or :data:`ENDED`."""
    reason: str = ""
    nodes: str = ""
    status: int = 0
    signal: int = 0
    restarts: int = 0
    uid: str = ""
    """Of who cancelled it, where that is told."""

    @property
    def is_new(self) -> bool:
        """Whether it waits for its first start."""
        return self.state == "PENDING" and self.restarts == 0

    @property
    def is_live(self) -> bool:
        """Whether it is not over."""
        return self.state in LIVE


class Garbled(ValueError):
    """An answer does not begin as Slurm's answers do, so its silence on a job means nothing."""


@dataclass(frozen=True)
class Snapshot:
    """What squeue said at one time."""

    taken: float
    """When it was asked."""
    lines: Mapping[Key, Sequence[Line]] = field(default_factory=dict)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of which anything was said."""
        return frozenset(name for name, _ in self.lines)

    @cached_property
    def by_id(self) -> Mapping[str, Line]:
        """What was said, by the id of the job or element."""
        return {line.job_id: line for lines in self.lines.values() for line in lines}

    def of(self, key: Key) -> Sequence[Line]:
        """Return what was said of ``key``: one line, or none."""
        return self.lines.get(key, ())


def by_key(lines: Iterator[Line]) -> dict[Key, list[Line]]:
    """Return lines by what they are about."""
    found: dict[Key, list[Line]] = {}
    for line in lines:
        found.setdefault(line.key, []).append(line)
    return found


def read_squeue(text: str) -> Iterator[Line]:
    """Yield the lines of an answer to :data:`SQUEUE`; raises Garbled."""
    for job, state, reason, nodes, code, restarts, name in _rows(text, len(_SQUEUE), "NAME"):
        match = _JOB.fullmatch(job)
        if match is None or state not in LIVE | ENDED or not code.isdigit():
            continue
        signal = int(code) & 0x7F
        status = 0 if signal else int(code) >> 8 & 0xFF
        times = int(restarts) if restarts.isdigit() else 0
        key = name, None if match[2] is None else int(match[2])
        yield Line(key, job, state, _known(reason), _known(nodes), status, signal, times)


def _rows(text: str, width: int, last: str) -> Iterator[list[str]]:
    """Yield the rows below the header, which ends with ``last``. Raises Garbled without one.

    What stands above it is a banner of somebody's, what has fewer columns is nothing of Slurm's.
    """
    rows = (row.split("|", width - 1) for row in text.split("\n"))
    for row in rows:
        if (
            len(row) == width
            and row[1].strip().upper() == "STATE"
            and row[-1].strip().upper() == last
        ):
            break
    else:
        raise Garbled
    yield from ([part.strip() for part in row] for row in rows if len(row) == width)


def _known(word: str) -> str:
    return "" if word in ("None", "N/A", "(null)", "None assigned") else word


def sacct(names: Sequence[str], seconds: float) -> list[str]:
    """Return the command that asks of jobs by name, submitted in the last ``seconds``.

    Times are relative: the cluster may live in another time zone.
    """
    since = f"now-{int(seconds // 60) + 1}minutes"
    return [
        *("sacct", "--allocations", "--parsable2", "-S", since, "-E", "now"),
        f"--name={','.join(names)}",
        f"--format={','.join(_SACCT)}",
    ]


def read_sacct(text: str) -> Iterator[Line]:
    """Yield the lines of an answer to :func:`sacct` about jobs that are over; raises Garbled."""
    for job, state, code, nodes, name in _rows(text, len(_SACCT), "JOBNAME"):
        match, exit_code = _JOB.fullmatch(job), re.fullmatch(r"(\d+):(\d+)", code)
        word, _, who = state.partition(" by ")
        if match is None or exit_code is None or word not in ENDED:
            continue
        key = name, None if match[2] is None else int(match[2])
        status, signal = int(exit_code[1]), int(exit_code[2])
        yield Line(key, job, word, "", _known(nodes), status, signal, uid=who)
