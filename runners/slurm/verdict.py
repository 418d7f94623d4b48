"""What a task's folder and Slurm's word say together. Pure: the table of this runner's decisions.

The folder comes first. What Slurm says and the folder does not confirm has to be said twice, by
two answers of squeue: a state may be on its way to another (a requeue), and a file may be on its
way to us (a shared disk). Silence is never an end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from runners.base import JobReport, JobState
from runners.folder import Claim, Record, ended
from runners.slurm import ends, words
from runners.slurm.evidence import Files, Word, is_clear
from runners.slurm.note import Seen
from runners.slurm.queue import WAITING, Line

ABSENT = "ABSENT"
REQUEUED = "REQUEUED"
_SKEW = 3600.0
"""No clocks differ by so many seconds, unless one has been set."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be told of the task, and to be done."""

    report: JobReport | None = None
    seen: Seen | None = None
    """To be noted, for the next answer of the queue."""
    fence: JobState | None = None
    """First make sure that it never starts; where that fails, nothing is known."""
    drop: tuple[Line, ...] = ()
    """Slurm jobs that are not needed any more."""


def judge(files: Files, word: Word) -> Verdict:
    """Return what is known of a task."""
    claim = files.claim
    if claim is None:
        verdict = _unclaimed(files, word)
    elif claim.job != files.job:
        return Verdict(_lost(f"the folder belongs to job {claim.job!r}", ran=False))
    elif claim.void is not None:
        verdict = _void(files, claim, word)
    elif files.record is None:
        verdict = _claimed(files, claim, word)
    else:
        verdict = _ended(files, claim, files.record, word)
    return replace(verdict, drop=(*verdict.drop, *word.others))


# -- nobody has begun


def _unclaimed(files: Files, word: Word) -> Verdict:
    note, line = files.note, word.line
    if note is None or not note.given:
        if files.job_id is not None and word.line is not None:
            return Verdict()  # its folder is gone, and the id may be another job's by now
        if files.job_id is not None:
            return _settled(files, word, ABSENT, word.lost_after, lambda: _gone(files))
        return Verdict(_lost("it was never given to Slurm", ran=False))
    if word.taken is None:
        return Verdict()
    if line is not None and line.is_live:
        return _live(files, line, word)
    line = line or word.account
    if line is not None:
        return _settled(files, word, line.state, 0.0, lambda: _never_began(files, line))
    if word.has_siblings:
        return _settled(files, word, ABSENT, 0.0, _withdrawn)
    wait = word.lost_after if word.is_accounted else 2 * word.lost_after
    return _settled(files, word, ABSENT, wait, lambda: _gone(files))


def _live(files: Files, line: Line, word: Word) -> Verdict:
    """It waits, or its job script is on its way to the command."""
    if line.state not in WAITING:
        return Verdict(_running(line))
    reason = words.squeezed(line.reason)
    if reason in words.LAUNCH_FAILED:
        return _settled(files, word, reason, 0.0, lambda: _no_launch(line))
    held = reason in words.HELD or line.state == "REQUEUE_HOLD"
    state = JobState.HELD if held else JobState.QUEUED
    return Verdict(JobReport(state, line.job_id, message=words.why(line)))


def _no_launch(line: Line) -> Verdict:
    message = f"Slurm could not start it ({line.reason})"
    report = JobReport(JobState.INTERRUPTED, line.job_id, "NODE_FAIL", message, None, False)
    return Verdict(report, fence=JobState.LOST, drop=(line,))


def _never_began(files: Files, line: Line) -> Verdict:
    """Slurm's job is over and its command never began; it never will."""
    state, reason, message, code = ends.end(files, line)
    node = words.node(line) if reason == "NODE_FAIL" else None
    report = JobReport(state, line.job_id, reason, message, code, False, node=node)
    return Verdict(report, fence=JobState.LOST)


def _gone(files: Files) -> Verdict:
    """Slurm knows nothing of it. Only one that was not acknowledged may be given again."""
    if files.job_id is not None:
        message = "Slurm knows nothing of it any more, and it never began"
        return Verdict(_lost(message, ran=files.note is None), fence=JobState.LOST)
    return Verdict(_lost("Slurm did not take it", ran=False))


def _withdrawn() -> Verdict:
    """Slurm forgets at once an element of an array that is cancelled before it starts."""
    message = "somebody cancelled it in Slurm before it began"
    report = JobReport(JobState.CANCELLED, message=message, may_have_run=False)
    return Verdict(report, fence=JobState.CANCELLED)


