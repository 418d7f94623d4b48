"""One task's folder: what lies where, who claimed it, how it ended.

Everything in it may have been written by the user's program, so it is read as hostile: only
regular files, only small ones, only values of the right type.
"""

import errno
import fcntl
import functools
import os
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runners import wrapper
from runners.base import STDERR, STDOUT, JobReport, JobState

PLACE = ".schedd"
"""Subfolder of the files of the protocol."""
RESERVED = frozenset({PLACE, STDOUT, STDERR, "", ".", ".."})
"""Names that a task's own files cannot have."""
SMALL = 64 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Claim(BaseModel):
    """Who took the task: a wrapper, or a fence that keeps every wrapper from it."""

    model_config = ConfigDict(frozen=True, strict=True)

    job: str = ""
    void: JobState | None = Field(default=None, strict=False)
    """Set in a fence: the final state of a task that will never start."""
    may_have_run: bool = False
    boot_id: str = ""
    host: str = ""
    pid: int = Field(default=0, ge=0, lt=1 << 31)
    starttime: int = 0
    started_at: float | None = Field(default=None, allow_inf_nan=False)
    batch_id: str = ""
    """Of the batch system's job that the wrapper ran in, with ``restart`` and ``node``."""
    restart: int = 0
    node: str = ""

    @property
    def job_id(self) -> str | None:
        """The batch system's, or else the wrapper's host and pid."""
        if self.batch_id:
            return self.batch_id
        return f"{self.host}:{self.pid}" if self.pid else None


class Record(BaseModel):
    """How the task ended, as its wrapper saw it."""

    model_config = ConfigDict(frozen=True, strict=True)

    rc: int
    signal: int = Field(ge=0, lt=128)
    ended_at: float = Field(allow_inf_nan=False)
    ended_by: str = ""
    oom: bool = False
    """Whether the kernel killed something of it for want of memory, and it failed."""
    error: str | None = Field(default=None, max_length=200)
    where: str = ""


class Unreadable(Exception):
    """A file of the protocol is not what the wrapper wrote."""


