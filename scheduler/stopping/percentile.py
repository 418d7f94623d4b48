"""Whether a trial's curve is so far behind those of others that it may be ended. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

Curve = Sequence[tuple[float, float]]
"""(step, value), by rising step."""


@dataclass(frozen=True, slots=True)
class Percentile:
    """End what is worse than a percentile of the others at its last step.

    The rule of Ax's PercentileEarlyStoppingStrategy, and with a percentile of 50 the median rule
    of Golovin et al., "Google Vizier", KDD 2017.
    """

    percentile_threshold: float = 50.0
    """0 to 100: a trial goes on while it is better than so many percent of the others."""
    min_progression: float = 10.0
    """No trial is ended before this step."""
    max_progression: float | None = None
    """Nor at a later step than this one."""
    min_curves: int = 5
    """So many other curves must reach the step, at least."""

    def verdict(self, curve: Curve, others: Sequence[Curve], minimize: bool) -> str:
        """Return why a trial may be ended, in a sentence; empty where it is to go on."""
        if not curve:
            return ""
        step, value = curve[-1]
        late = self.max_progression is not None and step > self.max_progression
        if step < self.min_progression or late:
            return ""
        found = [at(other, step) for other in others]
        seen = sorted(v for v in found if v is not None)
        if len(seen) < self.min_curves:
            return ""
        share = self.percentile_threshold / 100
        bound = quantile(seen, 1 - share if minimize else share)
        if value <= bound if minimize else value >= bound:
            return ""
        return (
            f"at step {step:g} its value is {value:g}, worse than {bound:g}, the "
            f"{self.percentile_threshold:g}th percentile of {len(seen)} others"
        )


def at(curve: Curve, step: float) -> float | None:
    """Return a curve's value at a step, between two points on the line; None outside of it."""
    steps = [s for s, _ in curve]
    i = bisect_left(steps, step)
    if i == len(steps):
        return None
    after, value = curve[i]
    if after == step:
        return value
    if i == 0:
        return None
    before, earlier = curve[i - 1]
    return earlier + (value - earlier) * (step - before) / (after - before)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of ``ordered`` lies, between two on the line."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
