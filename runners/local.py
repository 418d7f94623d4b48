"""Run jobs as processes of this machine, through crashes of whoever started them.

Each task is started by a wrapper (``runners/wrapper.py``) that outlives this process. What holds
is read from the task's folder, never remembered; memory only saves looks at the disk.
"""

import errno
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from pydantic import Field

from runners import launch, wrapper
from runners.base import (
    Job,
    JobRef,
    JobReport,
    JobState,
    Rejected,
    Runner,
    RunnerError,
    RunnerOptions,
    Task,
    Unavailable,
)
from runners.combine import combine
from runners.folder import Claim, Folder, boot_id
from runners.order import Limits
from runners.order import fault as impossible
from runners.units import Duration, Size
from runners.watch import Watch


class LocalOptions(RunnerOptions):
    """The section ``local:`` of the YAML."""

    max_procs: int | None = Field(default=None, ge=1)
    """At most this many unfinished jobs; a job of several tasks counts once."""
    term_grace: Duration = 10.0
    """From SIGTERM to SIGKILL."""
    output_limit: Size = Field(default=256 << 20, ge=4096)
    """For each of stdout.log and stderr.log; the middle of longer ones is left out."""


class LocalRunner(Runner):
    """Processes of this machine, one or more to a job, each in a session of its own."""

    Options = LocalOptions
    uses_resources = False

    def __init__(self, options: RunnerOptions, wake: Callable[[], None]) -> None:
        super().__init__(options, wake)
        self._options = LocalOptions.model_validate(options.model_dump())
        self.max_jobs = self._options.max_procs
        self._limits = Limits(self._options.term_grace, self._options.output_limit)
        self._watch = Watch(wake)
        self._running: dict[str, JobReport] = {}
        """Of the jobs that surely run as long as no process of theirs is among the news."""

    def render(self, job: Job) -> str:
        """Return a shell script that does what :meth:`submit` would."""
        return launch.render(job)

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
        """Start a wrapper for each task; all of a job's tasks start, or none does."""
        return {job.name: self._submit(job) for job in jobs}

    def _submit(self, job: Job) -> str | RunnerError:
        fault = "the local runner cannot hold jobs" if job.hold else impossible(job)
        if fault is not None:
            return Rejected(f"job {job.name!r} is impossible: {fault}")
        try:
            job_id, started = launch.start(job, self._limits)
            for key, pidfd in started:
                self._watch.add(key, pidfd)
        except RunnerError as error:
            return error
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.E2BIG):
                return Rejected(f"job {job.name!r} is impossible: {error}")
            place = f": {error.filename}" if error.filename else ""
            return Unavailable(f"job {job.name} cannot be started now: {error.strerror}{place}")
        return job_id

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Look at the folders of those jobs of which something may be new."""
        for key in self._watch.news():
            self._running.pop(key.partition("\0")[0], None)
        found: dict[str, JobReport] = {}
        for ref in refs:
            report = self._running.get(ref.name)
            if report is None:
                with suppress(OSError):  # the disk does not answer: nothing is known of this one
                    report = self._look(ref)
            if report is not None:
                found[ref.name] = report
        return found

    def _look(self, ref: JobRef) -> JobReport:
        """Return the report on one job; remember it as long as its processes are watched."""
        reports, sure = [], True
        for folder in _folders(ref):
            report, claim = folder.look(known=ref.job_id is not None)
            reports.append(report)
            if not report.state.is_final:
                sure = self._watches(folder, claim) and sure
        whole = combine(reports)
        if whole.state is JobState.RUNNING and sure:
            self._running[ref.name] = whole
        return whole

    def _watches(self, folder: Folder, claim: Claim | None) -> bool:
        """Return whether the end of a claimed task's wrapper will be news."""
        key = launch.key(folder)
        if claim is None:
            return False
        if key not in self._watch:
            pidfd = _open_wrapper(claim)
            if pidfd is None:
                return False
            self._watch.add(key, pidfd)
        return True

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """Fence tasks that have not started; tell the wrappers of the others to end them."""
        problems = []
        for ref in refs:
            for folder in _folders(ref):
                try:
                    _cancel(folder)
                except OSError as error:
                    problems.append(f"{ref.name}: {error}")
        if problems:
            raise Unavailable(f"not everything could be cancelled: {'; '.join(problems)}")

    def check(self) -> Sequence[tuple[bool, str]]:
        """Start a command for real, in a temporary folder, and see it end."""
        place = tempfile.mkdtemp(prefix="schedd-doctor-")
        try:
            return (_try_out(Path(place)),)
        finally:
            shutil.rmtree(place)

    def close(self) -> None:
        """Stop the thread that waits for ends. Jobs go on."""
        self._watch.close()
        self._running.clear()


