"""Arms within a trust region: a box around the best arm that grows and shrinks with success.

TuRBO (Eriksson, Pearce, Gardner, Turner, Poloczek 2019) with one region, the model and the
acquisition function of ``generator``, and feasibility before all else where outcomes are
constrained (Eriksson and Poloczek 2021). Where the region is follows from the arms that were
measured, in order, and from nothing else.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.generation.botorch.generator import BotorchGenerator
from scheduler.generation.botorch.pool import Box
from scheduler.generation.botorch.problem import Problem, complete
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Measured
from scheduler.generation.sobol import SobolGenerator
from scheduler.generation.space import GenerationError, Points, Space
from scheduler.model.objectives import Objective
from scheduler.model.strategy import nodes_of

LENGTH, SHORTEST, LONGEST = 0.8, 0.5**7, 1.6
"""Mean side of a box: at first, below which a search ends, and at most. The cube's is 1."""
WINS = 3
"""Improvements in a row after which it doubles."""
LOSSES = 4
"""Arms, at least, without one after which it halves; as many as there are parameters if more."""
LEAST_GAIN = 1e-3
"""What counts as improvement, as a share of how far the best is from the median."""
UNEVEN = 4.0
"""How much longer or shorter than the median a side is at most."""
OPENING = 5
"""Arms that fill the space before a search that begins anew."""


@dataclass(frozen=True)
class Region:
    """Where a search has come to."""

    start: int
    """How many arms were measured before it began; it does not look back at them."""
    ready: int
    """How many are measured when it leaves off filling the space."""
    length: float


@dataclass(frozen=True)
class Pace:
    """How fast a region follows its luck."""

    losses: int
    """Rounds without an improvement after which it halves."""
    round: int = 1
    """Arms that are measured together."""


class TurboGenerator:
    """The arms of one experiment, with one objective."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._model = BotorchGenerator(space)
        self._sobol = SobolGenerator(space)

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Return arms of the present region, or of Sobol where a new one begins.

        Raises GenerationError where the model is of no use.
        """
        objectives = request.definition.all_objectives
        if len(objectives) > 1:
            raise GenerationError("turbo follows one objective, and here are several")
        rows = complete(request.definition, request.observed)
        values = worth(request, rows, objectives[0])
        opened = max(1, self._elsewhere(request, rows) + opening(request))
        region = followed(values, opened, self._pace(request))
        seen = (*request.seen, *(row.parameters for row in rows))
        if region.start and len(rows) + len(request.pending) < region.ready:
            cursor = max(request.cursor, request.sobol_cursor)
            return self._sobol.generate(replace(request, cursor=cursor, seen=seen))
        local = replace(request, observed=tuple(rows[region.start :]), seen=seen)
        return self._model.generate(local, functools.partial(box, self.space, region.length))

    def _elsewhere(self, request: GenerationRequest, rows: Sequence[Measured]) -> int:
        """Return how many arms were measured before the experiment began."""
        here = self.space.keys(request.seen)
        return sum(self.space.key(row.parameters) not in here for row in rows) if here else 0

    def _pace(self, request: GenerationRequest) -> Pace:
        size = request.arms_per_trial
        return Pace(-(-max(LOSSES, self.space.dimension) // size), size)


def opening(request: GenerationRequest) -> int:
    """Return how many of the experiment's arms users and earlier nodes make."""
    definition = request.definition
    earlier = nodes_of(definition)[: request.node]
    made = sum(node.trials or 0 for node in earlier) * request.arms_per_trial
    return made + len(definition.arms)


def worth(request: GenerationRequest, rows: Sequence[Measured], objective: Objective) -> Points:
    """Return how good each of ``rows`` is, shape (n,): larger is better, feasible ones first."""
    means = [{name: mean for name, (mean, _) in row.metrics.items()} for row in rows]
    sign = -1.0 if objective.minimize else 1.0
    values = np.array([sign * (objective.value(each) or 0.0) for each in means])
    excess = np.zeros(len(rows))
    for constraint in request.definition.outcome_constraints:
        bound = constraint.limit(request.baseline)
        if bound is not None:
            measured = np.array([each[constraint.metric] for each in means])
            beyond = measured - bound if constraint.op == "<=" else bound - measured
            excess += np.maximum(beyond, 0.0) / (measured.std() or 1.0)
    return np.where(excess > 0, values.min(initial=0.0) - excess, values)


def followed(values: Points, opened: int, pace: Pace) -> Region:
    """Return where the search has come to after arms of these values (n,), in order.

    ``opened``: how many of the first were not made by it.
    """
    start, ready = 0, opened
    while True:
        length, end = _life(values[start:], ready - start, pace)
        if end is None:
            return Region(start, ready, length)
        start += end
        ready = start + OPENING


def _life(values: Points, opened: int, pace: Pace) -> tuple[float, int | None]:
    """Return the length that one search comes to, and after how many arms it ends, if it does."""
    length, wins, losses = LENGTH, 0, 0
    for before in range(opened, len(values) - pace.round + 1, pace.round):
        past, new = values[:before], values[before : before + pace.round]
        won = new.max() - past.max() > LEAST_GAIN * (past.max() - np.median(past))
        wins, losses = (wins + 1, 0) if won else (0, losses + 1)
        if wins == WINS:
            length, wins = min(2.0 * length, LONGEST), 0
        elif losses == pace.losses:
            length, losses = length / 2.0, 0
        if length < SHORTEST:
            return length, before + pace.round
    return length, None


def box(space: Space, length: float, problem: Problem) -> Box:
    """Return the region around the best arm, its sides as long as the lengthscales have it.

    It holds at least the neighbouring values of a discrete parameter. A parameter without order,
    or one that the best arm does not have, is free.
    """
    centre = problem.observed[problem.ranking()[0]].numpy()
    half = 0.5 * length * _proportions(problem)
    low, high = np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)
    active = space.active(centre[None])[0]
    for j, axis in enumerate(space.axes):
        if not axis.ordered or not active[j]:
            low[j], high[j] = 0.0, 1.0
        elif axis.discrete:
            below, above = axis.beside(float(centre[j]))
            low[j], high[j] = min(low[j], below), max(high[j], above)
    return low, high


def _proportions(problem: Problem) -> Points:
    """Return the sides' proportions, shape (d,), of geometric mean 1."""
    models = (model for models in problem.models for model in models)
    logs = np.mean([m.lengthscales.log().mean((0, 1)).numpy() for m in models], axis=0)
    sides = np.exp(logs - np.median(logs)).clip(1.0 / UNEVEN, UNEVEN)
    return np.asarray(sides / np.exp(np.log(sides).mean()))
