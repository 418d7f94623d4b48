"""Start the wrappers of a local job: all of its tasks, or none."""

import errno
import fcntl
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from runners import wrapper
from runners.base import STDERR, STDOUT, Job, Rejected, Task, Unavailable
from runners.folder import Folder, boot_id, write_aside
from runners.order import Limits, encode

_STUB = "import sys; sys.path.append(sys.argv[1]); import wrapper; wrapper.main()"
"""Imported, so that Python compiles it once and not for each command."""
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Seat:
    """A task whose folder is ready and whose lock is ours."""

    task: Task
    folder: Folder
    lock: int
    stdout: int
    stderr: int


def key(folder: Folder) -> str:
    """Return what names one task among those of all jobs, beginning with the job's name."""
    return f"{folder.job}\0{folder.path}"


def start(job: Job, limits: Limits) -> tuple[str, list[tuple[str, int]]]:
    """Start the wrappers of all tasks that have none yet; return the job's id, and their pidfds.

    A wrapper waits for all the others: where this raises, or this process dies, before the last
    one stands, none of them ever runs anything. Raises Unavailable or OSError.
    """
    with ExitStack() as stack:
        seats = [seat for task in job.tasks if (seat := _take(task, job, stack)) is not None]
        if len(seats) == 1:
            children = [_spawn(seats[0], _order(seats[0], job, -1, limits), ())]
        else:
            children = _together(seats, job, limits)
    started = [(key(seat.folder), pidfd) for seat, (_, pidfd) in zip(seats, children, strict=True)]
    return _job_id(job, [pid for pid, _ in children]), started


def _together(seats: Sequence[_Seat], job: Job, limits: Limits) -> list[tuple[int, int]]:
    """Start several wrappers, of which none goes on before all of them stand.

    One write into one pipe lets them go: it happens whole, or not at all.
    """
    children: list[tuple[int, int]] = []
    go, send = os.pipe2(os.O_CLOEXEC)
    try:
        for seat in seats:
            order = _order(seat, job, go, limits)
            children.append(_spawn(seat, order, (go,)))
        os.write(send, b"g" * len(seats))
    except OSError:
        os.close(send)
        send = -1
        for _, pidfd in children:
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)
        raise
    finally:
        os.close(go)
        if send >= 0:
            os.close(send)
    return children


def _take(task: Task, job: Job, stack: ExitStack) -> _Seat | None:
    """Make the task's folder ready and hold its lock; ``None`` where the task is claimed.

    Raises Unavailable where its wrapper is starting, perhaps another process's.
    """
    folder = Folder(task.directory, job.name)
    os.makedirs(folder.place, 0o700, exist_ok=True)
    lock = folder.open_lock(create=True)
    assert lock is not None
    stack.enter_context(lock)
    free = wrapper.lock_is_free(lock.fileno())
    claim = folder.claim()
    if claim is not None:
        if claim.job != job.name:
            raise Rejected(f"folder {folder.path} belongs to job {claim.job!r}")
        return None
    if not free:
        raise Unavailable(f"job {job.name!r} is being started just now")
    lock.truncate(0)
    lock.write(boot_id().encode())
    for name, text in task.files.items():
        write_aside(f"{folder.path}/{name}", text)
    logs = [_open_log(f"{folder.path}/{name}", stack) for name in (STDOUT, STDERR)]
    return _Seat(task, folder, _raise(lock.fileno(), stack), *logs)


def _raise(fd: int, stack: ExitStack) -> int:
    """Return a high duplicate of ``fd``, or itself where so many files may not be open."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, wrapper.HIGH_FD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return fd
    stack.callback(os.close, high)
    return high


def _open_log(path: str, stack: ExitStack) -> int:
    fd = os.open(path, _APPEND, 0o666)
    stack.callback(os.close, fd)
    return fd


def _order(seat: _Seat, job: Job, go: int, limits: Limits) -> bytes:
    """Return the wrapper's order: the command gets the environment of this process."""
    who = {"job": job.name, "task": seat.task.name, "host": platform.node(), "boot_id": boot_id()}
    return encode(seat.task, job, limits, os.environb, who=who, fds=(seat.lock, go))


def _spawn(seat: _Seat, order: bytes, extra: tuple[int, ...]) -> tuple[int, int]:
    """Start one wrapper, which inherits the lock; return its pid and a pidfd of it."""
    library = Path(wrapper.__file__).parent
    argv = [sys.executable, "-I", "-S", "-E", "-c", _STUB, str(library), seat.folder.path]
    # The order goes by memory, not by disk (it holds the environment), nor as arguments (limits).
    memory = os.memfd_create("schedd-order")
    try:
        os.write(memory, order)
        child = subprocess.Popen(
            argv,
            stdin=memory,
            stdout=seat.stdout,
            stderr=seat.stderr,
            pass_fds=(seat.lock, *extra),
            env={"LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    finally:
        os.close(memory)
    # A pidfd reaps it. This keeps Popen from warning of, and waiting for, a child it still owns.
    child.returncode = 0
    return child.pid, os.pidfd_open(child.pid)


def _job_id(job: Job, pids: Sequence[int]) -> str:
    """Return host and pid of the first task's wrapper, the name where it never had one."""
    claim = Folder(job.tasks[0].directory, job.name).claim()
    if claim is not None:
        return claim.job_id or job.name
    return f"{platform.node()}:{pids[0]}" if pids else job.name


def render(job: Job) -> str:
    """Return the shell script that does what :func:`start` would."""
    lines = [f"# job {job.name}: {len(job.tasks)} task(s), started together"]
    for task in job.tasks:
        folder = shlex.quote(str(task.directory))
        lines += ["", f"# task {task.name}", f"mkdir -p {folder}"]
        for name, text in task.files.items():
            path = shlex.quote(f"{task.directory}/{name}")
            lines.append(f"printf %s {shlex.quote(text)} > {path}")
        lines.append(f"cd {shlex.quote(str(job.workdir or task.directory))}")
        added = [f"{name}={value}" for name, value in task.env.items()]
        command = shlex.join([*(["env", *added] if added else []), *task.argv])
        lines.append(f"{command} >> {folder}/{STDOUT} 2>> {folder}/{STDERR} < /dev/null &")
    return "\n".join(lines) + "\n"
