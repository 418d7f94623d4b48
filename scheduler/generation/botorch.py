"""Arms from a model: Gaussian processes and log noisy expected improvement (BoTorch).

qLogNEI for one objective, qLogNEHVI for several (Ament et al. 2023), conditioned on the pending
arms and, within a request, on the arms proposed before.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective import logei as multi_objective
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.models.model import Model
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from botorch.utils.sampling import manual_seed
from torch import Tensor

from scheduler.generation.acquire import Maximizer, Score
from scheduler.generation.gp import NUMERICAL_TROUBLE, Column, Fits, standardized
from scheduler.generation.polytope import Polytope
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Proposal
from scheduler.generation.sobol import grouped
from scheduler.generation.space import GenerationError, Points, Space
from scheduler.model.base import Value
from scheduler.model.objectives import Objective

SAMPLES = 128
"""Draws of the posterior that the acquisition functions average over."""
SOFTNESS = 1e-3
"""Width, in standard deviations of the metric, of the step at an outcome constraint's bound."""

Constraint = Callable[[Tensor], Tensor]
"""From outcomes, shape (..., m), to a value that is at most 0 where it holds, shape (...)."""

# BoTorch would compile C++ at the first use of qLogNEHVI: minutes, under a lock that a killed
# process leaves behind for all later ones to wait on, and for this CPU's own arithmetic.
multi_objective._load_attempted = True

