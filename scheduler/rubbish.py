"""Remove what trials have left on the disk, and nothing that a link of theirs leads to."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runners.base import STDERR, STDOUT

OWNER = ".schedd.json"
"""In a folder of trials: whose they are."""
_TRIAL = re.compile(r"0|[1-9][0-9]*")
_ATTEMPT = re.compile(r"a[1-9][0-9]*")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def trial_folders(root: Path) -> list[str]:
    """Return the names of the folders of trials in ``root``: numbers that hold attempts alone."""
    with _opened(root) as fd:
        return [] if fd is None else sorted(filter(lambda n: _is_trial(n, fd), os.listdir(fd)))


def remove_folders(root: Path) -> int:
    """Remove the folders of all trials in ``root``, and itself where it is empty then.

    Return how many were removed. Raises OSError.
    """
    assert shutil.rmtree.avoids_symlink_attacks
    with _opened(root) as fd:
        names = [] if fd is None else [n for n in os.listdir(fd) if _is_trial(n, fd)]
        for name in names:
            shutil.rmtree(name, dir_fd=fd)
        if fd is not None:
            with suppress(FileNotFoundError):
                os.unlink(OWNER, dir_fd=fd)
    with suppress(OSError):
        root.rmdir()
    return len(names)


def logs_of(root: Path, trial: int) -> int:
    """Return how many bytes a trial's logs have, of all attempts. Raises OSError."""
    return sum(size for _, _, size in _logs(root, trial))


def remove_logs(root: Path, trial: int) -> int:
    """Remove a trial's logs, of all attempts; return how many bytes they had. Raises OSError."""
    removed = 0
    for name, fd, size in _logs(root, trial):
        os.unlink(name, dir_fd=fd)
        removed += size
    return removed


def _logs(root: Path, trial: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, folder and size of each log; a folder is open while its logs are looked at."""
    with _opened(root) as top:
        if top is None or not _is_trial(str(trial), top):
            return
        for _, _, files, fd in os.fwalk(str(trial), dir_fd=top, follow_symlinks=False):
            for name in {STDOUT, STDERR}.intersection(files):
                yield name, fd, os.stat(name, dir_fd=fd, follow_symlinks=False).st_size


@contextmanager
def _opened(root: Path) -> Iterator[int | None]:
    """Open a folder that is no link; ``None`` where there is none."""
    try:
        fd = os.open(root, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _is_trial(name: str, root: int) -> bool:
    """Whether a folder has the shape of a trial's; links are none."""
    if not _TRIAL.fullmatch(name):
        return False
    try:
        fd = os.open(name, _FOLDER, dir_fd=root)
    except OSError:
        return False
    try:
        return all(_ATTEMPT.fullmatch(each) for each in os.listdir(fd))
    finally:
        os.close(fd)
