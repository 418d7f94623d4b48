"""Trials that people or other programs carry out: an A/B test, a bench in a laboratory.

Nothing is started. A job's folder is made, with its files, so that whoever carries it out finds
its parameters; what becomes of it is said by ``schedd complete`` and ``schedd fail``.
"""

import os
from collections.abc import Mapping, Sequence

from runners.base import (
    Job,
    JobRef,
    JobReport,
    JobState,
    Rejected,
    Runner,
    RunnerError,
    Task,
    Unavailable,
)
from runners.folder import RESERVED, Folder, write_aside


class ExternalRunner(Runner):
    """Jobs that wait for somebody. Only their existence and their cancellation are known here."""

    by_people = True
    needs_command = False
    uses_resources = False

    def render(self, job: Job) -> str:
        """Return in words who does what."""
        lines = [f"# job {job.name}: carried out by people or other programs"]
        for task in job.tasks:
            lines.append(f"# task {task.name}: its files are in {task.directory}")
            lines += [f"#   {name}" for name in task.files]
        lines += ["# take it: schedd next", "# report it: schedd complete N, or schedd fail N"]
        return "\n".join(lines) + "\n"

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
        """Make the folders; a job's name is its id."""
        return {job.name: self._submit(job) for job in jobs}

    def _submit(self, job: Job) -> str | RunnerError:
        if any("/" in name or name in RESERVED for task in job.tasks for name in task.files):
            return Rejected(f"job {job.name!r} has a file whose name is taken")
        try:
            for task in job.tasks:
                _prepare(task, job.name)
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            return Unavailable(f"its folder cannot be made: {error.strerror}{place}")
        return job.name

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Report what was cancelled, and what an unanswered submission came to.

        Of all else nothing is known here: it is in somebody's hands.
        """
        found = {ref.name: _look(ref) for ref in refs}
        return {name: report for name, report in found.items() if report is not None}

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """Leave word in the folders; whoever has the trial sees it in ``schedd trial``."""
        try:
            for ref in refs:
                for directory in ref.directories:
                    folder = Folder(directory, ref.name)
                    os.makedirs(folder.place, 0o700, exist_ok=True)
                    folder.ask_to_end()
        except OSError as error:
            raise Unavailable(f"word cannot be left: {error.strerror}") from error

    def close(self) -> None:
        """Do nothing: all lies in the folders."""


def _prepare(task: Task, job: str) -> None:
    """Make a task's folder; the protocol's own folder in it, last, says that it is whole."""
    directory = str(task.directory)
    os.makedirs(directory, exist_ok=True)
    for name, text in task.files.items():
        write_aside(f"{directory}/{name}", text)
    os.makedirs(Folder(task.directory, job).place, 0o700, exist_ok=True)


def _look(ref: JobRef) -> JobReport | None:
    folders = [Folder(directory, ref.name) for directory in ref.directories]
    if any(folder.was_asked_to_end() for folder in folders):
        return JobReport(JobState.CANCELLED, ref.name, message="it was cancelled")
    if ref.job_id is not None:
        return None
    if all(os.path.isdir(folder.place) for folder in folders):
        return JobReport(JobState.QUEUED, ref.name, message="waits for somebody to take it")
    return JobReport(JobState.LOST, None, "LOST", "nobody was told of it", may_have_run=False)
