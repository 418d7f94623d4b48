"""Log noisy expected hypervolume improvement of several objectives, under outcome constraints.

The quantity of qLogNEHVI (Daulton, Balandat, Bakshy 2021; Ament et al. 2023) for one arm more.
Given a draw of all arms so far, what is not dominated is a union of boxes, and the volume that one
more arm is expected to take of a box is a product of one-dimensional improvements, known in closed
form; so nothing of the arm itself is drawn. Objectives are taken as independent, as their models
are.
"""

from collections.abc import Sequence

import torch
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from scheduler.generation.draws import Futures, log_average
from scheduler.generation.gp import GaussianProcess
from scheduler.generation.problem import Problem
from scheduler.generation.standard import log_improvement

DRAWS = 8
"""Of each member: every one has its own boxes."""


class LogHypervolumeImprovement:
    """The acquisition function: from points (n, d) to values (n,)."""

    def __init__(
        self, problem: Problem, models: Sequence[GaussianProcess], pending: Tensor, seed: int
    ) -> None:
        """``models``: of one belief; ``pending``: points (p, d) that are about to be measured."""
        self._futures = Futures(problem, models, pending, DRAWS, seed)
        corner = reference(problem)
        known = torch.where(self._futures.feasible[..., None], self._futures.objectives, corner)
        boxes = [
            FastNondominatedPartitioning(corner, one).get_hypercell_bounds()
            for one in known.flatten(0, 1)
        ]
        most = max(box.shape[1] for box in boxes)
        # An empty box, of no height, adds nothing.
        padded = [torch.cat([b, corner.expand(2, most - b.shape[1], -1)], 1) for b in boxes]
        shape = (2, *known.shape[:2], most, known.shape[-1])
        self._lower, self._upper = torch.stack(padded, dim=1).reshape(shape)[:, :, None]

    def __call__(self, points: Tensor) -> Tensor:
        """Return the logarithm of the expected feasible gain of hypervolume, shape (n,)."""
        means, deviations, log_feasible = self._futures.moments(points)
        means, deviations = means[..., None, :], deviations[..., None, :]
        above = log_improvement(means - self._lower, deviations)
        beyond = log_improvement(means - self._upper, deviations)
        volumes = (above + _log_of_rest(beyond - above)).sum(-1)
        return log_average(torch.logsumexp(volumes, dim=-1) + log_feasible)


def reference(problem: Problem) -> Tensor:
    """Return the point that hypervolume is measured from, shape (objectives,).

    The thresholds, where there are any; inferred from the front for the other objectives.
    """
    if not torch.isnan(problem.thresholds).any():
        return problem.thresholds
    mean, _ = problem.moments(problem.observed)
    values, feasible = problem.wanted(mean), problem.feasible(mean)
    values = values[feasible] if feasible.any() else values
    best = values[is_non_dominated(values)]
    inferred: Tensor = infer_reference_point(best, max_ref_point=problem.thresholds)
    return inferred


def front(problem: Problem) -> Tensor:
    """Return the indices of the observed points that are on the front by the models."""
    mean, _ = problem.moments(problem.observed)
    feasible = problem.feasible(mean)
    kept = torch.arange(len(mean))[feasible if feasible.any() else slice(None)]
    return kept[is_non_dominated(problem.wanted(mean)[kept])]


def _log_of_rest(log_share: Tensor) -> Tensor:
    """Return ``log(1 - exp(log_share))`` of shares at most 1, without losing small rests."""
    share = log_share.clamp_max(-1e-12)
    near_one = share > -0.693
    return torch.where(
        near_one,
        torch.log(-torch.expm1(torch.where(near_one, share, -1.0))),
        torch.log1p(-torch.exp(torch.where(near_one, -1.0, share))),
    )
