"""Time that does not jump: it goes on from a stored anchor, whatever becomes of the wall clock."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Anchor:
    """One moment, on two clocks: seconds since the epoch and seconds since this boot."""

    boot_id: str
    boottime: float
    wall: float

    def to_json(self) -> str:
        """Return the anchor as the store keeps it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Anchor | None":
        """Return a stored anchor; ``None`` for the empty text of an experiment never driven."""
        return Anchor(**json.loads(text)) if text else None


class Clock:
    """Seconds since the epoch, UTC. Steps of the wall clock while it lives do not show.

    With an anchor of the same boot, nor do steps since that anchor was stored; with one of an
    earlier boot it takes the wall clock, but never goes back behind the anchor.
    """

    def __init__(self, anchor: Anchor | None = None) -> None:
        boot_id = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
        if anchor is not None and boot_id and anchor.boot_id == boot_id:
            self._anchor = anchor
            return
        wall = max(time.time(), anchor.wall if anchor else 0.0)
        self._anchor = Anchor(boot_id, boottime(), wall)

    def now(self) -> float:
        """Return the time."""
        return self._anchor.wall + boottime() - self._anchor.boottime

    def anchor(self) -> Anchor:
        """Return this moment, to be stored."""
        return Anchor(self._anchor.boot_id, boottime(), self.now())


def boottime() -> float:
    """Return seconds since boot, time in suspension included where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
