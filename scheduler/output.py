"""What a trial has written, opened and read as hostile: it may have put anything there."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def opened(path: Path) -> BinaryIO | None:
    """Return a file; ``None`` where there is none. Raises OSError for what is no regular file."""
    try:
        file = os.fdopen(os.open(path, _READ), "rb")
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a file")
    return file


def tail(path: Path, size: int) -> bytes:
    """Return at most the last ``size`` bytes of a file; nothing where it cannot be read."""
    try:
        file = opened(path)
        if file is None:
            return b""
        with file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size)
    except OSError:
        return b""