@functools.cache
def boot_id() -> str:
    """Return what tells this run of the machine's kernel from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_small(path: str) -> bytes | None:
    """Return the content of a small regular file, ``None`` where there is none.

    Raises Unreadable for anything else under that name, OSError where the disk does not answer.
    """
    try:
        fd = os.open(path, _READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Unreadable(path) from error
        raise
    try:
        at = os.fstat(fd)
        if not stat.S_ISREG(at.st_mode) or at.st_size > SMALL:
            raise Unreadable(path)
        return os.read(fd, SMALL)
    finally:
        os.close(fd)


def write_aside(path: str, text: str) -> None:
    """Write a file that appears whole or not at all."""
    temp = f"{path}.{os.getpid()}.tmp"
    with open(os.open(temp, _WRITE | os.O_TRUNC, 0o666), "w", encoding="utf-8", newline="") as out:
        out.write(text)
    os.replace(temp, path)


class Folder:
    """The folder of one task of the job ``job``."""

    __slots__ = ("job", "path", "place")

    def __init__(self, directory: Path, job: str) -> None:
        self.path = str(directory)
        self.place = f"{self.path}/{PLACE}"
        self.job = job

    def exists(self) -> bool:
        """Return whether anything of the protocol was ever written here."""
        return os.path.isdir(self.place)

    def claim(self) -> Claim | None:
        """Return the claim, ``None`` where there is none; one of nobody where it is spoilt."""
        try:
            data = read_small(f"{self.place}/claim")
            return None if data is None else Claim.model_validate_json(data)
        except (Unreadable, ValidationError):
            return Claim(job=self.job)

    def record(self) -> Record | None:
        """Return how the task ended, ``None`` where no record is or none that can be trusted."""
        try:
            data = read_small(f"{self.place}/exit.json")
            return None if data is None else Record.model_validate_json(data)
        except (Unreadable, ValidationError):
            return None

    def open_lock(self, *, create: bool = False) -> BinaryIO | None:
        """Return the open lock file, ``None`` where there is none."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(f"{self.place}/lock", flags | (os.O_CREAT if create else 0), 0o600)
        except FileNotFoundError:
            return None
        return open(fd, "r+b", buffering=0)

    def is_held(self) -> bool:
        """Return whether the task's wrapper, or anything it started, is alive."""
        lock = self.open_lock()
        if lock is None:
            return False
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def fence(self, state: JobState, *, may_have_run: bool = False) -> bool:
        """Make sure that the task never starts; return False where it is claimed already."""
        claim = Claim(job=self.job, void=state, may_have_run=may_have_run)
        return wrapper.claim(os.fsencode(self.place), claim.model_dump_json().encode())

    def ask_to_end(self) -> None:
        """Leave word that the end of the task was asked for, so that it is told from others."""
        os.close(os.open(f"{self.place}/cancel", _WRITE, 0o600))

    def was_asked_to_end(self) -> bool:
        """Return whether :meth:`ask_to_end` was ever called."""
        with suppress(FileNotFoundError):
            return stat.S_ISREG(os.lstat(f"{self.place}/cancel").st_mode)
        return False

    def look(self, *, known: bool) -> tuple[JobReport, Claim | None]:
        """Return the state of the task, and its claim.

        The order is the proof: the claim is seen, THEN the lock is free, THEN there is no record;
        so the wrapper is dead and will never write one. ``known`` says that the task was
        submitted for certain; only then is an unclaimed one fenced before it is called LOST.
        """
        claim = self.claim()
        if claim is None:
            return self._unclaimed(known=known)
        if claim.job != self.job:
            return _lost(f"the folder belongs to job {claim.job!r}", ran=False), claim
        if claim.void is not None:
            return _void(claim), claim
        if self.is_held():
            started = JobReport(JobState.RUNNING, claim.job_id, started_at=claim.started_at)
            return started, claim
        record = self.record()
        return self._gone(claim) if record is None else ended(claim, record), claim

    def _unclaimed(self, *, known: bool) -> tuple[JobReport, Claim | None]:
        lock = self.open_lock()
        if lock is None:
            if known and os.path.isdir(self.place):
                self.fence(JobState.LOST, may_have_run=True)
            return _lost("its folder is not there", ran=known), None
        with closing(lock):
            if not wrapper.lock_is_free(lock.fileno()):
                return JobReport(JobState.QUEUED, message="its wrapper is starting"), None
            # An other boot's wrapper may have run, and the power have failed before the disk knew.
            ran = lock.read(SMALL) not in (b"", boot_id().encode())
            fenced = (known or ran) and self.fence(JobState.LOST, may_have_run=ran)
        claim = self.claim()
        if claim is not None and not fenced:
            return self.look(known=known)
        return _lost("no wrapper of it is alive and none ever claimed it", ran=ran), None

    def _gone(self, claim: Claim) -> JobReport:
        """Return the report on a task that ended without a record."""
        fields = claim.job_id, claim.started_at
        if self.was_asked_to_end():
            return _final(JobState.CANCELLED, "it was cancelled", *fields)
        if claim.boot_id not in ("", boot_id()):
            message = "the machine was restarted while it ran"
            return _final(JobState.INTERRUPTED, message, *fields, reason="NODE_FAIL")
        return _final(
            JobState.LOST,
            "its wrapper died, or its record was spoilt, so how it ended is unknown",
            *fields,
            reason="LOST",
        )


def _final(
    state: JobState,
    message: str,
    job_id: str | None,
    start: float | None,
    reason: str | None = None,
) -> JobReport:
    return JobReport(state, job_id, reason, message, started_at=start)


def _lost(message: str, *, ran: bool) -> JobReport:
    return JobReport(JobState.LOST, None, "LOST", message, may_have_run=ran)


def _void(claim: Claim) -> JobReport:
    if claim.void is JobState.CANCELLED:
        message = "it was cancelled before it started"
        return JobReport(JobState.CANCELLED, message=message, may_have_run=False)
    return _lost("it was never claimed and never will be", ran=claim.may_have_run)


def ended(claim: Claim, record: Record) -> JobReport:
    """Return the report on a task that left a record."""
    state, reason, message = _outcome(record)
    code = -record.signal or record.rc
    times = claim.started_at, record.ended_at
    node = claim.node or None
    return JobReport(state, claim.job_id, reason, message, code, True, *times, node)


def _outcome(record: Record) -> tuple[JobState, str | None, str]:
    if record.ended_by == "cancel":
        return JobState.CANCELLED, None, "it was cancelled while it ran"
    if record.oom:
        return JobState.FAILED, "OOM", "something of it was killed for want of memory"
    if record.ended_by == "interrupt":
        return JobState.INTERRUPTED, None, "its wrapper was told to end, but not by schedd"
    if record.error is not None and record.where == "setup":
        text = f"its setup failed with exit status {record.rc}: {record.error}"
        return JobState.FAILED, "EXIT_CODE", text
    if record.error is not None:
        what = (
            "workdir cannot be entered" if record.where == "workdir" else "command cannot be run"
        )
        return JobState.FAILED, "EXIT_CODE", f"its {what}: {record.error}"
    if record.signal:
        return JobState.FAILED, "SIGNAL", f"it was ended by signal {record.signal}"
    if record.rc:
        return JobState.FAILED, "EXIT_CODE", f"it ended with exit status {record.rc}"
    return JobState.SUCCEEDED, None, ""
