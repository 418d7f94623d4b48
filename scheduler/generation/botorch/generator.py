"""Arms from a model: Gaussian processes and log noisy expected improvement.

One objective: ``improvement``; several: ``hypervolume``. Conditioned on the pending arms and,
within a request, on the arms proposed before.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from botorch.utils.sampling import manual_seed
from torch import Tensor

from scheduler.generation.botorch.acquire import Maximizer, Score
from scheduler.generation.botorch.feasibility import log_success
from scheduler.generation.botorch.fit import Belief
from scheduler.generation.botorch.gp import Fits, GaussianProcess
from scheduler.generation.botorch.hypervolume import LogHypervolumeImprovement, front
from scheduler.generation.botorch.improvement import LogImprovement
from scheduler.generation.botorch.pool import Box
from scheduler.generation.botorch.problem import Problem, complete, mixed, posed
from scheduler.generation.botorch.trouble import said_in_words
from scheduler.generation.polytope import Polytope
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Proposal
from scheduler.generation.space import GenerationError, Key, Points, Space
from scheduler.model.base import Value
from scheduler.model.definition import ExperimentDefinition

BELIEFS = (Belief(),)
"""What metrics may be like."""
NEAR = 0.1
"""How far, of each parameter's range, the neighbourhood of the best arm reaches."""
INCUMBENTS = 4
"""Best measured arms that are searched around, where there is one objective."""

# Sums over threads are split by their number; with one the arms are the same everywhere.
torch.set_num_threads(1)


class BotorchGenerator:
    """The arms of one experiment; keeps fitted models between requests, which change nothing."""

    def __init__(self, space: Space, beliefs: Sequence[Belief] = BELIEFS) -> None:
        """``beliefs``: acquisition functions and predictions are averaged over them."""
        self.space = space
        self._beliefs = beliefs
        self._fits = Fits(space)

    def generate(
        self, request: GenerationRequest, within: Callable[[Problem], Box] | None = None
    ) -> GenerationReply:
        """Return arms with predictions; raise GenerationError where the model is of no use.

        ``within``: the box to search, given the best explanation; elsewhere only where it holds
        no new arm.
        """
        seed = request.seed % 2**31
        with said_in_words(), manual_seed(seed):
            arms = self._arms(request, seed, within)
        return request.reply(arms, request.cursor)

    def predict(
        self, request: GenerationRequest, arms: Sequence[Mapping[str, Value]]
    ) -> list[Mapping[str, Mapping[str, float]]]:
        """Return what the model says of each arm: metric -> {mean, sem}, without noise.

        Raises GenerationError where it is of no use.
        """
        with said_in_words():
            problem = self._posed(request)
            return [problem.prediction(self._points([arm])) for arm in arms]

    def leave_one_out(
        self, request: GenerationRequest
    ) -> Mapping[str, list[tuple[float, float, float]]]:
        """Return, for each metric and observed arm in order, what was observed and predicted.

        (observed mean, mean and standard deviation predicted from all others, noise included).
        Only arms of which every metric that matters was measured. Raises GenerationError.
        """
        with said_in_words():
            problem = self._posed(request)
            parts = [_left_out(models) for models in zip(*problem.models, strict=True)]
        rows = complete(request.definition, request.observed)
        return {
            column.metric: [
                (row.metrics[column.metric][0], p["mean"], p["sem"])
                for row, p in zip(rows, map(column.natural, *predicted), strict=True)
            ]
            for column, predicted in zip(problem.columns, parts, strict=True)
        }

    def noise(self, request: GenerationRequest) -> Mapping[str, float]:
        """Return metric -> standard deviation of one observation: given, or inferred.

        Raises GenerationError where there is no model.
        """
        with said_in_words():
            models = self._posed(request, broad=False).models[0]
        return {m.column.metric: float(m.noise.mean().sqrt()) * m.column.scale for m in models}

    def _posed(self, request: GenerationRequest, *, broad: bool = True) -> Problem:
        if not self.space.dimension:
            raise GenerationError("no parameter can vary")
        return posed(self.space, self._fits, request, self._beliefs, broad=broad)

    def _arms(
        self,
        request: GenerationRequest,
        seed: int,
        within: Callable[[Problem], Box] | None,
    ) -> list[Proposal]:
        """Return the arms one after the other, each knowing those before it.

        By all that explains the data well, which looks where the best explanation sees nothing.
        Where that comes back to the best arm, the best explanation alone pins it down. A whole
        front keeps a search from settling in one place by itself.
        """
        rng = np.random.default_rng(seed)
        pending = list(request.pending)
        used = self.space.keys(
            request.seen, request.pending, (o.parameters for o in request.observed)
        )
        success = success_of(self._fits, self.space, request)
        several = len(request.definition.all_objectives) > 1
        problems = [
            self._posed(request, broad=b) for b in ((False,) if several else (True, False))
        ]
        box = None if within is None else within(problems[-1])
        arms = []
        for _ in range(request.trials * request.arms_per_trial):
            for problem in problems:
                value = _score(problem, self._points(pending), seed)
                score = value if success is None else _sum(value, success)
                incumbents = incumbents_of(problem)
                arm = self._best_new(score, rng, incumbents, used, box, front=several)
                point = self._points([arm])
                if not _is_near(point, incumbents[:1]):
                    break
            used.add(self.space.key(arm))
            pending.append(arm)
            insight = _insight(request.definition, problem, value, success, point)
            arms.append(Proposal(arm, problem.prediction(point), insight))
        return arms

    def _points(self, arms: Sequence[Mapping[str, Value]]) -> Tensor:
        return torch.as_tensor(self.space.encode(arms))

    def _best_new(
        self,
        score: Score,
        rng: np.random.Generator,
        incumbents: Points,
        used: set[Key],
        box: Box | None,
        *,
        front: bool,
    ) -> Mapping[str, Value]:
        """Return the best arm that does not exist, in the box if it holds any."""
        looked = 0
        for limits in (box, None) if box else (None,):
            search = Maximizer(self.space, score, rng, self._polytope, limits, front=front)
            points = search.ranked(incumbents)
            looked += len(points)
            for point in points:
                arm = self.space.arm(point)
                if arm is not None and self.space.key(arm) not in used:
                    return arm
        raise GenerationError(f"all of the {looked} arms looked at exist already")

    @functools.cached_property
    def _polytope(self) -> Polytope | None:
        return Polytope(self.space) if len(self.space.offsets) else None


