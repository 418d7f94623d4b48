"""The metric contract: how a number is read from a job's folder, and what may go wrong.

A fetcher knows one folder of files. It knows nothing of trials, experiments or optimization. To
write one, read this file, subclass :class:`Fetcher` and run ``metrics.testing.FetcherContract``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

Reduce = Literal["last", "min", "max", "mean"]


class MetricError(Exception):
    """A metric could not be read; the message is one sentence for people."""


class InvalidMetric(MetricError):
    """There is a value and it can never be used (NaN, infinite, text, malformed)."""


class UnavailableMetric(MetricError):
    """The source did not answer; ask later."""


@dataclass(frozen=True, slots=True)
class Point:
    """One observed value of a metric."""

    mean: float
    """Finite."""
    sem: float | None = None
    """Standard error of the mean, finite and >= 0; ``None`` where unknown."""
    step: float | None = None
    """Progression (epoch, iteration) at which it was seen; ``None``: the final value."""


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What to read, and where."""

    metric: str
    directory: Path
    """The folder of the job's task, absolute."""
    parameters: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    running: bool = False
    """Whether the job still runs, so that files may be half written."""
    placeholders: Mapping[str, str] = field(default_factory=dict)
    """What ``{trial_dir}``, ``{trial_index}``, ... stand for in options."""


class FetcherOptions(BaseModel):
    """Base of a fetcher's keys in the YAML (without ``type``); unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fetcher(ABC):
    """Reads one metric. Calls come from one thread and end within the fetcher's own time limit."""

    Options: ClassVar[type[FetcherOptions]] = FetcherOptions

    def __init__(self, options: FetcherOptions) -> None:
        """Do no I/O."""
        self.options = options

    @abstractmethod
    def fetch(self, request: FetchRequest) -> Sequence[Point]:
        """Return all points there are, oldest first; empty where there is none yet.

        Raises :class:`InvalidMetric` (never again) or :class:`UnavailableMetric` (ask later).
        The folder belongs to the job: treat every file in it as hostile.
        """


def finite(value: object, what: str) -> float:
    """Return ``value`` as a finite float; else raise :class:`InvalidMetric`, naming ``what``.

    Numbers and text that spells one are accepted; booleans, NaN and infinities are not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InvalidMetric(f"{what} is {_short(value)}, which is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise InvalidMetric(f"{what} is {_short(value)}, which is not a number") from None
    if not math.isfinite(number):
        raise InvalidMetric(f"{what} is {number}, which is not finite")
    return number


def reduce_points(points: Sequence[Point], how: Reduce) -> Point:
    """Return the final value of a curve: its last, least, greatest or mean point, without a step.

    The standard error is the chosen point's; for ``mean`` it is unknown. ``points`` is not empty.
    """
    if how == "mean":
        return Point(math.fsum(p.mean / len(points) for p in points))
    pick = {"last": lambda p: p[-1], "min": _least, "max": _greatest}[how](points)
    return Point(pick.mean, pick.sem)


def _least(points: Sequence[Point]) -> Point:
    return min(points, key=lambda p: p.mean)


def _greatest(points: Sequence[Point]) -> Point:
    return max(points, key=lambda p: p.mean)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
