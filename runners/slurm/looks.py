"""Look at tasks: first at their folders, then, for those whose folders do not tell, at Slurm."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runners.folder import Claim
from runners.slurm.cluster import Cluster
from runners.slurm.evidence import Files, Word, doubted
from runners.slurm.note import Given, Note, Seat, Seen
from runners.slurm.options import SlurmOptions
from runners.slurm.queue import Key, Line, Snapshot
from runners.slurm.verdict import Verdict, judge


@dataclass(slots=True)
class Look:
    """One task, as one poll sees it."""

    seat: Seat
    files: Files
    word: Word
    verdict: Verdict

    @property
    def is_open(self) -> bool:
        """Whether the folder alone does not tell how it ended."""
        report = self.verdict.report
        return report is None or not report.state.is_final

    @property
    def is_forgotten(self) -> bool:
        """Whether Slurm shows it as never started, though it has been for a while."""
        claim, line, taken = self.files.claim, self.word.line, self.word.taken
        if claim is None or claim.void is not None or line is None or taken is None:
            return False
        return line.is_new and (claim.started_at or taken) < taken

    @property
    def start(self) -> tuple[str, int] | None:
        """Which start of the task its claim is of."""
        claim = self.files.claim
        return None if claim is None else (claim.batch_id, claim.restart)


@dataclass(slots=True)
class Memory:
    """What spares repetitions; all of it may be lost."""

    acts: dict[tuple[str, str], float]
    """When each thing was last done to a job: older answers of the queue do not count."""
    told: dict[str, tuple[str, int]]
    """The start of each task, by its folder, that was told of."""
    seen: dict[str, Seen]
    """What would stand in a note, for folders that have none."""

    def since(self, job: str) -> float:
        """Return when anything was last done to a job."""
        return max(self.acts.get((verb, job), float("-inf")) for verb in VERBS)


VERBS = ("cancel", "release", "drop")


def look(seat: Seat, memory: Memory, job_id: str | None) -> Look:
    """Return what a task's folder tells. Raises OSError where the disk does not answer."""
    seat.refresh()
    claim, note = seat.claim(), seat.note()
    start = None if claim is None else (claim.batch_id, claim.restart)
    files = Files(
        job=seat.job,
        job_id=job_id,
        claim=claim,
        is_news=start is not None and memory.told.get(seat.path) != start,
        record=None if claim is None else seat.record(),
        note=note,
        seen=memory.seen.get(seat.path) if note is None else note.seen,
        is_held=seat.runs,
        complaint=seat.complaint,
    )
    return Look(seat, files, Word(), judge(files, Word()))


def given(note: Note | None) -> tuple[Given, ...]:
    """Return the tries of a task."""
    return () if note is None else note.given


def hear(
    looks: Sequence[Look], snapshot: Snapshot, cluster: Cluster, options: SlurmOptions
) -> None:
    """Judge tasks again, with Slurm's word on them."""
    gone = [look for look in looks if look.word.taken is not None and look.word.line is None]
    tries = [one for look in gone for one in given(look.files.note)]
    oldest = min((one.at for one in tries), default=snapshot.taken)
    names = {one.name for one in tries}
    told = cluster.accounts(names, snapshot.taken - oldest + 3600, options.poll_floor)
    for look in gone:
        account, asked = _account(look, told)
        look.word = Word(
            taken=look.word.taken,
            others=look.word.others,
            has_siblings=look.word.has_siblings,
            account=account,
            is_accounted=asked,
            lost_after=options.lost_after,
        )
    for look in looks:
        word = doubted(look.word) if cluster.is_forgetful else look.word
        look.verdict = judge(look.files, word)


def queue_word(look: Look, snapshot: Snapshot, since: float, now: float) -> Word:
    """Return what the queue says of a task, where its answer is from after ``since``.

    A time that has not come yet was told by a clock that has been set back; it does not count.
    """
    tries = given(look.files.note)
    times = (since, *(one.at for one in tries))
    if snapshot.taken <= max((at for at in times if at <= now), default=float("-inf")):
        return Word()
    lines = [line for one in tries for line in snapshot.of(one.key)]
    line = _choose(lines, look.files.claim)
    if not tries and look.files.job_id is not None:
        line = snapshot.by_id.get(look.files.job_id)  # an id alone never says that it has ended
        line = line if line is not None and line.is_live else None
    others = tuple(other for other in lines if other is not line and other.is_live)
    siblings = any(one.name in snapshot.names for one in tries)
    return Word(snapshot.taken, line, others, siblings)


def _choose(lines: Sequence[Line], claim: Claim | None) -> Line | None:
    """Return the Slurm job that is the task's: the one that claimed it, else one that may."""
    if claim is not None and claim.batch_id:
        return next((line for line in lines if line.job_id == claim.batch_id), None)
    live = (line for line in lines if line.is_live)
    return next(live, lines[-1] if lines else None)


def _account(
    look: Look, told: Mapping[str, Mapping[Key, Sequence[Line]]]
) -> tuple[Line | None, bool]:
    """Return what sacct says of a task's end, and whether it was asked of all its tries."""
    tries = given(look.files.note)
    lines = [line for one in tries for line in told.get(one.name, {}).get(one.key, ())]
    claim = look.files.claim
    if claim is not None and claim.batch_id:
        lines = [line for line in lines if line.job_id == claim.batch_id]
    return lines[-1] if lines else None, all(one.name in told for one in tries)


def leftovers(keys: Iterable[Key], snapshot: Snapshot) -> list[Line]:
    """Return the Slurm jobs that are live though their tasks have ended."""
    return [line for key in keys for line in snapshot.of(key) if line.is_live]
