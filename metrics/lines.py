"""Following files that grow line by line: each poll reads only what is new.

What was read of a file is remembered per path, and forgotten when the file was replaced, cut or
rewritten, when the job has ended, or when memory is needed. Losing it costs time only.
"""

import os
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import ClassVar

from metrics.base import (
    Fetcher,
    FetcherOptions,
    FetchRequest,
    InvalidMetric,
    Point,
    UnavailableMetric,
)
from metrics.files import Source

MAX_FILE = 256 * 1024 * 1024
"""Bytes of a file that is read line by line: what runners cap a job's log at."""
MAX_POINTS = 100_000
"""Points of one metric of one job."""
MAX_REMEMBERED = 5 * MAX_POINTS
"""Points that one fetcher keeps between polls, over all jobs."""
MAX_FILES = 1_000
"""Files of which one fetcher keeps its place between polls."""
TIME_LIMIT = 20.0
"""Seconds that one poll reads; the next one carries on."""

_CHUNK = 1 << 20
_TAIL = 1024


@dataclass(slots=True)
class Progress:
    """How far one file was read, and what was found."""

    identity: tuple[int, int]
    """Device and inode."""
    offset: int = 0
    """Everything before it was taken, and it follows a line's end unless ``skipping``."""
    tail: bytes = b""
    """The last bytes before ``offset``: where they differ, the file was rewritten."""
    skipping: bool = False
    """Whether ``offset`` is within a line that is too long to be looked at."""
    lines: int = 0
    header: tuple[str, ...] = ()
    """The first line, in formats where it names the columns."""
    points: list[Point] = field(default_factory=list)


class LineFetcher(Fetcher):
    """Base of fetchers that read lines; a subclass says what points a line holds."""

    max_line: ClassVar[int] = 1 << 20
    """Bytes; a longer line is an error, or skipped where ``skip_long_lines``."""
    skip_long_lines: ClassVar[bool] = False
    carriage_returns: ClassVar[bool] = False
    """Whether a bare carriage return ends a line, as in progress bars."""

    def __init__(self, options: FetcherOptions, clock: Callable[[], float] | None = None) -> None:
        """Do no I/O; ``clock`` counts seconds, monotonically."""
        super().__init__(options)
        self._clock = clock or time.monotonic
        self._seen: OrderedDict[Path, Progress] = OrderedDict()

    @abstractmethod
    def path(self) -> str:
        """Return the option that names the file."""

    @abstractmethod
    def points(self, line: str, progress: Progress, source: Source) -> Iterable[Point]:
        """Return the points of one line, which is number ``progress.lines``, counted from 1.

        Raises :class:`InvalidMetric` where the line is malformed.
        """

    @abstractmethod
    def nothing(self, progress: Progress, source: Source) -> str:
        """Return what to say of a file that has lines, none of them with a value."""

    def fetch(self, request: FetchRequest) -> Sequence[Point]:
        """Return the points of all whole lines, in order; empty where there is no file.

        A last line without its line end is ignored while the job runs, and counts after that.
        Raises :class:`UnavailableMetric` where an ended job's file has lines but no value, or is
        so large that it takes another poll to read the rest.
        """
        source = Source(request, self.path())
        progress = self._seen.pop(source.path, None)  # stays forgotten where reading fails
        with source.open() as file:
            if file is None:
                return []
            progress = self._resume(file, progress)
            finished = self._advance(file, progress, source)
            progress.tail = _tail(file, progress.offset)
        if finished and not source.running:
            if progress.lines and not progress.points:
                raise UnavailableMetric(self.nothing(progress, source))
            return progress.points
        self._remember(source.path, progress)
        if not source.running:
            done = f"{progress.offset >> 20} MiB read so far"
            raise UnavailableMetric(f"{source.at()} is large: {done}, the rest at the next poll")
        return tuple(progress.points)

    @staticmethod
    def _resume(file: BufferedReader, progress: Progress | None) -> Progress:
        """Return ``progress`` if it still describes the file, else a fresh start."""
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino)
        if progress is None or progress.identity != identity:
            return Progress(identity)
        same = progress.tail == _tail(file, progress.offset)  # it is shorter where it was cut
        return progress if same else Progress(identity)

    def _advance(self, file: BufferedReader, progress: Progress, source: Source) -> bool:
        """Take what the file holds now; return whether time sufficed."""
        size = os.fstat(file.fileno()).st_size  # a bound, however fast the job writes
        if size > MAX_FILE:
            raise InvalidMetric(f"{source.at()} is larger than {MAX_FILE >> 20} MiB")
        end = self._clock() + TIME_LIMIT
        file.seek(progress.offset)
        rest = b""
        while chunk := file.read(max(0, min(_CHUNK, size - progress.offset - len(rest)))):
            if self._clock() > end:
                return False
            if self.carriage_returns:
                chunk = chunk.replace(b"\r", b"\n")
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line, 1, progress, source)
            rest = self._shorten(rest, progress, source)
        if rest and not source.running:
            self._take(rest, 0, progress, source)
        return True

    def _take(self, line: bytes, ending: int, progress: Progress, source: Source) -> None:
        """Move past ``line`` and its ``ending``, and keep the points that it holds."""
        progress.offset += len(line) + ending
        if progress.skipping:  # its beginning was dropped before
            progress.skipping = False
            return
        progress.lines += 1
        if not line or line.isspace() or self._is_too_long(line, progress.lines, source):
            return
        text = line.decode("utf-8-sig" if progress.lines == 1 else "utf-8", "replace")
        progress.points.extend(self.points(text, progress, source))
        if len(progress.points) > MAX_POINTS:
            raise InvalidMetric(f"{source.at()} has more than {MAX_POINTS} values; write fewer")

    def _shorten(self, rest: bytes, progress: Progress, source: Source) -> bytes:
        """Return the unfinished line, or nothing, having moved past it, if it is too long."""
        if not progress.skipping and not self._is_too_long(rest, progress.lines + 1, source):
            return rest
        progress.lines += not progress.skipping
        progress.skipping = True
        progress.offset += len(rest)
        return b""

    def _is_too_long(self, line: bytes, number: int, source: Source) -> bool:
        if len(line) > self.max_line and not self.skip_long_lines:
            place = source.at(f"line {number}")
            raise InvalidMetric(f"{place} is longer than {self.max_line >> 10} KiB")
        return len(line) > self.max_line

    def _remember(self, path: Path, progress: Progress) -> None:
        """Keep ``progress``, and forget what was not asked for longest where it gets too much."""
        self._seen[path] = progress
        total = sum(len(each.points) for each in self._seen.values())
        while len(self._seen) > MAX_FILES or (total > MAX_REMEMBERED and len(self._seen) > 1):
            total -= len(self._seen.popitem(last=False)[1].points)


def _tail(file: BufferedReader, offset: int) -> bytes:
    length = min(offset, _TAIL)
    return os.pread(file.fileno(), length, offset - length)
