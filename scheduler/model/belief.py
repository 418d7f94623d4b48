"""Feasibility as a probability and as a distance, from means and their standard errors. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist, pstdev

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.observation import Outcome

Moments = Mapping[str, Mapping[str, float]]
"""Metric -> {mean, sem}: what a model believes of one arm's true means."""


def p_feasible(
    definition: ExperimentDefinition, moments: Moments, baseline: Mapping[str, float] | None
) -> float | None:
    """Return the probability that an arm satisfies every outcome constraint.

    Metrics are taken to be independent. ``None`` where there is no constraint, or one refers to a
    baseline that is not measured yet, or to a metric of which nothing is believed.
    """
    intervals: dict[str, tuple[float, float]] = {}
    for constraint in definition.outcome_constraints:
        limit = constraint.limit(baseline)
        if limit is None or constraint.metric not in moments:
            return None
        low, high = intervals.get(constraint.metric, (-math.inf, math.inf))
        at_most = constraint.op == "<="
        bounds = (low, min(high, limit)) if at_most else (max(low, limit), high)
        intervals[constraint.metric] = bounds
    if not intervals:
        return None
    return math.prod(_between(moments[m], low, high) for m, (low, high) in intervals.items())


def least_infeasible(
    definition: ExperimentDefinition,
    outcomes: Sequence[Outcome],
    baseline: Mapping[str, float] | None,
) -> Outcome | None:
    """Return the outcome that misses constraints and thresholds by least, the earliest of equals.

    Misses are added up in standard deviations of what is missed. ``None`` where there is no
    outcome, or where a constraint refers to a baseline that is not measured yet.
    """
    if not outcomes or any(c.limit(baseline) is None for c in definition.outcome_constraints):
        return None
    misses = [0.0] * len(outcomes)
    for values, limit, at_most in _limits(definition, outcomes, baseline):
        unit = _unit([v for v in values if v is not None], limit)
        for i, value in enumerate(values):
            over = math.inf if value is None else value - limit if at_most else limit - value
            misses[i] += max(0.0, over / unit)
    return outcomes[min(range(len(outcomes)), key=misses.__getitem__)]


def _limits(
    definition: ExperimentDefinition,
    outcomes: Sequence[Outcome],
    baseline: Mapping[str, float] | None,
) -> Iterator[tuple[list[float | None], float, bool]]:
    """Yield (value of each outcome, limit, whether it is an upper one)."""
    for c in definition.outcome_constraints:
        limit = c.limit(baseline)
        assert limit is not None
        yield [o.means.get(c.metric) for o in outcomes], limit, c.op == "<="
    for objective in definition.all_objectives:
        if objective.threshold is not None:
            values = [objective.value(o.means) for o in outcomes]
            yield values, objective.threshold, objective.minimize


def _unit(values: Sequence[float], limit: float) -> float:
    """Return a standard deviation of ``values``, or another positive unit where they have none."""
    largest = max(map(abs, values), default=0.0)
    if largest:
        spread = largest * pstdev([value / largest for value in values])
        if spread > 0 and math.isfinite(spread):
            return spread
    return abs(limit) or 1.0


def _between(moments: Mapping[str, float], low: float, high: float) -> float:
    """Return the probability of an interval, both ends included."""
    mean, sem = moments["mean"], moments["sem"]
    if not sem > 0:
        return float(low <= mean <= high)
    normal = NormalDist(mean, sem)
    return max(0.0, normal.cdf(high) - normal.cdf(low))