# Sums over threads are split by their number; with one the arms are the same everywhere.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Problem:
    """What one request comes to: a fitted model and what is wanted of it, larger is better."""

    columns: tuple[Column, ...]
    """Objectives first."""
    weights: Tensor
    """Shape (objectives, columns): each objective as a sum of the columns, larger is better."""
    model: Model
    constraints: tuple[Constraint, ...]
    thresholds: Tensor
    """Shape (objectives,), NaN where there is none."""
    observed: Tensor
    """Shape (n, d)."""

    def wanted(self, outcomes: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: ARG002, N803
        """Return the objectives, shape (..., objectives), of outcomes, shape (..., columns).

        BoTorch calls it with the points, by this name.
        """
        return outcomes @ self.weights.T

    def first(self, outcomes: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: ARG002, N803
        """Return the one objective, shape (...)."""
        return outcomes @ self.weights[0]


class BotorchGenerator:
    """The arms of one experiment; keeps fitted models between requests, which change nothing."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._fits = Fits(space)

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Return arms with predictions; raise GenerationError where the model is of no use."""
        if not self.space.dimension:
            raise GenerationError("no parameter can vary")
        seed = request.seed % 2**31
        try:
            problem = self._problem(request)
            with manual_seed(seed):
                arms = self._arms(request, problem, seed)
        except NUMERICAL_TROUBLE as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise GenerationError(f"numerical trouble: {first}") from error
        return GenerationReply(
            "botorch", grouped(arms, request.arms_per_trial), cursor=request.cursor
        )

    def _problem(self, request: GenerationRequest) -> Problem:
        definition = request.definition
        columns = _columns(self.space, request)
        models = [self._fits.model(column) for column in columns]
        by_metric = {column.metric: k for k, column in enumerate(columns)}
        constraints = []
        for constraint in definition.outcome_constraints:
            limit = constraint.limit(request.baseline)
            if limit is not None:  # A relative one binds once the status quo is measured.
                k = by_metric[constraint.metric]
                flip = columns[k].sign * (1.0 if constraint.op == "<=" else -1.0)
                constraints.append(_at_most(k, flip, columns[k].standard(limit)))
        rows = [_row(objective, columns) for objective in definition.all_objectives]
        return Problem(
            columns,
            torch.tensor([row for row, _ in rows], dtype=torch.double),
            models[0] if len(models) == 1 else ModelListGP(*models),
            tuple(constraints),
            torch.tensor([threshold for _, threshold in rows], dtype=torch.double),
            torch.as_tensor(self.space.encode([o.parameters for o in request.observed])),
        )

    def _arms(self, request: GenerationRequest, problem: Problem, seed: int) -> list[Proposal]:
        """Return the arms one after the other, each knowing those before it."""
        rng = np.random.default_rng(seed)
        pending = list(request.pending)
        used = self.space.keys(
            request.seen, request.pending, (o.parameters for o in request.observed)
        )
        incumbents = _incumbents(problem)
        arms = []
        for _ in range(request.trials * request.arms_per_trial):
            score = _score(problem, self._points(pending), seed)
            search = Maximizer(self.space, score, rng, self._polytope)
            arm = self._first_new(search.ranked(incumbents), used)
            used.add(self.space.key(arm))
            pending.append(arm)
            arms.append(Proposal(arm, _prediction(problem, self._points([arm]))))
        return arms

    def _points(self, arms: list[Mapping[str, Value]]) -> Tensor:
        return torch.as_tensor(self.space.encode(arms))

    def _first_new(self, points: Points, used: set[tuple[Value, ...]]) -> Mapping[str, Value]:
        for point in points:
            arm = self.space.arm(point)
            if arm is not None and self.space.key(arm) not in used:
                return arm
        raise GenerationError(f"all of the {len(points)} arms looked at exist already")

    @functools.cached_property
    def _polytope(self) -> Polytope | None:
        return Polytope(self.space) if len(self.space.offsets) else None


def _columns(space: Space, request: GenerationRequest) -> tuple[Column, ...]:
    """Return what was measured of objectives, then of metrics that are only constrained."""
    signs: dict[str, float] = {}
    alone: set[str] = set()
    for o in request.definition.all_objectives:
        down = -1.0 if o.minimize else 1.0
        signs |= {metric: math.copysign(1.0, down * w) for metric, w in o.weights.items()}
        alone |= set(o.weights) if len(o.weights) == 1 else set()
    constrained = [c.metric for c in request.definition.outcome_constraints]
    columns = []
    for metric in dict.fromkeys([*signs, *constrained]):
        rows = [o for o in request.observed if metric in o.metrics]
        points = space.encode([o.parameters for o in rows])
        measured = [o.metrics[metric] for o in rows]
        sign = signs.get(metric, 1.0)
        columns.append(standardized(metric, points, measured, metric in alone, sign))
    return tuple(columns)


def _row(objective: Objective, columns: tuple[Column, ...]) -> tuple[list[float], float]:
    """Return an objective as weights of the columns, and its threshold in the same units.

    Larger is better; NaN where there is no threshold.
    """
    down = -1.0 if objective.minimize else 1.0
    used = [(c, down * objective.weights.get(c.metric, 0.0) * c.sign) for c in columns]
    unit = math.hypot(*(weight * c.scale for c, weight in used))
    row = [weight * c.scale / unit for c, weight in used]
    if objective.threshold is None:
        return row, math.nan
    return row, (down * objective.threshold - sum(w * c.shift for c, w in used)) / unit


def _at_most(k: int, flip: float, bound: float) -> Constraint:
    return lambda outcomes: flip * (outcomes[..., k] - bound)


def _posterior_mean(problem: Problem) -> tuple[Tensor, Tensor]:
    """Return the objectives' means at the observed points, shape (n, m), and which satisfy all."""
    mean, _ = _moments(problem, problem.observed)
    feasible = torch.ones(len(mean), dtype=torch.bool)
    for constraint in problem.constraints:
        feasible &= constraint(mean) <= 0
    return mean, feasible


def _incumbents(problem: Problem) -> Points:
    """Return the observed points worth searching around, shape (k, d)."""
    mean, feasible = _posterior_mean(problem)
    if len(problem.weights) > 1:
        chosen = is_non_dominated(problem.wanted(mean)) & feasible
        front = problem.observed[chosen if chosen.any() else slice(None)]
        return np.asarray(front.numpy())
    worth = problem.first(mean)
    for constraint in problem.constraints:
        worth = worth - 10.0 * constraint(mean).clamp_min(0.0)
    return np.asarray(problem.observed[torch.argsort(-worth, stable=True)[:4]].numpy())


def _score(problem: Problem, pending: Tensor, seed: int) -> Score:
    """Return the acquisition function, with ``pending`` (p, d) about to be measured."""
    shared: dict[str, Any] = {
        "model": problem.model,
        "X_baseline": problem.observed,
        "sampler": SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed),
        "constraints": list(problem.constraints) or None,
        "eta": SOFTNESS,
        "X_pending": pending if len(pending) else None,
        "prune_baseline": True,
    }
    score: Score
    if len(problem.weights) == 1:
        objective = GenericMCObjective(problem.first)
        score = qLogNoisyExpectedImprovement(objective=objective, **shared)
    else:
        wanted = GenericMCMultiOutputObjective(problem.wanted)
        score = multi_objective.qLogNoisyExpectedHypervolumeImprovement(
            ref_point=_reference(problem), objective=wanted, **shared
        )
    return score


def _reference(problem: Problem) -> Tensor:
    """Return the point that hypervolume is measured from, shape (objectives,)."""
    if not torch.isnan(problem.thresholds).any():
        return problem.thresholds
    mean, feasible = _posterior_mean(problem)
    values = problem.wanted(mean)
    values = values[feasible] if feasible.any() else values
    front = values[is_non_dominated(values)]
    inferred: Tensor = infer_reference_point(front, max_ref_point=problem.thresholds)
    return inferred


def _prediction(problem: Problem, point: Tensor) -> dict[str, dict[str, float]]:
    """Return what the model says of ``point`` (1, d), in each metric's own units."""
    mean, deviation = _moments(problem, point)
    return {
        column.metric: column.natural(float(mean[0, k]), float(deviation[0, k]))
        for k, column in enumerate(problem.columns)
    }


def _moments(problem: Problem, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outcomes' means and standard deviations at ``points``, shapes (n, m)."""
    with torch.no_grad():
        posterior: Any = problem.model.posterior(points)
        return posterior.mean, posterior.variance.clamp_min(0.0).sqrt()
