"""Whether any point of a search space satisfies its parameter constraints."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scheduler.model.constraints import TOLERANCE, ParameterConstraint
from scheduler.model.parameters import RangeParameter

Ranges = Mapping[str, RangeParameter]
Constraints = Sequence[ParameterConstraint]
_ROUNDS = 50
_SECONDS = 5.0
_MOST_TO_NAME = 20


def conflict(ranges: Ranges, constraints: Constraints) -> tuple[int, ...] | None:
    """Return the indices of constraints that no point satisfies together; ``None`` if one does.

    The constraints name ``ranges`` only. Also ``None`` where it cannot be told in a few seconds.
    """
    for i, constraint in enumerate(constraints):
        least = sum(w * _best(ranges[n], w) for n, w in constraint.weights.items())
        size = max(1.0, abs(constraint.bound), abs(least))
        if least > constraint.bound + TOLERANCE * size:
            return (i,)
    if witness(ranges, constraints) is not None or not _impossible(ranges, constraints):
        return None
    return _fewest(ranges, constraints)


def witness(ranges: Ranges, constraints: Constraints) -> dict[str, float] | None:
    """Return a point of the grid that satisfies all constraints, if a short search meets one."""
    for start in _starts(ranges, constraints):
        point = start
        for _ in range(_ROUNDS):
            snapped: dict[str, float] = {n: ranges[n].nearest(v) for n, v in point.items()}
            if all(c.holds(snapped) for c in constraints):
                return snapped
            broken = next((c for c in constraints if not c.holds(point)), None)
            if broken is None:
                break  # only rounding to the grid breaks a constraint: another start may do better
            point = _projected(ranges, point, broken)
    return None


def _starts(ranges: Ranges, constraints: Constraints) -> Iterator[dict[str, float]]:
    used = {name for c in constraints for name in c.weights}
    bounds = {name: ranges[name].bounds for name in sorted(used)}
    yield {n: (low + high) / 2 for n, (low, high) in bounds.items()}
    yield {n: low for n, (low, _) in bounds.items()}
    yield {n: high for n, (_, high) in bounds.items()}
    for constraint in constraints[:_ROUNDS]:
        weights = constraint.weights
        yield {n: _best(ranges[n], weights.get(n, 1.0)) for n in bounds}


def _best(parameter: RangeParameter, weight: float) -> float:
    """Return the value with the least ``weight * value``."""
    return parameter.nearest(parameter.bounds[0 if weight > 0 else 1])


def _projected(
    ranges: Ranges, point: Mapping[str, float], constraint: ParameterConstraint
) -> dict[str, float]:
    """Return a point beyond the constraint's plane, in units of each parameter's width."""
    widths = {n: ranges[n].bounds[1] - ranges[n].bounds[0] for n in constraint.weights}
    slope = {n: w * widths[n] for n, w in constraint.weights.items()}
    excess = sum(w * point[n] for n, w in constraint.weights.items()) - constraint.bound
    scale = 1.01 * excess / sum(s * s for s in slope.values())
    moved = dict(point)
    for name, s in slope.items():
        low, high = ranges[name].bounds
        moved[name] = min(max(point[name] - scale * s * widths[name], low), high)
    return moved


def _impossible(ranges: Ranges, constraints: Constraints) -> bool:
    """Whether an exact solver states that no point exists."""
    from scipy.optimize import milp

    names = sorted({name for c in constraints for name in c.weights})
    result = milp(
        options={"time_limit": _SECONDS},
        **_program([ranges[n] for n in names], names, constraints),
    )
    return int(result.status) == 2


def _program(
    parameters: Sequence[RangeParameter], names: list[str], constraints: Constraints
) -> dict[str, Any]:
    """Return the arguments of ``milp``: steps of stepped parameters, the others in [0, 1]."""
    units = [p.step or p.bounds[1] - p.bounds[0] for p in parameters]
    tops = [p.cardinality - 1 if p.step else 1.0 for p in parameters]
    rows = [
        [c.weights.get(n, 0.0) * u for n, u in zip(names, units, strict=True)] for c in constraints
    ]
    offsets = [
        sum(
            w * p.bounds[0]
            for n, p in zip(names, parameters, strict=True)
            if (w := c.weights.get(n))
        )
        for c in constraints
    ]
    return {
        "c": [0.0] * len(names),
        "integrality": [int(p.step is not None) for p in parameters],
        "bounds": ([0.0] * len(names), tops),
        "constraints": (
            rows,
            [-float("inf")] * len(rows),
            [c.bound - o for c, o in zip(constraints, offsets, strict=True)],
        ),
    }


def _fewest(ranges: Ranges, constraints: Constraints) -> tuple[int, ...]:
    """Return a set of conflicting constraints from which none can be left out."""
    kept = list(range(len(constraints)))
    for i in kept[:] if len(kept) <= _MOST_TO_NAME else []:
        rest = [k for k in kept if k != i]
        if rest and _impossible(ranges, [constraints[k] for k in rest]):
            kept = rest
    return tuple(kept)
