"""Arms from a model: Gaussian processes and log noisy expected improvement.

One objective: :mod:`scheduler.generation.improvement`; several: BoTorch's qLogNEHVI. Conditioned
on the pending arms and, within a request, on the arms proposed before.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from botorch.exceptions.errors import BotorchError
from botorch.utils.sampling import manual_seed
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from scheduler.generation.acquire import Maximizer, Score
from scheduler.generation.feasibility import log_success
from scheduler.generation.gp import Fits
from scheduler.generation.improvement import LogImprovement
from scheduler.generation.polytope import Polytope
from scheduler.generation.problem import Problem, complete, posed
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Proposal
from scheduler.generation.sobol import grouped
from scheduler.generation.space import GenerationError, Key, Points, Space
from scheduler.model.base import Value

NUMERICAL_TROUBLE = (BotorchError, NotPSDError, RuntimeError)
"""What a fit or a posterior raises where a matrix is beyond repair, or memory ends."""
INCUMBENTS = 4
"""Best measured arms that are searched around, where there is one objective."""

# Sums over threads are split by their number; with one the arms are the same everywhere.
torch.set_num_threads(1)


class BotorchGenerator:
    """The arms of one experiment; keeps fitted models between requests, which change nothing."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._fits = Fits(space)

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Return arms with predictions; raise GenerationError where the model is of no use."""
        seed = request.seed % 2**31
        try:
            with manual_seed(seed):
                arms = self._arms(request, self._posed(request), seed)
        except NUMERICAL_TROUBLE as error:
            raise GenerationError(_said(error)) from error
        return GenerationReply(
            "botorch", grouped(arms, request.arms_per_trial), cursor=request.cursor
        )

    def predict(
        self, request: GenerationRequest, arms: Sequence[Mapping[str, Value]]
    ) -> list[Mapping[str, Mapping[str, float]]]:
        """Return what the model says of each arm: metric -> {mean, sem}, without noise.

        Raises GenerationError where it is of no use.
        """
        try:
            problem = self._posed(request)
            return [_prediction(problem, self._points([arm])) for arm in arms]
        except NUMERICAL_TROUBLE as error:
            raise GenerationError(_said(error)) from error

    def leave_one_out(
        self, request: GenerationRequest
    ) -> Mapping[str, list[tuple[float, float, float]]]:
        """Return, for each metric and observed arm in order, what was observed and predicted.

        (observed mean, mean and standard deviation predicted from all others, noise included).
        Only arms of which every metric that matters was measured. Raises GenerationError.
        """
        try:
            problem = self._posed(request)
            parts = {m.column.metric: (m.column, *m.leave_one_out()) for m in problem.models}
        except NUMERICAL_TROUBLE as error:
            raise GenerationError(_said(error)) from error
        rows = complete(request.definition, request.observed)
        found = {}
        for metric, (column, means, deviations) in parts.items():
            predicted = map(column.natural, means.tolist(), deviations.tolist())
            found[metric] = [
                (row.metrics[metric][0], p["mean"], p["sem"])
                for row, p in zip(rows, predicted, strict=True)
            ]
        return found

    def noise(self, request: GenerationRequest) -> Mapping[str, float]:
        """Return metric -> standard deviation of one observation: given, or inferred.

        Raises GenerationError where there is no model.
        """
        try:
            models = self._posed(request).models
        except NUMERICAL_TROUBLE as error:
            raise GenerationError(_said(error)) from error
        return {m.column.metric: float(m.noise.mean().sqrt()) * m.column.scale for m in models}

    def _posed(self, request: GenerationRequest) -> Problem:
        if not self.space.dimension:
            raise GenerationError("no parameter can vary")
        (problem,) = posed(self.space, self._fits, request)
        return problem

    def _arms(self, request: GenerationRequest, problem: Problem, seed: int) -> list[Proposal]:
        """Return the arms one after the other, each knowing those before it."""
        rng = np.random.default_rng(seed)
        pending = list(request.pending)
        used = self.space.keys(
            request.seen, request.pending, (o.parameters for o in request.observed)
        )
        incumbents = _incumbents(problem)
        success = log_success(
            self._fits, problem.columns[0].points, self.space.encode(request.failed)
        )
        arms = []
        for _ in range(request.trials * request.arms_per_trial):
            value = _score(problem, self._points(pending), seed)
            score = value if success is None else _sum(value, success)
            search = Maximizer(self.space, score, rng, self._polytope)
            arm = self._first_new(search.ranked(incumbents), used)
            used.add(self.space.key(arm))
            pending.append(arm)
            point = self._points([arm])
            insight = _insight(request, problem, value, success, point)
            arms.append(Proposal(arm, _prediction(problem, point), insight))
        return arms

    def _points(self, arms: Sequence[Mapping[str, Value]]) -> Tensor:
        return torch.as_tensor(self.space.encode(arms))

    def _first_new(self, points: Points, used: set[Key]) -> Mapping[str, Value]:
        for point in points:
            arm = self.space.arm(point)
            if arm is not None and self.space.key(arm) not in used:
                return arm
        raise GenerationError(f"all of the {len(points)} arms looked at exist already")

    @functools.cached_property
    def _polytope(self) -> Polytope | None:
        return Polytope(self.space) if len(self.space.offsets) else None


def _score(problem: Problem, pending: Tensor, seed: int) -> Score:
    """Return the acquisition function, with ``pending`` (p, d) about to be measured."""
    if len(problem.weights) == 1:
        return LogImprovement(problem, pending, seed)
    from scheduler.generation.hypervolume import log_hypervolume_improvement

    return log_hypervolume_improvement(problem, pending, seed)


def _sum(a: Score, b: Score) -> Score:
    return lambda points: a(points) + b(points)


def _incumbents(problem: Problem) -> Points:
    """Return the observed points worth searching around, shape (k, d)."""
    if len(problem.weights) == 1:
        chosen = problem.ranking()[:INCUMBENTS]
    else:
        from scheduler.generation.hypervolume import front

        chosen = front(problem)
    return np.asarray(problem.observed[chosen].numpy())


def _prediction(problem: Problem, point: Tensor) -> dict[str, dict[str, float]]:
    """Return what the models say of ``point`` (1, d), in each metric's own units."""
    mean, deviation = problem.moments(point)
    return {
        column.metric: column.natural(float(mean[0, k]), float(deviation[0, k]))
        for k, column in enumerate(problem.columns)
    }


def _insight(
    request: GenerationRequest,
    problem: Problem,
    value: Score,
    success: Score | None,
    point: Tensor,
) -> dict[str, float]:
    """Return what the models knew of ``point`` (1, d) when it was chosen."""
    with torch.no_grad():
        insight = {"acquisition": float(value(point))}
        chance = 1.0 if success is None else float(success(point).exp())
        if isinstance(value, LogImprovement):
            feasible, better = value.probabilities(point)
            best = problem.ranking()[:1]
            mean, _ = problem.moments(problem.observed[best])
            insight["p_feasible"] = float(feasible) * chance
            insight["p_improve"] = float(better) * chance
            insight["incumbent"] = problem.objective(request.definition, mean[0])
        elif success is not None:
            insight["p_feasible"] = chance
    return {name: number for name, number in insight.items() if math.isfinite(number)}


def _said(error: Exception) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return f"numerical trouble: {first}"