def _folders(ref: JobRef) -> Iterator[Folder]:
    return (Folder(directory, ref.name) for directory in ref.directories)


def _open_wrapper(claim: Claim) -> int | None:
    """Return a pidfd of the wrapper that made ``claim``; ``None`` where it is gone.

    The descriptor comes first and the check second: what it names cannot change in between.
    """
    if claim.boot_id != boot_id() or not claim.pid:
        return None
    try:
        pidfd = os.pidfd_open(claim.pid)
    except ProcessLookupError:
        return None
    with suppress(OSError):  # it ended before the look
        fields = wrapper.stat_fields(str(claim.pid))
        if fields[0] not in b"ZX" and int(fields[19]) == claim.starttime:
            return pidfd
    os.close(pidfd)
    return None


def _cancel(folder: Folder) -> None:
    """Fence one task, or ask for its end. Raises OSError where neither is possible."""
    if not os.path.isdir(folder.place) or folder.fence(JobState.CANCELLED):
        return
    claim = folder.claim()
    if claim is None or claim.void or claim.job != folder.job or not folder.is_held():
        return
    folder.ask_to_end()
    pidfd = _open_wrapper(claim)
    if pidfd is None:
        _kill_orphans(folder, claim)
        return
    try:
        with suppress(ProcessLookupError):  # it has just ended
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    finally:
        os.close(pidfd)


def _kill_orphans(folder: Folder, claim: Claim) -> None:
    """Kill what a dead wrapper left: the holders of the lock, and the session of theirs.

    The number of the session is as good as the wrapper's pid was only while a holder of the lock
    is in it. Nobody is left to wait for a grace, so it is SIGKILL at once.
    """
    lock = folder.open_lock()
    if lock is None or claim.boot_id != boot_id():
        raise OSError(f"it seems to run on another machine, {claim.host or 'unknown'}")
    with closing(lock):
        at = os.fstat(lock.fileno())
        file = at.st_dev, at.st_ino
        for pid, _ in wrapper.survivors(-1, file):
            with suppress(OSError):  # it ended meanwhile
                _kill_holder(pid, claim.pid, file)


def _kill_holder(pid: int, session: int, lock: tuple[int, int]) -> None:
    """Kill one holder of ``lock``, with its session where that is ``session``."""
    pidfd = os.pidfd_open(pid)
    try:
        if wrapper.holds(str(pid), lock):
            if int(wrapper.stat_fields(str(pid))[3]) == session:
                for other, _ in wrapper.survivors(session, lock):
                    wrapper.send(other, signal.SIGKILL)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def _try_out(place: Path) -> tuple[bool, str]:
    """Return whether a command started in ``place`` is seen to succeed, and a sentence."""
    job = Job("schedd-doctor", (Task("doctor", ("true",), place / "task"),))
    try:
        _, ((_, pidfd),) = launch.start(job, Limits(grace=1.0, output=4096))
        try:
            ends = select.poll()
            ends.register(pidfd, select.POLLIN)
            ends.poll(10_000)
            with suppress(ChildProcessError):  # somebody else takes the status of all children
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        finally:
            os.close(pidfd)
        report, _ = Folder(place / "task", job.name).look(known=True)
    except (OSError, RunnerError) as error:
        return False, f"processes cannot be started on this machine: {error}"
    if report.state is JobState.SUCCEEDED:
        return True, f"processes are started and watched by {sys.executable}"
    return False, f"a process did not end as it should: {report.message or report.state}"
