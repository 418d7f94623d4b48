"""What one process keeps of each experiment that it drives among others."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from scheduler.daemon import Driven


class Bell:
    """The news of one experiment: rung from any thread, it brings the next turn forward."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._rung = threading.Event()
        self.stop = False

    @property
    def is_set(self) -> bool:
        """Whether it was rung since it was last cleared."""
        return self._rung.is_set()

    def set(self) -> None:
        """Ring."""
        self._rung.set()
        self._ring()

    def clear(self) -> None:
        """Forget that it was rung: what rang it is looked at from now on."""
        self._rung.clear()


@dataclass
class Seat:
    """One experiment that this process drives."""

    name: str
    driven: Driven[Bell]
    interval: float
    """Seconds between two turns."""
    due: float = 0.0
    """When the backend is to be asked next, unless there are news before."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held during a turn."""
    began: float | None = None
    """When the turn under way began."""
    hangs: bool = False
    """Whether it was said to hang."""
    over: bool = False

    @property
    def runner(self) -> str:
        """The type of its runner."""
        return self.driven.loop.state.definition.runner.type


def pace(driven: Driven[Bell]) -> float:
    """Return the seconds between two turns: a lease must be renewed in between."""
    interval = driven.loop.state.definition.polling.interval
    renew = driven.lease.renew_every
    return interval if renew is None else min(interval, renew)
