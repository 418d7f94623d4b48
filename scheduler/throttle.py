"""Which lines a log is spared: repeats of one, floods of one kind. What is left out is counted."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

AGAIN = 60.0
"""Seconds between two lines that say the same."""
RATE, BURST = 10.0, 100.0
"""Lines a second of one kind, and so many at once."""
KEPT = 1000
"""Lines that are remembered; of more the oldest are forgotten."""


@dataclass
class Throttle:
    """Remembers what was written lately. ``clock``: seconds, from anywhere."""

    clock: Callable[[], float] = time.monotonic
    _said: dict[Hashable, tuple[float, int]] = field(default_factory=dict)
    """Line -> when it was written, and how often it was left out since."""
    _left: dict[Hashable, tuple[float, float, int]] = field(default_factory=dict)
    """Kind -> when it was looked at, how many lines it may have, how many it was denied."""

    def admit(self, line: Hashable, kind: Hashable) -> int | None:
        """Return how many like it were left out before; ``None`` where this one is to be, too.

        ``line``: what makes it the same as another; ``kind``: what it is one of, perhaps of many.
        """
        now = self.clock()
        at, repeats = self._said.get(line, (now - AGAIN, 0))
        if now - at < AGAIN:
            self._said[line] = (at, repeats + 1)
            return None
        looked, tokens, denied = self._left.get(kind, (now, BURST, 0))
        tokens = min(BURST, tokens + RATE * (now - looked))
        if tokens < 1.0:
            self._left[kind] = (now, tokens, denied + 1)
            return None
        self._left[kind] = (now, tokens - 1.0, 0)
        self._said.pop(line, None)
        self._said[line] = (now, 0)
        if len(self._said) > KEPT:
            del self._said[next(iter(self._said))]
        return repeats + denied
