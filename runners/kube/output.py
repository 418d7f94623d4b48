"""A Pod's output, brought into the task's folder part by part, each line once.

How far it came lies beside the output, and is believed only as far as the files go.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from runners.base import STDOUT
from runners.folder import PLACE, Unreadable, read_small, write_aside
from runners.kube import results
from runners.kube.lines import Progress, new_lines, query

METRICS = "metrics.jsonl"
"""Where each line of the output that is a JSON object lies as well."""
LONGEST_OBJECT = 1 << 16
"""Bytes of such a line; a longer one is no measurement."""
PART = 8 << 20
"""Bytes asked for at once."""
PARTS = 4
"""So many are asked for at one look at a container that runs."""
TAIL_LINES = 1000
TAIL_BYTES = 1 << 20
"""What is brought of the end of an output that is too long."""
_FILE = "output.json"
_OURS = (STDOUT, METRICS, results.RESULT)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A task on a shared disk may make anything of its files: a link elsewhere, a pipe."""

Ask = Callable[[dict[str, str]], bytes]
"""Asks the server for the log of one container; raises what the Api raises."""


class Output:
    """The output of one task."""

    def __init__(self, directory: Path, *, limit: int, shared: bool) -> None:
        """Do no I/O. ``shared``: the task itself writes here; nothing is made of its output."""
        self._directory = directory
        self._limit = limit
        self._shared = shared

    def follow(self, pod: str, ask: Ask, *, ended: bool) -> bool:
        """Bring what is new of the Pod with this uid; all there is where it has ended.

        Returns whether anything was new. Raises OSError, and what ``ask`` raises: then what came
        before is here.
        """
        os.makedirs(self._directory, exist_ok=True)
        before = progress = self._resume(pod)
        if progress.complete:
            return False
        parts, more = 0, True
        while more and progress.size < self._limit and (ended or parts < PARTS):
            parts += 1
            limit = PART + progress.again
            body = ask(query(progress, limit))
            part = new_lines(body, progress, cut=len(body) >= limit, ended=ended)
            more = len(body) >= limit and part.progress != progress
            progress = self._append(part.lines, part.progress)
        if ended:
            if more:
                self._finish_long(ask)
            self._write(progress.model_copy(update={"complete": True}))
        return progress != before

    def is_complete(self, pod: str) -> bool:
        """Whether all that the Pod with this uid wrote is here."""
        progress = self._read()
        return progress.complete and progress.pod == pod

    def conclude(self, message: str) -> bool:
        """Write what the output and the termination message of an ended task hold as files.

        Nothing is written where the task itself could. Returns whether its results are here even
        if its output is not: it wrote them itself, or they are its message. Raises OSError.
        """
        if self._shared:
            return True
        line = results.take_message(message, self._directory)
        if line:
            begun = self._read().metrics
            if self._size(METRICS) > begun:
                self._cut(METRICS, begun)
            with self._open(METRICS) as out:
                out.write(line)
        results.take_files(self._directory)
        return bool(line)

    def _resume(self, pod: str) -> Progress:
        """Return how far the files go; begin anew for another Pod, or where they are shorter."""
        progress = self._read()
        if progress.pod and progress.pod != pod:
            self._set_aside(progress.pod)
            progress = Progress()
        if not progress.pod:
            progress = Progress(pod=pod)
        names = {STDOUT: progress.size} | ({} if self._shared else {METRICS: progress.metrics})
        sizes = {name: self._size(name) for name in names}
        if progress.complete:
            return progress
        if any(sizes[name] < size for name, size in names.items()):
            progress, names = Progress(pod=pod), dict.fromkeys(names, 0)
        for name, size in names.items():
            if sizes[name] > size:
                self._cut(name, size)
        return progress

    def _set_aside(self, pod: str) -> None:
        """Keep the output of an earlier Pod, which was evicted, under a name of its own."""
        path = self._directory / STDOUT
        if path.exists():
            os.replace(path, self._directory / f"stdout.{pod[:8]}.log")
        if not self._shared:
            (self._directory / METRICS).unlink(missing_ok=True)

    def _size(self, name: str) -> int:
        """Return how long a file is; what is none (a link, a pipe) is moved out of the way."""
        path = self._directory / name
        try:
            at = os.lstat(path)
        except FileNotFoundError:
            return 0
        if _is_plain(at):
            return at.st_size
        os.replace(path, f"{path}.{at.st_ino}")
        return 0

    def _cut(self, name: str, size: int) -> None:
        """Shorten a file; what a task on a shared disk put in its place is not followed."""
        with self._open(name) as out:
            out.truncate(size)

    def _append(self, lines: tuple[bytes, ...], progress: Progress) -> Progress:
        """Write lines, and then how far they go."""
        if not lines and progress == self._read():
            return progress
        with self._open(STDOUT) as out:
            out.writelines(line + b"\n" for line in lines)
            size = out.tell()
        values = [] if self._shared else [line for line in lines if _is_object(line)]
        metrics = progress.metrics
        if values:
            with self._open(METRICS) as out:
                out.writelines(line + b"\n" for line in values)
                metrics = out.tell()
        progress = progress.model_copy(update={"size": size, "metrics": metrics})
        self._write(progress)
        return progress

    def _finish_long(self, ask: Ask) -> None:
        """Append the end of an output that is too long to be here as a whole."""
        body = ask({"tailLines": str(TAIL_LINES), "limitBytes": str(TAIL_BYTES)})
        with self._open(STDOUT) as out:
            out.write(b"[schedd: output_limit is reached; the last lines follow]\n" + body)

    def _open(self, name: str) -> BinaryIO:
        """Open a file to append to it. Raises OSError, also for what a task made of it."""
        path = self._directory / name
        fd = os.open(path, _FLAGS, 0o666)
        if not _is_plain(os.fstat(fd)):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a file", str(path))
        return open(fd, "ab")

    def _read(self) -> Progress:
        try:
            data = read_small(f"{self._directory}/{PLACE}/{_FILE}")
            return Progress() if data is None else Progress.model_validate_json(data)
        except (Unreadable, ValidationError, NotADirectoryError):
            return Progress()

    def _write(self, progress: Progress) -> None:
        os.makedirs(self._directory / PLACE, 0o700, exist_ok=True)
        write_aside(f"{self._directory}/{PLACE}/{_FILE}", progress.model_dump_json())


def persist(directories: Sequence[Path]) -> None:
    """Make what was written of ended tasks outlive a power failure. Raises OSError."""
    for directory in directories:
        for name in (*_OURS, f"{PLACE}/{_FILE}", f"{PLACE}/kubernetes.json", ".", PLACE):
            try:
                fd = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _is_plain(at: os.stat_result) -> bool:
    """Whether it is a file, and under no other name a file of somebody else's."""
    return stat.S_ISREG(at.st_mode) and at.st_nlink == 1


def _is_object(line: bytes) -> bool:
    """Whether a line is a JSON object."""
    line = line.strip()
    if len(line) > LONGEST_OBJECT or not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