class Mixture:
    """An acquisition function averaged over beliefs: what any of them hopes for counts."""

    def __init__(self, members: Sequence[LogImprovement | LogHypervolumeImprovement]) -> None:
        self._members = members

    def __call__(self, points: Tensor) -> Tensor:
        """Return the logarithm of the mean over beliefs, shape (n,), at points (n, d)."""
        logs = torch.stack([member(points) for member in self._members])
        return torch.logsumexp(logs, dim=0) - math.log(len(logs))

    def probabilities(self, points: Tensor) -> dict[str, float]:
        """Return how likely the first of ``points`` is to be feasible, and to be the best."""
        each = [m.probabilities(points) for m in self._members if isinstance(m, LogImprovement)]
        if not each:
            return {}
        feasible, better = (torch.stack(p).mean(0)[0] for p in zip(*each, strict=True))
        return {"p_feasible": float(feasible), "p_improve": float(better)}


def _score(problem: Problem, pending: Tensor, seed: int) -> Mixture:
    """Return the acquisition function, with ``pending`` (p, d) about to be measured."""
    kind = LogImprovement if len(problem.weights) == 1 else LogHypervolumeImprovement
    return Mixture([kind(problem, models, pending, seed) for models in problem.models])


def _sum(a: Score, b: Score) -> Score:
    return lambda points: a(points) + b(points)


def success_of(fits: Fits, space: Space, request: GenerationRequest) -> Score | None:
    """Return the logarithm of the chance to be measured; None where there is nothing to tell."""
    rows = complete(request.definition, request.observed)
    measured = space.encode([o.parameters for o in rows])
    return log_success(fits, measured, space.encode(request.failed))


def incumbents_of(problem: Problem) -> Points:
    """Return the observed points worth searching around, shape (k, d)."""
    chosen = problem.ranking()[:INCUMBENTS] if len(problem.weights) == 1 else front(problem)
    return np.asarray(problem.observed[chosen].numpy())


def _is_near(point: Tensor, incumbent: Points) -> bool:
    """Whether a point is in the neighbourhood of the best one."""
    return bool(np.abs(point.numpy() - incumbent).max() < NEAR)


def _insight(
    definition: ExperimentDefinition,
    problem: Problem,
    value: Mixture,
    success: Score | None,
    point: Tensor,
) -> dict[str, float]:
    """Return what the models knew of ``point`` (1, d) when it was chosen."""
    with torch.no_grad():
        chance = 1.0 if success is None else float(success(point).exp())
        insight = {name: p * chance for name, p in value.probabilities(point).items()}
        insight.setdefault("p_feasible", chance)
        insight["acquisition"] = float(value(point))
        if len(problem.weights) == 1:
            mean, _ = problem.moments(problem.observed[problem.ranking()[:1]])
            insight["incumbent"] = problem.objective(definition, mean[0])
    return {name: number for name, number in insight.items() if math.isfinite(number)}


def _left_out(models: Sequence[GaussianProcess]) -> tuple[list[float], list[float]]:
    """Return what the others predict of each observation, by a mixture of ``models``."""
    parts = [model.leave_one_out() for model in models]
    means, deviations = (torch.cat(part) for part in zip(*parts, strict=True))
    mean, deviation = mixed(means, deviations)
    return mean.tolist(), deviation.tolist()
