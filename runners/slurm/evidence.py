"""What is known of a task: what its folder says, and what Slurm says."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from runners.folder import Claim, Record
from runners.slurm import words
from runners.slurm.note import Note, Seen
from runners.slurm.queue import Line


@dataclass(frozen=True, slots=True)
class Files:
    """What the task's folder says."""

    job: str
    job_id: str | None
    """As Slurm gave it; ``None`` where it is not certain that the job was ever submitted."""
    claim: Claim | None = None
    is_news: bool = False
    """Whether nobody has been told of the claim yet."""
    record: Record | None = None
    note: Note | None = None
    seen: Seen | None = None
    is_held: Callable[[], bool] = lambda: False
    """Whether somebody has its lock: then it runs. A free lock says nothing on a shared disk."""
    complaint: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True)
class Word:
    """What Slurm says of the task."""

    taken: float | None = None
    """When the queue was asked; ``None`` where it has said nothing that counts."""
    line: Line | None = None
    """Of squeue; ``None``: the queue has no such job."""
    others: tuple[Line, ...] = ()
    """Live Slurm jobs of the same task that came of an earlier try."""
    has_siblings: bool = False
    """Whether squeue knows other elements of the same array."""
    account: Line | None = None
    """Of sacct, about a job that has left the queue."""
    is_accounted: bool = True
    """Whether sacct has been asked of it in vain, or there is none."""
    lost_after: float = 120.0


def doubted(word: Word) -> Word:
    """Return what a Slurm that has lost its memory says, without what it may have made up."""
    line, account = word.line, word.account
    if line is not None and line.state == "CANCELLED":
        line = replace(line, state=words.CONFUSED)
    if account is not None and account.state == "CANCELLED":
        account = replace(account, state=words.CONFUSED)
    return replace(word, line=line, account=account, has_siblings=False)


def is_clear(record: Record) -> bool:
    """Whether it ended by itself, without any signal, or of one whose cause it knows."""
    if record.oom:
        return True
    return record.ended_by != "interrupt" and record.signal == 0 and record.rc < 128
