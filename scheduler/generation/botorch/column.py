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
NOISE_CEILING = 1e3
"""Largest standard deviation of an observation, in the metric's."""
INVISIBLE = 1e-8
"""Share of the interquartile range below which the better half seems one value to the model."""
FARTHEST = 1e6
"""Standard deviations from the mean at which any number is as good as infinite."""
ROUNDING = float(np.finfo(np.float64).eps)
"""Share of a metric's size that it is known to at best."""
LARGEST, SMALLEST = 1e300, 1e-300
"""Numbers and differences beyond these are as good as equal to them."""


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
        return max(-FARTHEST, min((self.sign * number - self.shift) / self.scale, FARTHEST))

    def natural(self, mean: float, deviation: float) -> dict[str, float]:
        """Return a prediction in the metric's own units."""
        return {
            "mean": self.sign * (mean * self.scale + self.shift),
            "sem": deviation * self.scale,
        }

    @property
    def flat(self) -> bool:
        """Whether all observations are equal, but for rounding."""
        return not self.values.any()

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
    bounds: Sequence[float] = (),
) -> Column:
    """Return the column of ``metric``; raise GenerationError where there are too few.

    ``bounds``: what outliers are to stay beyond though they are cut off, times ``sign``.
    """
    if len(measured) < 2:
        raise GenerationError(f"there are fewer than two observations of {metric}")
    values = sign * np.clip([mean for mean, _ in measured], -LARGEST, LARGEST)
    # From one of them, in units of the largest: no digit is lost to an offset, no square is inf.
    origin = float(np.sort(values)[len(values) // 2])
    fences = (BAD_SIDE, GOOD_SIDE) if objective else (BOTH_SIDES, BOTH_SIDES)
    away = _winsorized(values - origin, *fences, [bound - origin for bound in bounds])
    unit = float(np.abs(away).max())
    rounding = ROUNDING * abs(origin)
    if not unit > max(4 * rounding, SMALLEST):
        away, unit = np.zeros_like(values), max(abs(origin), 1.0)
    away = away / unit
    mean, spread = float(away.mean()), float(away.std(ddof=1)) or 1.0
    scale = unit * spread
    variances = _variances([sem for _, sem in measured], rounding, scale)
    standard = (away - mean) / spread
    return Column(metric, points, standard, variances, sign, origin + unit * mean, scale)


def _variances(sems: Sequence[float | None], rounding: float, scale: float) -> Points | None:
    """Return the variances in the model's units; None where one of them is unknown."""
    known = np.array([sem for sem in sems if sem is not None])
    if len(known) < len(sems):
        return None
    shares = np.minimum(np.maximum(known, rounding), NOISE_CEILING * scale) / scale
    return np.asarray(np.maximum(shares**2, NOISE_FLOOR))


def _winsorized(values: Points, below: float, above: float, bounds: Sequence[float]) -> Points:
    """Return ``values`` with outliers cut off: one 1e30 must not flatten all the others.

    Where half of them are that bad, the fences go by the better half.
    """
    low, high = _quartiles(values)
    better = np.sort(values)[len(values) // 2 :]
    while len(better) > 1:
        inner = _quartiles(better)
        if 0 < (inner[1] - inner[0]) < INVISIBLE * (high - low):
            low, high = inner
        better = better[len(better) // 2 :] if len(better) > 2 else better[:0]
    span = high - low
    if span == 0:
        return values
    # A bound is kept within the fences, with half as much room again behind it.
    least = min([low - below * span, *(1.5 * bound for bound in bounds)])
    most = max([high + above * span, *(1.5 * bound for bound in bounds)])
    return np.clip(values, least, most)


def _quartiles(values: Points) -> tuple[float, float]:
    """Return the quartiles; where they are equal, those of the values that differ."""
    low, high = np.quantile(values, [0.25, 0.75])
    if low == high:
        low, high = np.quantile(np.unique(values), [0.25, 0.75])
    return float(low), float(high)
