"""Why an arm was proposed: from what is stored, without fitting a model again. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

from scheduler.generation.space import Space
from scheduler.insight.nearest import Near, nearest
from scheduler.insight.proposals import Proposed, known_to, outcome_of
from scheduler.model.belief import p_feasible
from scheduler.model.best import best_outcome
from scheduler.model.definition import ExperimentDefinition, signature
from scheduler.model.experiment import STATUS_QUO
from scheduler.model.pooling import average_of_each
from scheduler.model.strategy import nodes_of

LITTLE = 0.1
"""Doubt, as a share of the spread of what was seen, below which nothing is explored."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the model predicted of one metric, and what came of it."""

    mean: float
    sd: float
    """Of the arm's true mean: the noise of a measurement comes on top."""
    observed: float | None = None
    sem: float | None = None
    """The standard error of what was observed, where it is known."""

    @property
    def off(self) -> float | None:
        """By how many standard deviations the observation lies above the prediction."""
        if self.observed is None:
            return None
        sd = math.hypot(self.sd, self.sem or 0.0)
        return (self.observed - self.mean) / sd if sd > 0 else None


@dataclass(frozen=True, slots=True)
class Exploration:
    """How much of an arm was curiosity. With one objective; what is not known is ``None``."""

    mean: float
    """Predicted of the objective."""
    incumbent: float | None
    """Of the best arm so far, when it was proposed."""
    p_improve: float | None
    doubt: float | None
    """The prediction's standard deviation over that of the objective's values so far."""

    @property
    def motive(self) -> str:
        """``exploiting``, ``exploring`` or ``fine-tuning``; empty where that is not known."""
        if self.p_improve is None:
            return ""
        if self.p_improve >= 0.5:
            return "exploiting"
        return "fine-tuning" if self.doubt is not None and self.doubt < LITTLE else "exploring"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one arm was proposed."""

    proposed: Proposed
    observations: int
    """Different arms that had been measured by then, here or elsewhere."""
    pending: int
    """Arms on their way by then."""
    expected: Mapping[str, Expected]
    exploration: Exploration | None
    p_feasible: float | None
    p_improve: float | None
    nearest: Near | None
    neighbour: Proposed | None
    """The nearest arm of an earlier trial."""

    @property
    def origin(self) -> str:
        """``status quo``, ``given``, ``model`` or ``space-filling``."""
        if self.proposed.arm.name == STATUS_QUO:
            return "status quo"
        if self.proposed.run is None:
            return "given"
        return "model" if self.expected else "space-filling"


def explained(
    definition: ExperimentDefinition, arms: Sequence[Proposed], index: int, transferred: int = 0
) -> list[Explanation]:
    """Return an explanation of each arm of trial ``index``; ``arms``: of it and those before.

    ``transferred``: how many arms had been measured elsewhere before the experiment began.
    """
    space = Space(definition)
    earlier = [each for each in arms if each.trial.index < index]
    return [
        _explanation(definition, space, each, earlier, transferred)
        for each in arms
        if each.trial.index == index
    ]


def node_of(definition: ExperimentDefinition, each: Proposed) -> str | None:
    """Return the generator that the generation strategy's node names; None for given arms."""
    nodes = nodes_of(definition)
    if each.run is None or each.run.node >= len(nodes):
        return None
    return nodes[each.run.node].generator


def _explanation(
    definition: ExperimentDefinition,
    space: Space,
    each: Proposed,
    earlier: Sequence[Proposed],
    transferred: int,
) -> Explanation:
    others = [e for e in earlier if each.run is None or e.trial.generator_run != each.run.index]
    known, pending = known_to(each.run, others) if each.run else ([], 0)
    expected = {metric: _expected(each, metric) for metric in each.prediction}
    exploration = _exploration(definition, each, known)
    improve = exploration.p_improve if exploration else each.insight.get("p_improve")
    near = nearest(space, each.arm.parameters, [e.arm.parameters for e in earlier])
    return Explanation(
        proposed=each,
        observations=transferred + len({signature(e.arm.parameters) for e in known}),
        pending=pending,
        expected=expected,
        exploration=exploration,
        p_feasible=_feasible(definition, each, known),
        p_improve=improve,
        nearest=near,
        neighbour=earlier[near.index] if near else None,
    )


def _expected(each: Proposed, metric: str) -> Expected:
    moments, seen = each.prediction[metric], each.metrics.get(metric)
    if seen is None:
        return Expected(moments["mean"], moments["sem"])
    return Expected(moments["mean"], moments["sem"], seen.mean, seen.sem)


def _feasible(
    definition: ExperimentDefinition, each: Proposed, known: Sequence[Proposed]
) -> float | None:
    """Return the chance to be feasible, as it was said or as it follows from the prediction."""
    if "p_feasible" in each.insight or not each.prediction:
        return each.insight.get("p_feasible")
    return p_feasible(definition, each.prediction, _baseline(known))


def _baseline(known: Sequence[Proposed]) -> Mapping[str, float] | None:
    return average_of_each(e.means for e in known if e.arm.name == STATUS_QUO) or None


def _exploration(
    definition: ExperimentDefinition, each: Proposed, known: Sequence[Proposed]
) -> Exploration | None:
    """Return how much was explored; the chance to improve is computed where it is not stored."""
    objective = definition.all_objectives[0]
    mean = objective.value({metric: m["mean"] for metric, m in each.prediction.items()})
    if len(definition.all_objectives) > 1 or mean is None:
        return None
    sd = math.hypot(*(w * each.prediction[m]["sem"] for m, w in objective.weights.items()))
    values = [v for e in known if (v := objective.value(e.means)) is not None]
    incumbent = each.insight.get("incumbent")
    if incumbent is None:
        best = best_outcome(definition, map(outcome_of, known), _baseline(known))
        incumbent = objective.value(best.means) if best else None
    improve = each.insight.get("p_improve")
    if improve is None and incumbent is not None and sd > 0:
        gain = incumbent - mean if objective.minimize else mean - incumbent
        improve = NormalDist().cdf(gain / sd)
    spread = stdev(values) if len(values) > 1 else 0.0
    return Exploration(mean, incumbent, improve, sd / spread if spread > 0 else None)
