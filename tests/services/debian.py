"""Make sure that Debian's packages with the real services are there, or say why they are not."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TextIO

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""Daemons lie where a user's PATH does not look."""
_APT = ("-qq", "-y", "-o", "DPkg::Lock::Timeout=60", "-o", "Acquire::http::Timeout=10")
_SECONDS = 130
"""For each of two calls: together less than the time that a test has."""
_REMEMBERED = 600
"""Seconds for which a failure spares other test processes another try."""


def lacking(packages: Mapping[str, str]) -> str:
    """Return why the programs cannot be had; empty where all are there.

    ``packages`` maps each program to its package. What is missing, root installs.
    """
    return _lacking(tuple(sorted(packages.items())))


@cache
def _lacking(packages: tuple[tuple[str, str], ...]) -> str:
    wanted = _missing(packages)
    if not wanted:
        return ""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"not installed, and only root can: apt-get install {' '.join(wanted)}"
    with (Path(tempfile.gettempdir()) / "schedd-tests-apt.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes want the same
        wanted = _missing(packages)
        return _once(wanted, lock) if wanted else ""


def _once(names: list[str], log: TextIO) -> str:
    """Install packages, unless that has failed a moment ago; return why it failed, or nothing."""
    log.seek(0)
    tried, _, reason = log.read().partition("\n")
    if tried == " ".join(names) and time.time() - os.fstat(log.fileno()).st_mtime < _REMEMBERED:
        return reason
    reason = _install(names)
    log.truncate(0)
    log.write(f"{' '.join(names)}\n{reason}" if reason else "")
    return reason


def _missing(packages: Iterable[tuple[str, str]]) -> list[str]:
    return sorted({name for program, name in packages if shutil.which(program, path=PATH) is None})


def _install(names: list[str]) -> str:
    """Install packages; return why that failed, or nothing."""
    for words in (["update"], ["install", "--no-install-recommends", *names]):
        try:
            done = subprocess.run(
                ["apt-get", *_APT, *words],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {' '.join(words)} did not end within {_SECONDS} s"
        if done.returncode != 0:
            last = (done.stdout.strip() or "without a word").splitlines()[-1]
            return f"apt-get {' '.join(words)} failed: {last}"
    return ""