def _void(files: Files, claim: Claim, word: Word) -> Verdict:
    """It never starts; but a cancelled one is told of when it has left the queue."""
    line = word.line
    if claim.void is not JobState.CANCELLED:
        drop = (line,) if line is not None and line.state in WAITING else ()
        return Verdict(_lost("it never began and never will", ran=claim.may_have_run), drop=drop)
    if files.note is not None and word.taken is None:
        return Verdict()
    if line is not None and line.is_live:
        message = "it is being cancelled"
        return Verdict(JobReport(JobState.QUEUED, line.job_id, message=message), drop=(line,))
    message = "it was cancelled before it started"
    job_id = None if line is None else line.job_id
    return Verdict(JobReport(JobState.CANCELLED, job_id, None, message, may_have_run=False))


# -- it has begun


def _claimed(files: Files, claim: Claim, word: Word) -> Verdict:
    """The command has begun, and has left no record of its end."""
    running = Verdict(_begun(claim))
    line = word.line
    if word.taken is None:
        return running if files.is_news or files.is_held() else Verdict()
    if 0.0 < (claim.started_at or 0.0) - word.taken < _SKEW:
        return running
    if line is not None and line.is_live and line.state not in WAITING:
        return running
    if line is not None and line.is_live:
        return _requeued(files, claim, line, word)
    if files.is_held():
        return running
    line = line or word.account
    if line is not None:
        return _settled(files, word, line.state, 0.0, lambda: _over(files, claim, line))
    wait = word.lost_after if word.is_accounted else 2 * word.lost_after
    message = "Slurm knows nothing of it any more, and how it ended is unknown"
    lost = replace(_lost(message, ran=True), job_id=claim.job_id, started_at=claim.started_at)
    return _settled(files, word, ABSENT, wait, lambda: Verdict(lost))


def _requeued(files: Files, claim: Claim, line: Line, word: Word) -> Verdict:
    """Slurm has put it back into its queue, though it had begun."""
    if files.note is not None and files.note.resume:
        message = f"it was requeued: {words.why(line)}"
        return Verdict(JobReport(JobState.QUEUED, line.job_id, message=message))
    if files.is_held():
        return Verdict(_begun(claim))
    message = "Slurm put it back into its queue, and on_requeue is fail"
    report = _final(claim, JobState.INTERRUPTED, "PREEMPTED", message)
    return _settled(files, word, REQUEUED, 0.0, lambda: Verdict(report, drop=(line,)))


def _over(files: Files, claim: Claim, line: Line) -> Verdict:
    """Slurm says that it is over; the wrapper could not say how it ended."""
    state, reason, message, code = ends.end(files, line)
    report = replace(_final(claim, state, reason, message), exit_code=code)
    if reason == "NODE_FAIL":
        report = replace(report, node=words.node(line) or claim.node or None)
    return Verdict(report)


def _ended(files: Files, claim: Claim, record: Record, word: Word) -> Verdict:
    """It has ended. Where a signal may have ended it, Slurm may know why."""
    report, line = ended(claim, record), word.line
    requeued = line is not None and line.state in WAITING
    if record.ended_by == "cancel" or is_clear(record):
        return Verdict(report, drop=(line,) if line is not None and requeued else ())
    if word.taken is None:
        return Verdict()
    if line is not None and requeued:
        return _requeued(files, claim, line, word)
    if line is not None and line.is_live:
        return Verdict(_begun(claim))
    line = line or word.account
    if line is not None:
        told = ends.refined(files, report, line)
        return _settled(files, word, line.state, 0.0, lambda: Verdict(told))
    wait = 0.0 if word.is_accounted else word.lost_after
    return _settled(
        files, word, ABSENT, wait, lambda: Verdict(ends.guessed(files, report, record))
    )


# -- parts


def _settled(
    files: Files, word: Word, state: str, wait: float, then: Callable[[], Verdict]
) -> Verdict:
    """Return ``then()`` once two answers of the queue, ``wait`` apart, have said ``state``."""
    taken, seen = word.taken, files.seen
    if taken is None:
        return Verdict(seen=seen)
    if seen is None or seen.state != state or taken < seen.since:
        return Verdict(seen=Seen(state=state, since=taken))
    if taken <= seen.since or taken - seen.since < wait:
        return Verdict(seen=seen)
    return replace(then(), seen=seen)


def _running(line: Line) -> JobReport:
    return JobReport(JobState.RUNNING, line.job_id)


def _begun(claim: Claim) -> JobReport:
    return JobReport(JobState.RUNNING, claim.job_id, started_at=claim.started_at)


def _final(claim: Claim, state: JobState, reason: str | None, message: str) -> JobReport:
    return JobReport(state, claim.job_id, reason, message, started_at=claim.started_at)


def _lost(message: str, *, ran: bool) -> JobReport:
    return JobReport(JobState.LOST, None, "LOST", message, may_have_run=ran)
