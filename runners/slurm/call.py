"""Call a command of Slurm: through a prefix, in a clean environment, within a time limit."""

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from runners.base import Unavailable

TIMEOUT = 30.0
"""Seconds; Slurm's own limit for one message is 10."""
LONGEST = 64 << 20
"""Bytes of an answer that are read."""
_OTHERS = re.compile(
    r"(SLURM\w*|SBATCH|SALLOC|SRUN|SQUEUE|SCANCEL|SACCT\w*|SCONTROL|SINFO|PMI\w*|SCHEDD)_.*"
    r"|NOTIFY_SOCKET|INVOCATION_ID|JOURNAL_STREAM|CREDENTIALS_DIRECTORY|WATCHDOG_.*|LISTEN_.*"
)
"""Variables that speak to Slurm's commands, or of a job or service that schedd itself runs in."""
RETRIES = re.compile(r"sleeping and retrying|temporarily disabled, retrying", re.IGNORECASE)
"""What sbatch says when it was refused and will ask again by itself, for two minutes."""
_LOOK = 0.25
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
_LOGIN = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "USER", *_KEPT)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    status: int | None
    """Its exit status; ``None`` where it was killed because it took too long."""
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The end of what it complained of, on one line."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        said = "; ".join(dict.fromkeys(lines[-3:]))[:500]
        if self.status is None:
            return f"no answer: {said}" if said else f"no answer in {TIMEOUT:g} s"
        return said or f"exit status {self.status} without a word"


def clean(environ: Mapping[str, str], *, login: bool = False) -> dict[str, str]:
    """Return the environment for a command of Slurm, which sbatch hands on to the job.

    ``login``: only what a login shell needs to make its own.
    """
    if login:
        return {name: environ[name] for name in _LOGIN if name in environ}
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or _OTHERS.fullmatch(name) is None
    }


def through(prefix: Sequence[str], argv: Sequence[str]) -> list[str]:
    """Return the command line that runs ``argv`` behind ``prefix``.

    ssh joins its arguments with spaces, for a shell to split: so each ssh costs one quoting.
    """
    words = list(argv)
    for _ in range(sum(os.path.basename(word) == "ssh" for word in prefix)):
        words = [shlex.quote(word) for word in words]
    return [*prefix, *words]


def call(
    prefix: Sequence[str],
    argv: Sequence[str],
    *,
    text: str = "",
    login: bool = False,
    timeout: float = TIMEOUT,
) -> Answer:
    """Run a command to its end, with ``text`` as its input.

    Raises Unavailable where it cannot be started. One that is about to ask again by itself is
    ended, since nothing else happens here meanwhile. Files, not pipes: something that it leaves
    behind must not hold us.
    """
    line = through(prefix, argv)
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        stdin.write(text.encode("utf-8", "surrogateescape"))
        stdin.seek(0)
        try:
            child = subprocess.Popen(
                line,
                stdin=stdin,
                stdout=out,
                stderr=err,
                env=clean(os.environ, login=login),
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"{line[0]} cannot be run here: {error.strerror}") from error
        status = _wait(child, timeout, err)
        return Answer(status, _content(out), _content(err))


def _wait(child: "subprocess.Popen[bytes]", timeout: float, err: IO[bytes]) -> int | None:
    """Return its exit status, ``None`` where it was killed; the place in ``err`` is its own."""
    until = time.monotonic() + timeout
    try:
        while time.monotonic() < until:
            with suppress(subprocess.TimeoutExpired):
                return child.wait(_LOOK)
            if RETRIES.search(os.pread(err.fileno(), 4096, 0).decode("utf-8", "replace")):
                break
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # not reaped yet, so the number is its own
        child.wait()
        return None
    except BaseException:
        child.kill()
        child.wait()
        raise


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(LONGEST).decode("utf-8", "replace")
