"""Which arms are feasible, and which is best, by observed means."""

from collections.abc import Iterable, Mapping

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.observation import Outcome


def is_feasible(
    definition: ExperimentDefinition,
    outcome: Outcome,
    baseline: Mapping[str, float] | None,
) -> bool:
    """Whether an outcome satisfies every outcome constraint and reaches every threshold."""
    values = _values(definition, outcome)
    reached = all(
        value is not None and (o.threshold is None or not o.better(o.threshold, value))
        for o, value in zip(definition.all_objectives, values, strict=True)
    )
    return reached and all(
        c.holds(outcome.means, baseline) for c in definition.outcome_constraints
    )


def best_outcome(
    definition: ExperimentDefinition,
    outcomes: Iterable[Outcome],
    baseline: Mapping[str, float] | None,
) -> Outcome | None:
    """Return the feasible outcome with the best single objective; the earliest of equals."""
    objective = definition.all_objectives[0]
    best: Outcome | None = None
    top: float | None = None
    for outcome in outcomes:
        value = objective.value(outcome.means)
        if value is None or (top is not None and not objective.better(value, top)):
            continue
        if is_feasible(definition, outcome, baseline):
            best, top = outcome, value
    return best


def pareto_front(
    definition: ExperimentDefinition,
    outcomes: Iterable[Outcome],
    baseline: Mapping[str, float] | None,
) -> list[Outcome]:
    """Return the feasible outcomes that no other one dominates, in order of completion."""
    front: list[Outcome] = []
    for o in outcomes:
        if not is_feasible(definition, o, baseline):
            continue
        if not any(_dominates(definition, p, o) for p in front):
            front = [p for p in front if not _dominates(definition, o, p)] + [o]
    return front


def _dominates(definition: ExperimentDefinition, a: Outcome, b: Outcome) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better."""
    values = zip(_values(definition, a), _values(definition, b), strict=True)
    pairs = [
        (o, x, y)
        for o, (x, y) in zip(definition.all_objectives, values, strict=True)
        if x is not None and y is not None
    ]
    return not any(o.better(y, x) for o, x, y in pairs) and any(
        o.better(x, y) for o, x, y in pairs
    )


def _values(definition: ExperimentDefinition, outcome: Outcome) -> list[float | None]:
    return [o.value(outcome.means) for o in definition.all_objectives]
