"""What about an experiment deserves a second look: hints for people, in sentences. Pure."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from scheduler.insight.proposals import Proposed
from scheduler.model.best import is_feasible
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.observation import Outcome
from scheduler.model.parameters import RangeParameter
from scheduler.model.trial import TrialStatus

ENOUGH = 5
"""Measured arms, or ended trials, below which nothing is said."""
BEST = 5
"""How many of the best arms are looked at for bounds."""
EDGE = 0.01
"""Share of a range, in the scale it is searched in, that counts as its bound."""
DISCRETE = 5
"""Values that a range must have before its bounds are not just two of a few."""
MANY_FAILED = 0.2
MANY_INFEASIBLE = 0.5


def hints(
    definition: ExperimentDefinition,
    arms: Sequence[Proposed],
    baseline: Mapping[str, float] | None,
) -> list[str]:
    """Return what is noticeable about all arms of an experiment."""
    measured = [a for a in arms if a.trial.status is TrialStatus.COMPLETED and a.metrics]
    outcomes = [Outcome(a.trial.index, a.arm.name, a.means) for a in measured]
    found = [*_failures(arms)]
    if len(measured) >= ENOUGH:
        found += _constant(measured)
        found += _infeasible(definition, outcomes, baseline)
        found += _at_bounds(definition, measured, outcomes, baseline)
    return found


def _failures(arms: Sequence[Proposed]) -> Iterator[str]:
    ended = {a.trial.index: a.trial for a in arms if a.trial.status.is_final}
    failed = [t for t in ended.values() if t.status is TrialStatus.FAILED]
    if len(ended) < ENOUGH or len(failed) < MANY_FAILED * len(ended):
        return
    reasons = Counter(str(t.reason or "no reason") for t in failed).most_common(3)
    why = ", ".join(f"{reason} {count}" for reason, count in reasons)
    yield f"{len(failed)} of {len(ended)} trials failed ({why})"


def _constant(measured: Sequence[Proposed]) -> Iterator[str]:
    for metric in sorted({name for a in measured for name in a.means}):
        values = {a.means[metric] for a in measured if metric in a.means}
        if len(values) == 1:
            yield f"{metric} is {values.pop():.6g} in all arms: it tells none from another"


def _infeasible(
    definition: ExperimentDefinition,
    outcomes: Sequence[Outcome],
    baseline: Mapping[str, float] | None,
) -> Iterator[str]:
    for constraint in definition.outcome_constraints:
        broken = sum(not constraint.holds(o.means, baseline) for o in outcomes)
        if broken >= MANY_INFEASIBLE * len(outcomes):
            yield f"{broken} of {len(outcomes)} arms break {constraint}"


def _at_bounds(
    definition: ExperimentDefinition,
    measured: Sequence[Proposed],
    outcomes: Sequence[Outcome],
    baseline: Mapping[str, float] | None,
) -> Iterator[str]:
    """Yield the parameters that most of the best arms have at one and the same bound."""
    best = _best(definition, measured, outcomes, baseline)
    for parameter in definition.parameters:
        if not isinstance(parameter, RangeParameter) or parameter.cardinality < DISCRETE:
            continue
        values = [float(a.arm.parameters[parameter.name]) for a in best if _has(a, parameter)]
        for side, bound in zip(("lower", "upper"), parameter.bounds, strict=True):
            there = sum(_is_at(parameter, value, bound) for value in values)
            if there > len(best) / 2:
                yield (
                    f"{parameter.name} is at its {side} bound, {bound:g}, in {there} of the "
                    f"{len(best)} best arms: better ones may lie beyond"
                )


def _best(
    definition: ExperimentDefinition,
    measured: Sequence[Proposed],
    outcomes: Sequence[Outcome],
    baseline: Mapping[str, float] | None,
) -> list[Proposed]:
    """Return the best feasible arms of the first objective, by what was observed."""
    objective = definition.all_objectives[0]
    scored = [
        (value, arm)
        for arm, o in zip(measured, outcomes, strict=True)
        if is_feasible(definition, o, baseline) and (value := objective.value(o.means)) is not None
    ]
    scored.sort(key=lambda pair: pair[0], reverse=not objective.minimize)
    return [arm for _, arm in scored[: min(BEST, max(1, len(scored) // 2))]]


def _has(arm: Proposed, parameter: RangeParameter) -> bool:
    return parameter.name in arm.arm.parameters


def _is_at(parameter: RangeParameter, value: float, bound: float) -> bool:
    if parameter.step is not None:
        return abs(value - bound) < parameter.step / 2
    lower, upper = parameter.bounds
    if parameter.scaling == "log":
        return abs(math.log(value / bound)) <= EDGE * math.log(upper / lower)
    return abs(value - bound) <= EDGE * (upper - lower)
