"""Observations and outcomes: what was measured of an arm."""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.model.base import Value

MeasuredArms = tuple[tuple[Mapping[str, Value], Mapping[str, tuple[float, float | None]]], ...]
"""Parameters of each measured arm, with metric -> (mean, standard error)."""
Arms = tuple[Mapping[str, Value], ...]
"""Parameters of arms, in order."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Mean and standard error of one metric of one arm, at a step or final (``step is None``)."""

    trial_index: int
    attempt: int
    arm_name: str
    metric: str
    mean: float
    sem: float | None = None
    step: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final means of one arm of a completed trial."""

    trial_index: int
    arm_name: str
    means: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class GeneratorRun:
    """How arms were chosen: generator, seed, time, and what the model predicted for them."""

    index: int
    node: int
    """Index of the generation strategy's node."""
    generator: str
    seed: int
    cursor: int = 0
    """Where a sequence generator goes on; 0 for the others."""
    seconds: float = 0.0
    created_at: float = 0.0
    predictions: tuple[Mapping[str, Mapping[str, float]], ...] = ()
    """For each arm: metric -> {mean, sem}. Empty for generators without a model."""
    insights: tuple[Mapping[str, float], ...] = ()
    """For each arm what the model knew when it proposed it. Empty where it said nothing."""
    note: str = ""
    """Why this generator and not the node's, where it stepped down."""
