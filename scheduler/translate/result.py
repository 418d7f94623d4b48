"""What every translation gives: a definition, what was measured, and what did not carry over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scheduler.model.base import Value


@dataclass(frozen=True, slots=True)
class Lost:
    """One thing that did not carry over."""

    what: str
    why: str
    place: str | None = None
    """``file:line`` in the other tool's file, where it has lines."""

    def __str__(self) -> str:
        return (
            f"{self.place}: {self.what}: {self.why}" if self.place else f"{self.what}: {self.why}"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """One arm that was measured: its parameters, and (mean, standard error) of each metric."""

    parameters: Mapping[str, Value]
    metrics: Mapping[str, tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Translation:
    """Another tool's experiment in our words; names are not yet all fit for us."""

    source: str
    """What it was: ``Optuna's study 'resnet'``."""
    definition: Mapping[str, Any]
    """As in our YAML, without ``schema`` and ``warm_start``."""
    history: tuple[Measured, ...] = ()
    lost: tuple[Lost, ...] = ()
    comments: Mapping[str, str] = field(default_factory=dict)
    """What to say above a key of the definition."""


class Losses:
    """Collects what does not carry over while a file is read."""

    def __init__(self) -> None:
        self.found: list[Lost] = []

    def add(self, what: str, why: str, place: str | None = None) -> None:
        """Note one thing, once."""
        lost = Lost(what, why, place)
        if lost not in self.found:
            self.found.append(lost)
