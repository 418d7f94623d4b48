"""Where a run can be interrupted: the system calls of its main thread that change something.

A kill at the entry of any other call leaves the world as one at the next of these does. They
are counted by name, as strace does. Only the main thread is traced, never a child.
"""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

STRACE = shutil.which("strace") or ""
CHANGING = {
    "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "link", "unlink", "mkdir",
    "flock", "fork", "vfork", "clone", "clone3", "memfd_create", "pipe2", "pidfd_open", "waitid",
    "epoll_ctl", "openat", "fcntl",
}  # fmt: skip
ERRORS = {
    "write": ("ENOSPC", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "pread64": ("EIO",),
    "fdatasync": ("EIO",),
    "fsync": ("EIO",),
    "ftruncate": ("ENOSPC",),
    "rename": ("ENOSPC", "EIO"),
    "link": ("ENOSPC",),
    "unlink": ("EIO",),
    "mkdir": ("ENOSPC",),
    "fcntl": ("ENOLCK",),
    "flock": ("ENOLCK",),
    "clone3": ("EAGAIN",),
    "vfork": ("EAGAIN",),
    "pipe2": ("EMFILE",),
    "memfd_create": ("EMFILE",),
    "pidfd_open": ("EMFILE",),
    "epoll_ctl": ("ENOMEM",),
}
"""What a system call may answer on a machine in trouble."""

Point = tuple[str, int]


@cache
def why_not() -> str:
    """Return why no system call can be traced here; empty where one can."""
    if not STRACE:
        return "strace is not installed"
    tried = subprocess.run([STRACE, "-qq", "-o", "/dev/null", "true"], check=False)
    return "" if tried.returncode == 0 else "this process may not trace another"


def traced(log: Path) -> list[str]:
    return [STRACE, "-qq", "-o", str(log)]


def kill_at(point: Point) -> list[str]:
    return _inject(point[0], f"signal=KILL:when={point[1]}")


def fail_at(point: Point, error: str, times: int) -> list[str]:
    name, first = point
    return _inject(name, f"error={error}:when={first}..{first + times - 1}")


def _inject(name: str, what: str) -> list[str]:
    return [*traced(Path("/dev/null")), "-e", f"trace={name}", "-e", f"inject={name}:{what}"]


def points(log: Path) -> list[Point]:
    """Return the points of a trace, from the first touch of the database on."""
    return [point for point, line in _calls(log) if _changes(point[0], line)]


def fallible(log: Path) -> list[Point]:
    """Return the calls of a trace that may fail.

    Left out: writing to an eventfd; and ``openat``, whose count varies, so that at times it would
    be Python's own modules that cannot be opened.
    """
    return [point for point, line in _calls(log) if point[0] in ERRORS and "\\1\\0\\0" not in line]


def _calls(log: Path) -> Iterator[tuple[Point, str]]:
    seen: Counter[str] = Counter()
    live = False
    for line in log.read_text(errors="replace").splitlines():
        if match := re.match(r"(\w+)\(", line):
            seen[match[1]] += 1
            live = live or 'schedd.db"' in line
            if live:
                yield (match[1], seen[match[1]]), line


def _changes(name: str, line: str) -> bool:
    if name == "openat":
        return "O_RDONLY" not in line
    if name == "fcntl":
        return "F_SETLK" in line or "F_DUPFD" in line
    return name in CHANGING
