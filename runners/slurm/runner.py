"""Run jobs on a Slurm cluster, through crashes of whoever started them, and of Slurm's own.

What holds is read from the tasks' folders and from the queue, never remembered; memory only
saves repetitions.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

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
from runners.folder import Claim
from runners.order import fault
from runners.slurm import script
from runners.slurm.answers import Full
from runners.slurm.cluster import AT_ONCE, Cluster, cluster
from runners.slurm.note import Given, Note, Seat, Seen
from runners.slurm.options import SlurmOptions
from runners.slurm.queue import Line, Snapshot
from runners.slurm.submit import Submission
from runners.slurm.verdict import Files, Verdict, Word, judge


@dataclass(slots=True)
class _Look:
    """One task, as one poll sees it."""

    seat: Seat
    files: Files
    verdict: Verdict

    @property
    def needs_slurm(self) -> bool:
        """Whether its folder alone does not tell."""
        report = self.verdict.report
        return report is None or not report.state.is_final


class SlurmRunner(Runner):
    """A Slurm cluster whose nodes see the folders of the tasks."""

    Options = SlurmOptions
    can_hold = True

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
        self._cluster: Cluster = cluster(self._options.prefix, clock)
        self._submission = Submission(self._cluster, self._options, clock)
        self._acted: dict[str, float] = {}
        """When something was last done to a job: older answers of the queue do not count."""
        self._told: dict[str, tuple[str, int]] = {}
        """The start of each task, by its folder, that was told of."""
        self._seen: dict[str, Seen] = {}
        """What would stand in a note, for folders that have none."""

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
            noted = any(note.given for seat in seats if (note := seat.note()) is not None)
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
        if any(look.needs_slurm for job in looks.values() for look in job):
            try:
                self._ask_slurm(looks)
            except Unavailable as error:
                silent = error
        self._write(look for job in looks.values() for look in job)
        found = self._reports(looks)
        if silent is not None and not found:
            raise silent
        return found

    def _look(self, ref: JobRef) -> list[_Look]:
        """Return what the folders of one job tell; nothing where the disk does not answer."""
        with suppress(OSError):
            seats = [Seat(directory, ref.name) for directory in ref.directories]
            files = [self._files(seat, known=ref.job_id is not None) for seat in seats]
            pairs = zip(seats, files, strict=True)
            return [_Look(seat, file, judge(file, Word())) for seat, file in pairs]
        return []

    def _files(self, seat: Seat, *, known: bool) -> Files:
        claim, note = seat.claim(), seat.note()
        started = (claim.batch_id, claim.restart) if claim is not None else None
        return Files(
            job=seat.job,
            known=known,
            claim=claim,
            is_news=started is not None and self._told.get(seat.path) != started,
            record=seat.record() if claim is not None else None,
            note=note,
            seen=note.seen if note is not None else self._seen.get(seat.path),
            is_held=seat.runs,
            complaint=seat.complaint,
        )

    def _ask_slurm(self, looks: Mapping[str, Sequence[_Look]]) -> None:
        """Judge again, with Slurm's word, all whose folders do not tell. Raises Unavailable."""
        floor = self._options.poll_floor
        snapshot = self._cluster.snapshot(floor)
        open_ = [look for job in looks.values() for look in job if look.needs_slurm]
        gone = [look for look in open_ if _left(look.files, snapshot)]
        names = {given.name for look in gone for given in _given(look.files.note)}
        oldest = min((g.at for look in gone for g in _given(look.files.note)), default=0.0)
        accounts = self._cluster.accounts(names, self._clock() - oldest + 3600, floor)
        for look in open_:
            word = self._word(look.files, snapshot)
            told = [accounts.get(given.name) for given in _given(look.files.note)]
            lines = [
                line
                for given, of in zip(_given(look.files.note), told, strict=True)
                for line in (of or {}).get(given.key, ())
            ]
            account = lines[-1] if lines else None
            done = all(of is not None for of in told)
            word = Word(
                word.taken, word.line, word.others, account, done, self._options.lost_after
            )
            look.verdict = judge(look.files, word)
        self._drop(looks)

    def _word(self, files: Files, snapshot: Snapshot) -> Word:
        """Return what the queue says of one task, where its answer is new enough."""
        given = _given(files.note)
        newest = max((g.at for g in given), default=0.0)
        if snapshot.taken <= max(newest, self._acted.get(files.job, 0.0)):
            return Word()
        lines = [line for g in given for line in snapshot.of(g.key)]
        line = _choose(lines, files.claim)
        others = tuple(other for other in lines if other is not line and other.is_live)
        return Word(snapshot.taken, line, others)

    def _write(self, looks: Iterable[_Look]) -> None:
        """Note what Slurm has to say again, where that has changed."""
        for look in looks:
            note, seen = look.files.note, look.verdict.seen
            if seen == look.files.seen:
                continue
            if note is not None:
                with suppress(OSError):  # it will be noted next time
                    look.seat.write_note(note.model_copy(update={"seen": seen}), durably=False)
            elif seen is not None:
                self._seen[look.seat.path] = seen
            else:
                self._seen.pop(look.seat.path, None)

    def _reports(self, looks: Mapping[str, Sequence[_Look]]) -> dict[str, JobReport]:
        found: dict[str, JobReport] = {}
        for name, tasks in looks.items():
            reports = [report for look in tasks if (report := self._report(look)) is not None]
            if tasks and len(reports) == len(tasks):
                found[name] = combine(reports)
        return found

    def _report(self, look: _Look) -> JobReport | None:
        """Return the report on one task, after its fence stands where it needs one."""
        fence, report, claim = look.verdict.fence, look.verdict.report, look.files.claim
        if fence is not None:
            try:
                if not look.seat.fence(fence, may_have_run=bool(report and report.may_have_run)):
                    return None
            except OSError:
                return None
        if claim is not None and report is not None and report.state is JobState.RUNNING:
            self._told[look.seat.path] = claim.batch_id, claim.restart
        return report

    def _drop(self, looks: Mapping[str, Sequence[_Look]]) -> None:
        """Cancel Slurm jobs that are not needed any more, as well as that goes."""
        lines = [line for job in looks.values() for look in job for line in look.verdict.drop]
        if not lines:
            return
        with suppress(Unavailable):  # they cannot begin; the next poll tries again
            self._scancel(lines)
        now = self._clock()
        self._acted |= {
            name: now for name, job in looks.items() if any(look.verdict.drop for look in job)
        }

    # -- act

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """Fence what has not begun, and end what Slurm has of these jobs."""
        floor, now = self._options.poll_floor, self._clock()
        due = [ref for ref in refs if not 0 <= now - self._acted.get(ref.name, -floor) < floor]
        seats = [Seat(directory, ref.name) for ref in due for directory in ref.directories]
        problems = []
        noted: list[Note] = []
        for seat in seats:
            try:
                noted += _stop(seat)
            except OSError as error:
                problems.append(f"{seat.job}: {error}")
        if noted:
            snapshot = self._cluster.fresh()
            keys = [given.key for note in noted for given in note.given]
            self._scancel(line for key in keys for line in snapshot.of(key) if line.is_live)
            now = self._clock()
            self._acted |= {note.job: now for note in noted}
        if problems:
            raise Unavailable(f"not everything could be cancelled: {'; '.join(problems)}")

    def _scancel(self, lines: Iterable[Line]) -> None:
        """End Slurm jobs. Raises Unavailable where that did not get through."""
        for ids in _batches(line.job_id for line in lines):
            answer = self._cluster.call(["scancel", *ids])
            if answer.status != 0:
                raise Unavailable(f"scancel did not get through: {answer.sentence}")

    def release(self, refs: Sequence[JobRef]) -> None:
        """Release those that the queue shows as held."""
        floor, now = self._options.poll_floor, self._clock()
        due = [ref for ref in refs if not 0 <= now - self._acted.get(ref.name, -floor) < floor]
        seats = [Seat(directory, ref.name) for ref in due for directory in ref.directories]
        notes = [note for seat in seats if (note := seat.note()) is not None]
        if not notes:
            return
        snapshot = self._cluster.fresh()
        lines = [line for n in notes for g in n.given for line in snapshot.of(g.key)]
        for ids in _batches(line.job_id for line in lines if line.state == "PENDING"):
            answer = self._cluster.call(["scontrol", "release", ",".join(ids)])
            if answer.status != 0:
                raise Unavailable(f"scontrol release did not get through: {answer.sentence}")
        now = self._clock()
        self._acted |= {note.job: now for note in notes}

    def close(self) -> None:
        """Forget everything. Jobs go on."""
        self._acted.clear()
        self._told.clear()
        self._seen.clear()


