"""How containers run: as local processes, or as a test's script says."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Protocol

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$(?:\$|\(([-._a-zA-Z0-9]+)\))")


@dataclass
class Container:
    """One container that is to run, or does, or did."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    workdir: Path
    message_file: Path
    lines: list[tuple[float, bytes]] = field(default_factory=list)
    """Its output: when, and the bytes, with the newline where there was one."""
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    reason: str = ""
    """Why it ended, where not by itself: ``OOMKilled``."""

    def ended(self, code: int, at: float, reason: str = "") -> None:
        self.exit_code, self.finished_at = code, at
        self.reason = reason or self.reason


class Runtime(Protocol):
    """Starts and ends containers. ``changed`` is called, from any thread, when one has ended."""

    changed: Callable[[], None]
    now: Callable[[], float]

    def start(self, container: Container) -> None: ...

    def stop(self, container: Container, grace: float) -> None: ...


class Processes:
    """Containers are processes of this machine."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.now: Callable[[], float] = time.time
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, container: Container) -> None:
        """Start it; one whose program is not there ends as containerd lets it end."""
        container.started_at = self.now()
        container.workdir.mkdir(parents=True, exist_ok=True)
        try:
            process = subprocess.Popen(
                list(container.argv),
                env={"PATH": PATH, "HOSTNAME": "pod"} | dict(container.env),
                cwd=container.workdir,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            container.message_file.write_text(f"exec: {container.argv[0]!r}: {error.strerror}")
            container.ended(128, self.now(), "StartError")
            return
        self._running[id(container)] = process
        Thread(target=self._follow, args=(container, process), daemon=True).start()

    def _follow(self, container: Container, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            container.lines.append((self.now(), line))
        code = process.wait()
        process.stdout.close()
        self._running.pop(id(container), None)
        container.ended(code if code >= 0 else 128 - code, self.now())
        self.changed()

    def stop(self, container: Container, grace: float) -> None:
        """Send SIGTERM, and SIGKILL after ``grace``."""
        process = self._running.get(id(container))
        if process is None:
            return
        _signal(process, signal.SIGTERM if grace else signal.SIGKILL)
        if grace:
            Thread(target=self._kill_later, args=(process, grace), daemon=True).start()

    def _kill_later(self, process: subprocess.Popen[bytes], grace: float) -> None:
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs."""
        for process in list(self._running.values()):
            _signal(process, signal.SIGKILL)
        for process in list(self._running.values()):
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


class Script:
    """Containers do nothing; they print and end when the test says so."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.now: Callable[[], float] = time.time
        self.stubborn = False
        """Whether containers live on when they are told to end."""

    def start(self, container: Container) -> None:
        container.started_at = self.now()

    def stop(self, container: Container, grace: float) -> None:
        if container.exit_code is None and not (self.stubborn and grace):
            container.ended(143 if grace else 137, self.now())

    def close(self) -> None:
        """Do nothing."""


def expanded(text: str, env: Mapping[str, str]) -> str:
    """Return ``text`` with ``$(NAME)`` replaced; ``$$`` is a dollar, unknown names stay."""

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return env.get(match[1], match[0])

    return _REFERENCE.sub(value, text)
