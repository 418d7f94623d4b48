"""Opening what a job wrote: placeholders, and reading a hostile folder without being led astray.

A job may put a FIFO, a device, a symbolic link or ten sparse terabytes where a result belongs.
Inside the job's folder nothing is followed out of it; everywhere, only regular files are read.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from metrics.base import FetchRequest, InvalidMetric, UnavailableMetric

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a file that is read as a whole."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # O_NONBLOCK: FIFOs must not hang
_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_][\w.]*)\}\}|\{([A-Za-z_][\w.]*)\}")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# What no amount of waiting mends, unlike a file server that does not answer.
_HOPELESS = {
    errno.ELOOP: "is a symbolic link, which is not followed out of a job's folder",
    errno.ENOTDIR: "lies below something that is not a folder, or is a symbolic link to one",
    errno.ENXIO: "is a socket or a device, not a regular file",
    errno.ENAMETOOLONG: "has too long a name",
}


def fill(text: str, request: FetchRequest) -> str:
    """Return ``text`` with each ``{name}`` replaced, once; ``{{name}}`` stands for ``{name}``.

    Braces around anything but a name stay. Raises :class:`InvalidMetric` for an unknown name.
    """
    known = {"trial_dir": str(request.directory), **request.placeholders}

    def replace(match: re.Match[str]) -> str:
        literal, name = match.groups()
        if literal is not None:
            return f"{{{literal}}}"
        if name not in known:
            names = ", ".join(f"{{{each}}}" for each in sorted(known))
            raise InvalidMetric(
                f"metric {request.metric!r} uses the placeholder {{{name}}}, which is unknown; "
                f"there are {names}, and {{{{{name}}}}} writes the braces themselves"
            )
        return known[name]

    return _PLACEHOLDER.sub(replace, text)


class Source:
    """The file that one request reads, and how messages call it."""

    def __init__(self, request: FetchRequest, path: str) -> None:
        """Raise :class:`InvalidMetric` where ``path`` has an unknown placeholder; do no I/O."""
        self.metric = request.metric
        self.running = request.running
        self._root = Path(os.path.normpath(request.directory))
        self.path = Path(os.path.normpath(self._root / fill(path, request)))
        self._inside = self.path.is_relative_to(self._root) and self.path != self._root
        self.name = str(self.path.relative_to(self._root) if self._inside else self.path)
        """The path as people know it: relative within the job's folder, else absolute."""

    def at(self, place: str = "") -> str:
        """Return the words that open a message: the metric, the file, the place in the file."""
        where = f"{self.name}, {place}" if place else self.name
        return f"metric {self.metric!r} ({where})"

    @contextmanager
    def open(self) -> Iterator[BufferedReader | None]:
        """Give the file, regular for certain, or ``None`` where there is none.

        Raises :class:`InvalidMetric` for what is no regular file of this folder, and
        :class:`UnavailableMetric` for any error of the system, within the ``with`` as well.
        """
        try:
            descriptor = self._descriptor()
            if descriptor is None:
                yield None
                return
            with open(descriptor, "rb") as file:
                yield file
        except OSError as error:
            raise self._refusal(error) from error

    def read(self, limit: int = MAX_DOCUMENT) -> bytes | None:
        """Return the whole content, ``None`` where there is no file; raise as :meth:`open` does.

        Raises :class:`InvalidMetric` where there are more than ``limit`` bytes.
        """
        with self.open() as file:
            content = None if file is None else file.read(limit + 1)
        if content is not None and len(content) > limit:
            raise InvalidMetric(f"{self.at()} is larger than {limit >> 20} MiB")
        return content

    def _descriptor(self) -> int | None:
        try:
            descriptor = self._open_below() if self._inside else os.open(self.path, _FILE)
        except FileNotFoundError:
            return None
        except ValueError:  # a NUL or a lone surrogate
            raise InvalidMetric(f"{self.at()!a}: there can be no file of that name") from None
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            os.close(descriptor)
            what = _KINDS.get(kind, "a special file")
            raise InvalidMetric(f"{self.at()} is {what}, not a regular file")
        return descriptor

    def _open_below(self) -> int:
        """Open the path folder by folder: no part of it below the root may be a link."""
        *folders, last = self.path.relative_to(self._root).parts
        here = os.open(self._root, _FOLDER)
        try:
            for folder in folders:
                deeper = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = deeper
            return os.open(last, _FILE | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)

    def _refusal(self, error: OSError) -> InvalidMetric | UnavailableMetric:
        hopeless = _HOPELESS.get(error.errno or 0)
        if hopeless:
            return InvalidMetric(f"{self.at()} {hopeless}")
        return UnavailableMetric(f"{self.at()} cannot be read: {error.strerror or error}")
