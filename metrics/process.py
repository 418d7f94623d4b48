"""Running a program of the user's that answers within a time, whatever it does.

It may hang, flood its output, crash, or leave children behind: the caller gets an end of it, some
output, and no process.
"""

import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated

from pydantic import BeforeValidator, Field

MAX_OUTPUT = 4 * 1024 * 1024
"""Bytes kept of each stream: the last ones."""

_PIECE = 64 * 1024
_LONGEST_PAUSE = 0.05


def _seconds(value: object) -> object:
    """Read ``30s`` and ``2m`` as seconds; leave the rest to pydantic."""
    if isinstance(value, str):
        for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60)):
            number = value.removesuffix(unit).strip()
            if value.endswith(unit) and number.replace(".", "", 1).isdecimal():
                return float(number) * factor
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=600, allow_inf_nan=False)]
"""A time limit in the YAML: a number of seconds, ``30s`` or ``2m``."""


@dataclass(slots=True)
class Output:
    """The end of what a stream carried."""

    kept: bytearray = field(default_factory=bytearray)
    cut: bool = False
    """Whether there was more before it."""

    def add(self, piece: bytes) -> None:
        """Append ``piece`` and let go of the beginning where there is too much."""
        self.kept += piece
        if len(self.kept) > MAX_OUTPUT:
            del self.kept[:-MAX_OUTPUT]
            self.cut = True

    def last_line(self) -> str:
        """Return the last line that is not blank; empty where there is none."""
        text = bytes(self.kept).decode("utf-8", "replace").rstrip()
        return text[text.rfind("\n") + 1 :].strip()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    status: int | None
    """As of :class:`subprocess.Popen`: negative for a signal; ``None``: it ran out of time."""
    stdout: Output
    stderr: Output

    def why(self) -> str:
        """Return how it ended, for a message, with the last line of its standard error."""
        last = "".join(c if c.isprintable() else "?" for c in self.stderr.last_line()[:300])
        if self.status is None:
            how = "did not end in time"
        elif self.status < 0:
            how = f"was killed by signal {-self.status}"
        else:
            how = f"exited with status {self.status}"
        return f"{how}: {last}" if last else how


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Ended:
    """Run ``argv`` in a session of its own; on return nothing of its process group is left.

    ``env`` is added to our environment. Children that left the process group are not found.
    Raises ``OSError`` or ``ValueError`` where the program cannot be started.
    """
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    stdout, stderr = Output(), Output()
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as out, process.stderr as err:
        try:
            in_time = _pump(process, {out: stdout, err: stderr}, deadline)
        finally:
            status = _end(process)
        for pipe, output in ((out, stdout), (err, stderr)):
            _drain(pipe, output)
    return Ended(status if in_time else None, stdout, stderr)


def _pump(
    process: subprocess.Popen[bytes], outputs: Mapping[IO[bytes], Output], deadline: float
) -> bool:
    """Collect output until the program ends; return whether that was before ``deadline``."""
    pause = 0.001
    with selectors.DefaultSelector() as selector:
        for pipe, output in outputs.items():
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, output)
        while not _has_ended(process):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            pause = min(pause * 2, _LONGEST_PAUSE)
            for key, _ in selector.select(min(left, pause)):
                piece = os.read(key.fd, _PIECE)
                key.data.add(piece)
                if not piece:
                    selector.unregister(key.fileobj)
                    pause = 0.001  # it is about to end
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell without reaping: as long as it is a zombie, nobody else can be given its id."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _end(process: subprocess.Popen[bytes]) -> int | None:
    """Kill what is left of the program's process group, then reap the program."""
    with suppress(ProcessLookupError):  # its members may all have ended
        os.killpg(process.pid, signal.SIGKILL)
    # A process that waits for a dead file server cannot be killed; it must not hold us as well.
    with suppress(subprocess.TimeoutExpired):
        return process.wait(5)
    return None


def _drain(pipe: IO[bytes], output: Output) -> None:
    """Take what a pipe still holds, which is bounded even where a stranger keeps writing to it."""
    for _ in range(64):
        try:
            piece = os.read(pipe.fileno(), _PIECE)
        except BlockingIOError:
            return
        if not piece:
            return
        output.add(piece)
