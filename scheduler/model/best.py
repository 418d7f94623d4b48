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
    reached = all(
        o.threshold is None or not o.better(o.threshold, outcome.means[o.metric])
        for o in definition.all_objectives
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
    for outcome in outcomes:
        value = outcome.means.get(objective.metric)
        if value is None or not is_feasible(definition, outcome, baseline):
            continue
        if best is None or objective.better(value, best.means[objective.metric]):
            best = outcome
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
    pairs = [(o, a.means[o.metric], b.means[o.metric]) for o in definition.all_objectives]
    return not any(o.better(y, x) for o, x, y in pairs) and any(
        o.better(x, y) for o, x, y in pairs
    )
