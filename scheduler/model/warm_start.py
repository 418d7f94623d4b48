"""What an experiment knows when it begins: arms that were measured elsewhere."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from scheduler.model.base import Model, StorageUrl, Value


class WarmStart(Model):
    """One source of arms: another experiment, or a table. Read once, when this one is created."""

    experiment: str | None = None
    storage: StorageUrl | None = None
    """Where that experiment is kept; ``None``: in the same store."""
    only: Literal["completed"] = "completed"
    csv: str | None = None
    """A file with a header: columns named as parameters and metrics, and ``<metric>_sem``."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Values of parameters that the source does not have."""

    @model_validator(mode="after")
    def _one_source(self) -> "WarmStart":
        if (self.experiment is None) == (self.csv is None):
            raise ValueError("give either experiment: NAME or csv: FILE")
        if self.csv is not None and self.storage is not None:
            raise ValueError("storage goes with experiment, not with csv")
        return self

    def __str__(self) -> str:
        return self.experiment or str(self.csv)


@dataclass(frozen=True, slots=True)
class Transferred:
    """An arm of this search space and what was measured of it elsewhere."""

    source: str
    parameters: Mapping[str, Value]
    metrics: Mapping[str, tuple[float, float | None]]
    """Of this experiment's metrics, those that the source has."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the sources of a warm start hold for one experiment."""

    arms: tuple[Transferred, ...] = ()
    messages: tuple[str, ...] = ()
    """For each source how much was taken, and why not all."""


NOTHING = Gathered()


def complete(arms: Iterable[Transferred], required: Collection[str]) -> int:
    """Return how many of ``arms`` have all the metrics that are required."""
    return sum(set(required) <= arm.metrics.keys() for arm in arms)
