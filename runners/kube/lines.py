"""What of a Pod's log is new. Pure: an answer of the server and how far we are, in; lines, out.

The server can be asked for lines since a second, not since a line. So it is asked for the last
seconds again, and the lines that are here already are skipped: they come first, in the order of
the file.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

_OVERLAP = 1
"""Seconds that are asked for again: lines of two streams may be stamped out of order."""


class Progress(BaseModel):
    """How far the output of one Pod is here."""

    model_config = ConfigDict(frozen=True)

    pod: str = ""
    """Its uid."""
    since: int | None = None
    """Seconds since the epoch: lines from then on are asked for again."""
    taken: int = Field(default=0, ge=0)
    """How many lines from then on are here already."""
    again: int = Field(default=0, ge=0)
    """How many bytes those are, as the server sends them."""
    last: str = ""
    """The stamp of the last line that is here."""
    size: int = Field(default=0, ge=0)
    """Bytes of stdout.log."""
    metrics: int = Field(default=0, ge=0)
    """Bytes of metrics.jsonl."""
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """New lines, without their stamps, and how far they go."""

    lines: tuple[bytes, ...]
    progress: Progress


def new_lines(body: bytes, progress: Progress, *, cut: bool, ended: bool) -> Part:
    """Return what of an answer is new.

    Args:
        body: Lines, each with a stamp before it.
        progress: What is here already.
        cut: Whether the answer ends where the limit was, and not where the log ends.
        ended: Whether the container has ended, so that a line without its end is whole.
    """
    *lines, rest = body.split(b"\n")
    if rest and ended and not cut:
        lines.append(rest)
    stamped = [(stamp, text) for stamp, text in map(_split, lines) if stamp]
    skip = progress.taken
    if len(stamped) < skip or (skip and stamped[skip - 1][0] != progress.last):
        # The log was rotated meanwhile: what is older than the last line is here.
        skip = sum(_time(stamp) <= _time(progress.last) for stamp, _ in stamped)
    fresh = stamped[skip:]
    if not fresh:
        return Part((), _beyond(rest, progress) if cut else progress)
    last = fresh[-1][0]
    # Never earlier than before: of those lines only some are in this answer.
    since = max(progress.since or 0, math.floor(_time(last)) - _OVERLAP)
    again = [item for item in stamped if _time(item[0]) >= since]
    size = sum(len(stamp) + len(text) + 2 for stamp, text in again)
    changes = {"since": since, "taken": len(again), "again": size, "last": last}
    return Part(tuple(text for _, text in fresh), progress.model_copy(update=changes))


def query(progress: Progress, limit: int) -> dict[str, str]:
    """Return what to ask for, in at most ``limit`` bytes."""
    asked = {"timestamps": "true", "limitBytes": str(limit)}
    if progress.since is not None:
        asked["sinceTime"] = f"{datetime.fromtimestamp(progress.since, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return asked


def _beyond(rest: bytes, progress: Progress) -> Progress:
    """Move past one line that is longer than a part; it is left out."""
    stamp, _ = _split(rest)
    since = math.floor(_time(stamp or progress.last)) + 1
    return progress.model_copy(update={"since": since, "taken": 0, "again": 0})


def _split(line: bytes) -> tuple[str, bytes]:
    """Return (stamp, text); no stamp for a line that is not of the container."""
    stamp, _, text = line.partition(b" ")
    try:
        word = stamp.decode("ascii")
        datetime.fromisoformat(word)
    except ValueError:
        return "", line
    return (word, text) if "T" in word else ("", line)


def _time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0
