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

from scheduler.generation.botorch.draws import Futures, log_average
from scheduler.generation.botorch.gp import GaussianProcess
from scheduler.generation.botorch.problem import Problem
from scheduler.generation.botorch.standard import log_improvement

DRAWS = 8
"""Of each member: every one has its own boxes."""
BOXES = 1024
"""In all: a front of four objectives has ten for each of its points, and fewer draws then."""


class LogHypervolumeImprovement:
    """The acquisition function: from points (n, d) to values (n,)."""

    def __init__(
        self, problem: Problem, models: Sequence[GaussianProcess], pending: Tensor, seed: int
    ) -> None:
        """``models``: of one belief; ``pending``: points (p, d) that are about to be measured."""
        self._futures = Futures(problem, models, pending, DRAWS, seed)
        corner = reference(problem)
        known = torch.where(self._futures.feasible[..., None], self._futures.objectives, corner)
        self._lower, self._upper = _boxes(corner, known)
        self._draws = self._lower.shape[2]

    def __call__(self, points: Tensor) -> Tensor:
        """Return the logarithm of the expected feasible gain of hypervolume, shape (n,)."""
        means, deviations, log_feasible = self._futures.moments(points)
        means, log_feasible = means[:, :, : self._draws], log_feasible[..., : self._draws]
        means, deviations = means[..., None, :], deviations[..., None, :]
        above = log_improvement(means - self._lower, deviations)
        beyond = log_improvement(means - self._upper, deviations)
        volumes = (above + _log_of_rest(beyond - above)).sum(-1)
        return log_average(torch.logsumexp(volumes, dim=-1) + log_feasible)


def _boxes(corner: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower and upper corners of what each draw leaves undominated.

    ``known``: the objectives of all arms, shape (m, s, n, objectives). Both (m, 1, t, boxes,
    objectives), of the first ``t`` draws; a draw alone may have more than there is room for, and
    loses the smallest.
    """
    members = len(known)
    found: list[Tensor] = []
    for draws in known.unbind(1):
        new = [_largest(_partition(corner, draw), BOXES // members) for draw in draws]
        most = max(box.shape[1] for box in [*found, *new])
        if found and most * (len(found) + len(new)) > BOXES:
            break
        found += new
    most = max(box.shape[1] for box in found)
    # An empty box, of no height, adds nothing.
    padded = [torch.cat([b, corner.expand(2, most - b.shape[1], -1)], 1) for b in found]
    shape = (2, len(found) // members, members, most, len(corner))
    stacked = torch.stack(padded, dim=1).reshape(shape).transpose(1, 2)
    lower, upper = stacked[:, :, None]
    return lower, upper


def _partition(corner: Tensor, known: Tensor) -> Tensor:
    """Return the boxes that are not dominated, shape (2, boxes, objectives)."""
    bounds: Tensor = FastNondominatedPartitioning(corner, known).get_hypercell_bounds()
    return bounds


def _largest(boxes: Tensor, most: int) -> Tensor:
    """Return ``most`` of the boxes (2, boxes, objectives), without the smallest."""
    if boxes.shape[1] <= most:
        return boxes
    lower, upper = boxes
    sides = torch.minimum(upper, lower.amax(0) + 1.0) - lower
    kept = sides.log().sum(-1).argsort(descending=True, stable=True)[:most]
    return boxes[:, kept]


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
