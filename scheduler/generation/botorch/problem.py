"""What a request comes to: a fitted model for each metric, and what is wanted of them."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.generation.botorch.column import FARTHEST, Column, standardized
from scheduler.generation.botorch.fit import Belief
from scheduler.generation.botorch.gp import Fits, GaussianProcess
from scheduler.generation.protocol import GenerationRequest, Measured
from scheduler.generation.space import GenerationError, Points, Space
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.objectives import Objective

_AVERSION = 10.0
"""How many standard deviations of the objective one of a constraint's excess is worth."""


@dataclass(frozen=True)
class Limit:
    """An outcome constraint in the models' units: ``sign * (outcome - bound) <= 0``."""

    column: int
    sign: float
    bound: float

    def excess(self, outcomes: Tensor) -> Tensor:
        """Return by how much outcomes, shape (..., columns), pass the bound, shape (...)."""
        return self.sign * (outcomes[..., self.column] - self.bound)


@dataclass(frozen=True)
class Problem:
    """Models and objectives, larger is better; all in the models' units."""

    columns: tuple[Column, ...]
    models: tuple[tuple[GaussianProcess, ...], ...]
    """For each belief about the metrics, the models of each column."""
    weights: Tensor
    """Shape (objectives, columns): each objective as a sum of the columns."""
    thresholds: Tensor
    """Shape (objectives,), NaN where there is none."""
    limits: tuple[Limit, ...]

    @property
    def observed(self) -> Tensor:
        """The points that were measured, shape (n, d)."""
        return self.models[0][0].points

    def moments(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the columns' means and standard deviations, both (n, columns), at (n, d).

        Those of the mixture of all beliefs.
        """
        parts = [[model.posterior(points) for model in models] for models in self.models]
        return mixed(
            torch.cat([torch.stack([mean for mean, _ in part], -1) for part in parts]),
            torch.cat([torch.stack([sd for _, sd in part], -1) for part in parts]),
        )

    def prediction(self, point: Tensor) -> dict[str, dict[str, float]]:
        """Return what the models say of ``point`` (1, d), in each metric's own units."""
        mean, deviation = self.moments(point)
        return {
            column.metric: column.natural(float(mean[0, k]), float(deviation[0, k]))
            for k, column in enumerate(self.columns)
        }

    def wanted(self, outcomes: Tensor) -> Tensor:
        """Return the objectives, shape (..., objectives), of outcomes, shape (..., columns)."""
        return outcomes @ self.weights.T

    def feasible(self, outcomes: Tensor) -> Tensor:
        """Return which outcomes, shape (..., columns), are within all limits, shape (...)."""
        held = torch.ones(outcomes.shape[:-1], dtype=torch.bool)
        for limit in self.limits:
            held &= limit.excess(outcomes) <= 0
        return held

    def ranking(self) -> Tensor:
        """Return the indices of the observed points, those first that are best by the models.

        With one objective; a point that the models think infeasible is put back by how much.
        """
        mean, _ = self.moments(self.observed)
        worth = self.wanted(mean)[:, 0]
        for limit in self.limits:
            worth = worth - _AVERSION * limit.excess(mean).clamp_min(0.0)
        return torch.argsort(-worth, stable=True)

    def objective(self, definition: ExperimentDefinition, outcomes: Tensor) -> float:
        """Return the one objective of outcomes, shape (columns,), in its own units."""
        means = {
            column.metric: column.natural(float(value), 0.0)["mean"]
            for column, value in zip(self.columns, outcomes, strict=True)
        }
        value = definition.all_objectives[0].value(means)
        return math.nan if value is None else value


def mixed(means: Tensor, deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of an even mixture over the first dimension."""
    mean = means.mean(0)
    variance = deviations.square().mean(0) + (means - mean).square().mean(0)
    return mean, variance.sqrt()


def posed(
    space: Space,
    fits: Fits,
    request: GenerationRequest,
    beliefs: Sequence[Belief],
    *,
    broad: bool = True,
) -> Problem:
    """Return the problem, with models fitted under each of several beliefs.

    ``broad``: considering all that explains the data well, not what explains it best alone.

    Raises GenerationError where a metric has taught nothing yet.
    """
    definition = request.definition
    columns = _columns(space, request)
    _refuse_flat(definition, columns)
    rows = [_row(objective, columns) for objective in definition.all_objectives]
    weights = torch.tensor([row for row, _ in rows], dtype=torch.double)
    thresholds = torch.tensor([threshold for _, threshold in rows], dtype=torch.double)
    models = tuple(
        tuple(fits.model(c, belief, broad=broad) for c in columns) for belief in beliefs
    )
    return Problem(columns, models, weights, thresholds, _limits(request, columns))


def _refuse_flat(definition: ExperimentDefinition, columns: Sequence[Column]) -> None:
    """Raise GenerationError where no objective has told one arm from another."""
    wanted = {metric for o in definition.all_objectives for metric in o.weights}
    if all(column.flat for column in columns if column.metric in wanted):
        raise GenerationError(f"all observations of {' and of '.join(sorted(wanted))} are equal")


def complete(definition: ExperimentDefinition, observed: Sequence[Measured]) -> list[Measured]:
    """Return the arms of which every metric that matters was measured, as a finite number."""
    needed = definition.required_metrics
    return [o for o in observed if needed <= o.metrics.keys() and _finite(o, needed)]


def _finite(measured: Measured, metrics: Collection[str]) -> bool:
    return all(math.isfinite(x or 0.0) for name in metrics for x in measured.metrics[name])


def _columns(space: Space, request: GenerationRequest) -> tuple[Column, ...]:
    """Return what was measured of objectives, then of metrics that are only constrained."""
    signs: dict[str, float] = {}
    alone: set[str] = set()
    for o in request.definition.all_objectives:
        down = -1.0 if o.minimize else 1.0
        signs |= {metric: math.copysign(1.0, down * w) for metric, w in o.weights.items()}
        alone |= set(o.weights) if len(o.weights) == 1 else set()
    bounds: dict[str, list[float]] = {}
    for constraint in request.definition.outcome_constraints:
        bound = constraint.limit(request.baseline)
        bounds.setdefault(constraint.metric, []).extend([] if bound is None else [bound])
    rows = complete(request.definition, request.observed)
    points: Points = space.encode([o.parameters for o in rows])
    return tuple(
        standardized(
            metric,
            points,
            [o.metrics[metric] for o in rows],
            metric in alone,
            signs.get(metric, 1.0),
            () if metric in signs else bounds[metric],
        )
        for metric in dict.fromkeys([*signs, *bounds])
    )


def _row(objective: Objective, columns: Sequence[Column]) -> tuple[list[float], float]:
    """Return an objective as weights of the columns, and its threshold in the same units.

    Larger is better; NaN where there is no threshold.
    """
    down = -1.0 if objective.minimize else 1.0
    used = [(c, down * objective.weights.get(c.metric, 0.0) * c.sign) for c in columns]
    unit = math.hypot(*(weight * c.scale for c, weight in used))
    if not (math.isfinite(unit) and unit > 0):
        raise GenerationError(f"the values of {objective.name} are too far apart to compare")
    row = [weight * c.scale / unit for c, weight in used]
    if objective.threshold is None:
        return row, math.nan
    threshold = (down * objective.threshold - sum(w * c.shift for c, w in used)) / unit
    return row, max(-FARTHEST, min(threshold, FARTHEST))


def _limits(request: GenerationRequest, columns: Sequence[Column]) -> tuple[Limit, ...]:
    """Return the outcome constraints; a relative one once the status quo is measured."""
    place = {column.metric: k for k, column in enumerate(columns)}
    limits = []
    for constraint in request.definition.outcome_constraints:
        bound = constraint.limit(request.baseline)
        if bound is not None:
            column = columns[place[constraint.metric]]
            sign = column.sign * (1.0 if constraint.op == "<=" else -1.0)
            limits.append(Limit(place[constraint.metric], sign, column.standard(bound)))
    return tuple(limits)
