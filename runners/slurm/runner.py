"""Run jobs on a Slurm cluster, through crashes of whoever started them, and of Slurm's own.

What holds is read from the tasks' folders and from the queue, never remembered; memory only
saves repetitions.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from runners.base import (
    Job,
    JobRef,
    JobReport,
    JobState,
    Rejected,
    Runner,
    RunnerError,
    RunnerOptions,
    Unavailable,
)
from runners.combine import combine
from runners.order import fault
from runners.slurm import acts, script
from runners.slurm.answers import Full
from runners.slurm.cluster import cluster
from runners.slurm.doctor import findings
from runners.slurm.looks import Look, Memory, given, hear, leftovers, look, queue_word
from runners.slurm.note import Note, Seat
from runners.slurm.options import SlurmOptions
from runners.slurm.queue import WAITING, Key, Snapshot
from runners.slurm.submit import Submission

Looks = Mapping[str, Sequence[Look]]


class SlurmRunner(Runner):
    """A Slurm cluster whose nodes see the folders of the tasks."""

    Options = SlurmOptions
    can_hold = True
    takes_many = True

    def __init__(
        self,
        options: RunnerOptions,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(options, wake)
        self._options = SlurmOptions.model_validate(options.model_dump())
        self.poll_floor = min(10.0, self._options.poll_floor)
        self._clock = clock
        self._cluster = cluster(self._options.prefix, clock)
        self._submission = Submission(self._cluster, self._options, clock)
        self._memory = Memory({}, {}, {})
        self._leaving: dict[Key, float] = {}
        """Slurm jobs whose tasks have ended, and when that was told: they should end too."""

    def render(self, job: Job) -> str:
        """Return the command line and the script for this job alone."""
        name = script.array_name(job, 1)
        argv = script.argv([job], name, self._options)
        text = script.text(script.folder_of(job, name), self._options)
        return script.shown([*self._options.prefix, *argv], text)

    # -- submit

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
        """Give jobs of equal needs to Slurm as one array."""
        answered: dict[str, str | RunnerError] = {}
        fresh: list[Job] = []
        for job in jobs:
            answer = self._known(job)
            if answer is None:
                fresh.append(job)
            else:
                answered[job.name] = answer
        return answered | self._submission.give(fresh)

    def _known(self, job: Job) -> str | RunnerError | None:
        """Return the answer to a job that cannot be new or cannot be, ``None`` to all others."""
        wrong = fault(job) or script.fault(job)
        if wrong is not None:
            return Rejected(f"job {job.name!r} is impossible: {wrong}")
        try:
            seats = [Seat(task.directory, job.name) for task in job.tasks]
            claims = [claim for seat in seats if (claim := seat.claim()) is not None]
            noted = any(given(seat.note()) for seat in seats)
        except OSError as error:
            return Full(f"its folder cannot be read: {error}")
        if any(claim.job != job.name for claim in claims):
            return Rejected(f"a folder of job {job.name!r} belongs to another job")
        if claims:
            return next((claim.job_id for claim in claims if claim.job_id), None) or job.name
        return self._earlier(job) if noted else None

    def _earlier(self, job: Job) -> str | RunnerError | None:
        """Return what has become of an earlier try, ``None`` where Slurm did not take it."""
        ref = JobRef(job.name, None, tuple(task.directory for task in job.tasks))
        doubt = Unavailable("it was given to Slurm before, and is looked up by name")
        try:
            report = self.poll([ref]).get(job.name)
        except Unavailable as error:
            return error
        if report is None:
            return doubt
        if report.state is JobState.LOST and not report.may_have_run:
            return None
        return report.job_id or doubt

    # -- poll

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Look at the folders; then ask once for all whose folders do not tell."""
        looks = {ref.name: self._look(ref) for ref in refs}
        silent: Unavailable | None = None
        if any(task.is_open for tasks in looks.values() for task in tasks):
            try:
                self._hear(looks)
            except Unavailable as error:
                silent = error
        found = self._reports(looks)
        if silent is not None and not found:
            raise silent
        return found

    def _look(self, ref: JobRef) -> list[Look]:
        """Return what the folders of one job tell; nothing where the disk does not answer."""
        with suppress(OSError):
            seats = [Seat(directory, ref.name) for directory in ref.directories]
            return [look(seat, self._memory, ref.job_id) for seat in seats]
        return []

    def _hear(self, looks: Looks) -> None:
        """Judge again, with Slurm's word, what the folders do not tell. Raises Unavailable."""
        snapshot = self._cluster.snapshot(self._options.poll_floor)
        open_ = [task for tasks in looks.values() for task in tasks if task.is_open]
        for task in open_:
            since = self._memory.since(task.seat.job)
            task.word = queue_word(task, snapshot, since, self._clock())
        if any(task.is_forgotten for task in open_):
            self._cluster.note_forgetting()
        hear(open_, snapshot, self._cluster, self._options)
        self._note_seen(task for task in open_ if task.word.taken is not None)
        self._drop(open_, snapshot)

    def _note_seen(self, looks: Iterable[Look]) -> None:
        """Note what Slurm has to say again, where that has changed."""
        for task in looks:
            note, seen = task.files.note, task.verdict.seen
            if seen == task.files.seen:
                continue
            if note is not None:
                with suppress(OSError):  # it will be noted next time
                    task.seat.write_note(note.model_copy(update={"seen": seen}), durably=False)
            elif seen is not None:
                self._memory.seen[task.seat.path] = seen
            else:
                self._memory.seen.pop(task.seat.path, None)

    def _drop(self, looks: Sequence[Look], snapshot: Snapshot) -> None:
        """Cancel Slurm jobs that are not needed any more, as well as that goes."""
        due = [key for key, told in self._leaving.items() if snapshot.taken > told]
        left = leftovers(due, snapshot)
        for key in set(due) - {line.key for line in left}:
            del self._leaving[key]
        lines = [line for line in left if line.state in WAITING]
        if any(line.is_new for line in lines):
            self._cluster.note_forgetting()
        lines += [line for task in looks for line in task.verdict.drop]
        now = self._clock()
        self._leaving |= {line.key: now for line in left}
        self._memory.acts |= {("drop", task.seat.job): now for task in looks if task.verdict.drop}
        with suppress(Unavailable):  # they cannot begin; the next answer of the queue tells
            acts.scancel(self._cluster, lines)

    def _reports(self, looks: Looks) -> dict[str, JobReport]:
        found: dict[str, JobReport] = {}
        for name, tasks in looks.items():
            reports = [report for task in tasks if (report := self._report(task)) is not None]
            if tasks and len(reports) == len(tasks):
                found[name] = combine(reports)
        return found

    def _report(self, task: Look) -> JobReport | None:
        """Return the report on one task, after its fence stands where it needs one."""
        fence, report = task.verdict.fence, task.verdict.report
        if report is None or (fence is not None and not _fenced(task)):
            return None
        if task.start is not None and report.state is JobState.RUNNING:
            self._memory.told[task.seat.path] = task.start
        if report.state.is_final:
            now = self._clock()
            self._leaving |= {one.key: now for one in given(task.files.note)}
        return report

    # -- act

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """Fence what has not begun, and end what Slurm has of these jobs."""
        problems: list[str] = []
        notes: list[Note] = []
        for seat in self._due("cancel", refs):
            try:
                note = acts.stop(seat)
            except OSError as error:
                problems.append(f"{seat.job}: {error}")
            else:
                notes += [note] if note is not None else []
        if notes:
            acts.scancel(self._cluster, acts.live(notes, self._cluster.fresh()))
            self._done("cancel", notes)
        if problems:
            raise Unavailable(f"not everything could be cancelled: {'; '.join(problems)}")

    def release(self, refs: Sequence[JobRef]) -> None:
        """Release what the queue shows as held."""
        try:
            seats = self._due("release", refs)
            notes = [note for seat in seats if (note := seat.note()) is not None]
        except OSError as error:
            raise Unavailable(f"a folder cannot be read: {error}") from error
        if notes:
            acts.release(self._cluster, acts.live(notes, self._cluster.fresh()))
            self._done("release", notes)

    def _due(self, verb: str, refs: Sequence[JobRef]) -> list[Seat]:
        """Return the tasks of those jobs to which this was not done within the floor."""
        after = self._clock() - self._options.poll_floor
        done = self._memory.acts
        due = [ref for ref in refs if done.get((verb, ref.name), float("-inf")) <= after]
        return [Seat(directory, ref.name) for ref in due for directory in ref.directories]

    def _done(self, verb: str, notes: Sequence[Note]) -> None:
        now = self._clock()
        self._memory.acts |= {(verb, note.job): now for note in notes}

    def examine(self, job: Job) -> None:
        """Ask sbatch, with --test-only, whether the cluster would ever run ``job``."""
        wrong = fault(job) or script.fault(job)
        if wrong is not None:
            raise Rejected(f"job {job.name!r} is impossible: {wrong}")
        self._submission.examine(job)

    def check(self) -> Sequence[tuple[bool, str]]:
        """Ask the cluster for what this runner needs of it."""
        return findings(self._cluster, self._options)

    def close(self) -> None:
        """Forget everything. Jobs go on."""
        self._memory = Memory({}, {}, {})
        self._leaving.clear()


def _fenced(task: Look) -> bool:
    """Make sure that a task never starts; return False where that is not certain."""
    fence, report = task.verdict.fence, task.verdict.report
    assert fence is not None
    assert report is not None
    try:
        if not task.seat.exists():  # nor does the order, without which nothing of it can start
            return task.seat.has_disk()
        return task.seat.fence(fence, may_have_run=report.may_have_run)
    except OSError:
        return False
