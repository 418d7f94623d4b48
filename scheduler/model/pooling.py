"""Several observations of one arm as one."""

import math
from collections.abc import Iterable, Mapping

from scheduler.model.base import Value
from scheduler.model.observation import MeasuredArms

Moments = tuple[float, float | None]
"""Mean and standard error."""


def pooled(measured: MeasuredArms) -> MeasuredArms:
    """Return each arm once, where it first stands, with its observations of a metric as one.

    Arms are equal where their parameters are, in the same order.
    """
    arms: dict[tuple[tuple[str, Value], ...], dict[str, list[Moments]]] = {}
    for parameters, metrics in measured:
        found = arms.setdefault(tuple(parameters.items()), {})
        for metric, moments in metrics.items():
            found.setdefault(metric, []).append(moments)
    return tuple(
        (dict(arm), {metric: pool(found) for metric, found in metrics.items()})
        for arm, metrics in arms.items()
    )


def pool(found: list[Moments]) -> Moments:
    """Return the inverse-variance mean and its standard error.

    Where a standard error is unknown, the plain mean, and none. Those of zero count alone.
    """
    if len(found) == 1:
        return found[0]
    sems = [sem for _, sem in found if sem is not None]
    if len(sems) < len(found):
        return average([mean for mean, _ in found]), None
    least = min(sems)
    if least == 0:
        return average([mean for mean, sem in found if sem == 0]), 0.0
    # Relative to the least: the square of a standard error may be no number.
    weights = [(least / sem) ** 2 for sem in sems]
    total = math.fsum(weights)
    mean = math.fsum(m * (w / total) for (m, _), w in zip(found, weights, strict=True))
    return mean, least / math.sqrt(total)


def average(values: list[float]) -> float:
    """Return the mean, of numbers of any size and whatever their order."""
    return math.fsum(value / len(values) for value in values)


def average_of_each(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over those that have it."""
    values: dict[str, list[float]] = {}
    for means in found:
        for metric, mean in means.items():
            values.setdefault(metric, []).append(mean)
    return {metric: average(each) for metric, each in values.items()}
