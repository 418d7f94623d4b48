"""What is done to Slurm's jobs: always by id, and only after the queue has told whose it is."""

from collections.abc import Iterable, Iterator, Sequence

from runners.base import JobState, Unavailable
from runners.slurm.cluster import AT_ONCE, Cluster
from runners.slurm.evidence import is_clear
from runners.slurm.note import Note, Seat
from runners.slurm.queue import Line, Snapshot


def live(notes: Sequence[Note], snapshot: Snapshot) -> list[Line]:
    """Return the Slurm jobs that are not over, of the tasks that have these notes."""
    lines = (line for note in notes for one in note.given for line in snapshot.of(one.key))
    return [line for line in lines if line.is_live]


def scancel(cluster: Cluster, lines: Iterable[Line]) -> None:
    """End Slurm jobs. Raises Unavailable where that did not get through."""
    for ids in _batches(lines):
        answer = cluster.call(["scancel", *ids])
        if answer.status != 0:
            raise Unavailable(f"scancel did not get through: {answer.sentence}")


def release(cluster: Cluster, lines: Iterable[Line]) -> None:
    """Let held Slurm jobs start. Raises Unavailable where that did not get through."""
    for ids in _batches(line for line in lines if line.state == "PENDING"):
        answer = cluster.call(["scontrol", "release", ",".join(ids)])
        if answer.status != 0:
            raise Unavailable(f"scontrol release did not get through: {answer.sentence}")


def _batches(lines: Iterable[Line]) -> Iterator[list[str]]:
    ids = list(dict.fromkeys(line.job_id for line in lines))
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


def stop(seat: Seat) -> Note | None:
    """Fence a task, or leave word that its end is wanted; return its note where Slurm may run it.

    Raises OSError where neither is possible.
    """
    note, claim = seat.note(), seat.claim()
    if claim is None and seat.exists() and not seat.fence(JobState.CANCELLED):
        claim = seat.claim()
    if claim is not None and claim.void is None:
        record = seat.record()
        if claim.job != seat.job or (record is not None and is_clear(record)):
            return None
        seat.ask_to_end()
    return note
