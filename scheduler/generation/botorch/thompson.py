"""Arms that are the best in draws of the model: Thompson sampling.

Joint draws of all metrics over a pool of points; in each, one point wins (Thompson 1933; Kandasamy
and others 2018 for several at once). Where outcomes are constrained, the best of what is feasible
in that draw wins, or what passes the bounds least (Eriksson and Poloczek 2021). Several objectives
are scalarized in a random direction in each draw (Golovin and Zhang 2020).
"""

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from scheduler.generation.botorch.generator import BELIEFS, incumbents_of, success_of
from scheduler.generation.botorch.gp import Fits, GaussianProcess, cholesky
from scheduler.generation.botorch.hypervolume import reference
from scheduler.generation.botorch.pool import Pool
from scheduler.generation.botorch.problem import Problem, posed
from scheduler.generation.botorch.trouble import said_in_words
from scheduler.generation.polytope import Polytope
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Proposal
from scheduler.generation.space import GenerationError, Key, Points, Space
from scheduler.model.base import Value

DRAWS = 512
"""Draws whose winners make the arms of a batch trial; those of a trial of one arm are one."""
_NUGGET = 1e-8


class ThompsonGenerator:
    """The arms of one experiment; keeps fitted models between requests, which change nothing."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._fits = Fits(space)

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Return arms, with weights in a batch trial; raise GenerationError if there are none."""
        with said_in_words():
            return request.reply(self._arms(request), request.cursor)

    def _arms(self, request: GenerationRequest) -> list[Proposal]:
        if not self.space.dimension:
            raise GenerationError("no parameter can vary")
        problem = posed(self.space, self._fits, request, BELIEFS)
        rng = np.random.default_rng(request.seed)
        arms, points = self._pool(request, problem, rng)
        if len(arms) < request.count:
            raise GenerationError(f"only {len(arms)} new arms were found")
        at = torch.as_tensor(points)
        chance = success_of(self._fits, self.space, request)
        allowed = None if chance is None else chance(at).exp()
        random = torch.Generator().manual_seed(request.seed % 2**31)
        proposals: list[Proposal] = []
        for _ in range(request.trials):
            size = request.arms_per_trial
            scores = _scores(problem, at, DRAWS if size > 1 else 1, allowed, random)
            chosen, wins = winners(scores, size)
            for k, won in zip(chosen, weights(wins), strict=True):
                prediction = problem.prediction(at[k : k + 1])
                proposals.append(Proposal(arms[k], prediction, weight=won))
            left = [k for k in range(len(arms)) if k not in set(chosen)]
            arms, at = [arms[k] for k in left], at[left]
            allowed = None if allowed is None else allowed[left]
        return proposals

    def _pool(
        self, request: GenerationRequest, problem: Problem, rng: np.random.Generator
    ) -> tuple[list[Mapping[str, Value]], Points]:
        """Return the arms that may win, each new and admitted, and their points (n, d)."""
        incumbents = incumbents_of(problem)
        pool = Pool(self.space, rng, self._polytope)
        used = self.space.keys(
            request.seen, request.pending, (o.parameters for o in request.observed)
        )
        arms: dict[Key, Mapping[str, Value]] = {}
        for point in np.vstack([pool.uniform(incumbents), pool.near(incumbents)]):
            arm = self.space.arm(point)
            if arm is not None and self.space.key(arm) not in used:
                arms.setdefault(self.space.key(arm), arm)
        found = list(arms.values())
        return found, self.space.encode(found)

    @functools.cached_property
    def _polytope(self) -> Polytope | None:
        return Polytope(self.space) if len(self.space.offsets) else None


def winners(scores: Tensor, count: int) -> tuple[list[int], list[int]]:
    """Return the ``count`` columns of ``scores`` (draws, n) that win most draws, and how many.

    Where fewer win any, those follow that win once the others are left out: with no win.
    """
    scores = scores.clone()
    chosen: list[int] = []
    won: list[int] = []
    while len(chosen) < count:
        wins = torch.bincount(scores.argmax(dim=1), minlength=scores.shape[1])
        order = torch.argsort(-wins, stable=True)[: count - len(chosen)]
        best = [int(k) for k in order if wins[k] > 0]
        won += [0 if chosen else int(wins[k]) for k in best]
        chosen = [*chosen, *best]
        scores[:, best] = -math.inf
    return chosen, won


def weights(wins: Sequence[int]) -> list[float]:
    """Return shares of wins, of mean 1; an arm that never won counts as one that did once."""
    counts = [max(1, won) for won in wins]
    return [count * len(counts) / sum(counts) for count in counts]


def _scores(
    problem: Problem, points: Tensor, count: int, allowed: Tensor | None, random: torch.Generator
) -> Tensor:
    """Return how good points (n, d) are in each of ``count`` draws, shape (count, n).

    ``allowed``: the probabilities to be measured at all, (n,).
    """
    outcomes = _drawn(problem, points, count, random)
    score = _scalarized(problem, outcomes, random)
    excess = torch.zeros_like(score)
    for limit in problem.limits:
        excess = excess + limit.excess(outcomes).clamp_min(0.0)
    if allowed is not None:
        # One threshold a draw: a region is out as a whole, as often as arms fail there.
        threshold = torch.rand((count, 1), dtype=torch.double, generator=random)
        excess = excess + (threshold - allowed).clamp_min(0.0)
    # Whatever is feasible is better than all that is not.
    worst = score.amin(dim=1, keepdim=True)
    return torch.where(excess > 0, worst - excess, score)


def _drawn(problem: Problem, points: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Return joint draws of the columns' values, shape (count, n, columns)."""
    shares = [[] for _ in problem.columns]  # type: list[list[Tensor]]
    for models in problem.models:
        each = -(-count // len(problem.models))
        for column, model in zip(shares, models, strict=True):
            column.append(_of(model, points, each, random))
    return torch.stack([torch.cat(column)[:count] for column in shares], dim=-1)


def _of(model: GaussianProcess, points: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Return draws of one process, its members in turns, shape (count, n)."""
    mean, covariance = model.joint(points)
    root = cholesky(covariance, (_NUGGET * model.outputscale).expand(-1, len(points)))
    members = len(mean)
    rounds = -(-count // members)
    normals = torch.randn((members, rounds, len(points)), dtype=torch.double, generator=random)
    draws = mean[:, None] + normals @ root.mT
    first = int(torch.randint(members, (1,), generator=random))
    return draws.roll(first, dims=0).transpose(0, 1).flatten(0, 1)[:count]


def _scalarized(problem: Problem, outcomes: Tensor, random: torch.Generator) -> Tensor:
    """Return one objective of outcomes (draws, n, columns), shape (draws, n)."""
    objectives = problem.wanted(outcomes)
    count, _, size = objectives.shape
    if size == 1:
        return objectives[..., 0]
    direction = torch.randn((count, 1, size), dtype=torch.double, generator=random).abs()
    direction = direction / direction.norm(dim=-1, keepdim=True)
    score: Tensor = ((objectives - reference(problem)) / direction.clamp_min(1e-6)).amin(dim=-1)
    return score
