"""A daemon of a test, in the hands of a keeper: nothing of it outlives the test's process."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGTERM, Signals

_KEEPER = Path(__file__).with_name("keeper.py")


class NotReady(Exception):
    """A daemon ended, or did not become ready in time; the message has the end of its log."""


class Service:
    """One start of one daemon."""

    def __init__(
        self, name: str, folder: Path, log: Path, command: Sequence[str], env: Mapping[str, str]
    ) -> None:
        """Start it. ``folder`` is removed should this process die without :meth:`close`."""
        self.name, self.log = name, log
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER), str(folder), str(log), *command],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _order(self, words: str) -> str:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(words + "\n")
        self._keeper.stdin.flush()
        return self._keeper.stdout.readline()

    def signal(self, number: Signals) -> None:
        """Signal the daemon, not what it started."""
        self._order(f"SIGNAL {number:d}")

    @property
    def pid(self) -> int:
        """The daemon's, for as long as nobody waits for its end."""
        return int(self._order("WAIT 0").split()[0])

    @property
    def is_alive(self) -> bool:
        return "alive" in self._order("WAIT 0")

    def end(self, number: Signals = SIGTERM, seconds: float = 20) -> None:
        """End the daemon and wait for it; what it started goes on, as in life."""
        self.signal(number)
        if "alive" in self._order(f"WAIT {seconds}"):
            raise TimeoutError(f"{self.name} has not ended {seconds} s after {number.name}")

    def sweep(self) -> None:
        """Kill the daemon and all it ever started, as a power cut does."""
        self._order("SWEEP")

    def close(self) -> None:
        """Sweep, and end the keeper."""
        if self._keeper.poll() is None:
            self._order("QUIT")
        self._keeper.communicate()

    def await_ready(self, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until ``ready`` holds. Raises NotReady."""
        until = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > until or not self.is_alive:
                said = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
                raise NotReady(f"{self.name} did not become ready: {said}")
            time.sleep(0.03)
