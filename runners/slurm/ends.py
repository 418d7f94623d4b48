"""What an end was: by the record in the task's folder, and by Slurm's word. Pure."""

import re
from dataclasses import replace

from runners.base import JobReport, JobState
from runners.folder import Record
from runners.slurm import words
from runners.slurm.evidence import Files
from runners.slurm.queue import Line
from runners.wrapper import NOT_OURS

_NO_OUTPUT = 53
"""The signal that Slurm reports of a job whose output files could not be opened."""
_MEMORY = re.compile(r"slurmstepd.*(exceeded .*memory limit|oom[-_ ]kill)", re.IGNORECASE)


def end(files: Files, line: Line) -> tuple[JobState, str | None, str, int | None]:
    """Return state, reason, sentence and exit status of a Slurm job that is over."""
    found = words.end(line)
    code = -line.signal if line.signal else line.status
    if found is not None:
        return *found, None
    if line.state == "COMPLETED":
        message = "Slurm says COMPLETED, but the task's folder has no record of its end"
        return JobState.LOST, "LOST", message, None
    if line.signal == _NO_OUTPUT:
        message = f"{line.nodes or 'its node'} could not write to the task's folder: is it shared?"
        return JobState.INTERRUPTED, "NODE_FAIL", message, None
    if _MEMORY.search(files.complaint()):
        return JobState.FAILED, "OOM", "it used more memory than it asked for", code
    how = f"signal {line.signal}" if line.signal else f"exit status {line.status}"
    if files.claim is None:
        message = f"its job script ended with {how} before the command began; see stderr.log"
        return JobState.FAILED, "SIGNAL" if line.signal else "EXIT_CODE", message, code
    if line.status == NOT_OURS:
        message = "Slurm started it a second time, and on_requeue is fail"
        return JobState.INTERRUPTED, "PREEMPTED", message, None
    message = f"its wrapper ended with {how}, so how the command ended is unknown"
    return JobState.LOST, "LOST", message, None


def refined(files: Files, report: JobReport, line: Line) -> JobReport:
    """Return the report on a task that a signal ended, with the cause that Slurm tells."""
    found = words.end(line)
    if found is None:
        if _MEMORY.search(files.complaint()):
            return _out_of_memory(report)
        return report
    state, reason, message = found
    node = words.node(line) or report.node
    return replace(report, state=state, reason=reason, message=message, node=node)


def guessed(files: Files, report: JobReport, record: Record) -> JobReport:
    """Return the report on a task that a signal ended, of which Slurm says nothing more."""
    if _MEMORY.search(files.complaint()):
        return _out_of_memory(report)
    limit = files.note.limit if files.note is not None else None
    ran = record.ended_at - (report.started_at or record.ended_at)
    if limit is not None and record.ended_by == "interrupt" and ran >= limit:
        message = "it ran into its time limit in Slurm"
        return replace(report, state=JobState.FAILED, reason="TIMEOUT", message=message)
    return report


def _out_of_memory(report: JobReport) -> JobReport:
    message = "it used more memory than it asked for"
    return replace(report, state=JobState.FAILED, reason="OOM", message=message)
