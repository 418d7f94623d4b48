"""What was measured of one metric, in the units that its model works in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.generation.space import GenerationError, Points

BAD_SIDE, GOOD_SIDE = 5.0, 50.0
"""Interquartile ranges beyond the quartiles where an objective's values are cut off."""
BOTH_SIDES = 20.0
"""The same for a metric that is only constrained or part of a sum."""
NOISE_FLOOR = 1e-8
"""Least variance of an observation, as a share of the metric's."""


@dataclass(frozen=True)
class Column:
    """One metric's observations: larger is better, mean 0, standard deviation 1.

    ``sign * metric = shift + scale * value``; ``sign`` is -1 for a metric to be minimized.
    """

    metric: str
    points: Points
    """Shape (n, d)."""
    values: Points
    """Shape (n,)."""
    variances: Points | None
    """Shape (n,): known noise; None where the model infers it."""
    sign: float
    shift: float
    scale: float

    def standard(self, number: float) -> float:
        """Return a value of the metric in the model's units."""
        return (self.sign * number - self.shift) / self.scale

    def natural(self, mean: float, deviation: float) -> dict[str, float]:
        """Return a prediction in the metric's own units."""
        return {
            "mean": self.sign * (mean * self.scale + self.shift),
            "sem": deviation * self.scale,
        }

    @property
    def digest(self) -> str:
        """A key that is equal where the data are, bit for bit."""
        parts = [self.points, self.values, self.variances]
        data = b"|".join(b"" if p is None else p.tobytes() for p in parts)
        return hashlib.blake2b(data, digest_size=16).hexdigest()


def standardized(
    metric: str,
    points: Points,
    measured: Sequence[tuple[float, float | None]],
    objective: bool,
    sign: float,
) -> Column:
    """Return the column of ``metric``; raise GenerationError where nothing can be learned."""
    if len(measured) < 2:
        raise GenerationError(f"there are fewer than two observations of {metric}")
    fences = (BAD_SIDE, GOOD_SIDE) if objective else (BOTH_SIDES, BOTH_SIDES)
    values = _winsorized(sign * np.array([mean for mean, _ in measured]), *fences)
    shift = float(values.mean())
    spread = float((values - shift).std(ddof=1))
    flat = not spread > 1e-12 * max(abs(shift), 1e-280)
    if flat and objective:
        raise GenerationError(f"all observations of {metric} are equal")
    scale = max(abs(shift), 1.0) if flat else spread
    sems = [sem for _, sem in measured if sem is not None]
    known = len(sems) == len(measured)
    variances = np.maximum((np.array(sems) / scale) ** 2, NOISE_FLOOR) if known else None
    return Column(metric, points, (values - shift) / scale, variances, sign, shift, scale)


def _winsorized(values: Points, below: float, above: float) -> Points:
    """Return ``values`` with outliers cut off: one 1e30 must not flatten all the others."""
    low, high = np.quantile(values, [0.25, 0.75])
    span = high - low
    return values if span == 0 else np.clip(values, low - below * span, high + above * span)