def _given(note: Note | None) -> tuple[Given, ...]:
    return () if note is None else note.given


def _left(files: Files, snapshot: Snapshot) -> bool:
    """Whether a task was given to Slurm and is not in its queue."""
    given = _given(files.note)
    return bool(given) and not any(snapshot.of(g.key) for g in given)


def _choose(lines: Sequence[Line], claim: Claim | None) -> Line | None:
    """Return the Slurm job that is the task's: the one that claimed it, else one that may."""
    if claim is not None and claim.batch_id:
        return next((line for line in lines if line.job_id == claim.batch_id), None)
    live = (line for line in lines if line.is_live)
    return next(live, lines[-1] if lines else None)


def _stop(seat: Seat) -> Iterator[Note]:
    """Fence a task, or leave word that its end is wanted; yield its note where Slurm has it."""
    note, claim = seat.note(), seat.claim()
    if note is None or not note.given:
        if claim is None and seat.exists():
            seat.fence(JobState.CANCELLED)
        return
    if claim is None and not seat.fence(JobState.CANCELLED):
        claim = seat.claim()
    if claim is not None and claim.void is None:
        if claim.job != seat.job or seat.record() is not None:
            return
        seat.ask_to_end()
    yield note


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    every = list(ids)
    for start in range(0, len(every), AT_ONCE):
        yield every[start : start + AT_ONCE]
