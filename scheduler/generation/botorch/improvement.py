"""Log noisy expected improvement of one objective, under outcome constraints.

The noisy expected improvement of Letham, Karrer, Ottoni, Bakshy (2019) in the logarithmic form of
Ament et al. (2023); improvement and feasibility in closed form for each draw.
"""

from collections.abc import Sequence

from botorch.utils.probability.utils import log_ndtr
from torch import Tensor, where

from scheduler.generation.botorch.draws import Futures, log_average
from scheduler.generation.botorch.gp import GaussianProcess
from scheduler.generation.botorch.problem import Problem
from scheduler.generation.botorch.standard import log_improvement

DRAWS = 64


class LogImprovement:
    """The acquisition function: from points (n, d) to values (n,)."""

    def __init__(
        self, problem: Problem, models: Sequence[GaussianProcess], pending: Tensor, seed: int
    ) -> None:
        """``models``: of one belief; ``pending``: points (p, d) that are about to be measured."""
        self._futures = Futures(problem, models, pending, DRAWS, seed)
        known = self._futures.objectives[..., 0]
        # Where a draw has no feasible arm, any feasible one improves on the worst there is.
        self._best = where(self._futures.feasible, known, known.min()).amax(dim=-1)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the logarithm of the expected feasible improvement, shape (n,)."""
        gap, deviation, log_feasible = self._standing(points)
        return log_average(log_improvement(gap, deviation) + log_feasible)

    def probabilities(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities to be feasible, and feasible and better than all: both (n,)."""
        gap, deviation, log_feasible = self._standing(points)
        log_better = log_ndtr(gap / deviation)
        better = log_average(log_better + log_feasible).exp()
        return log_average(log_feasible.expand_as(log_better)).exp(), better

    def _standing(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means, deviations, log_feasible = self._futures.moments(points)
        return means[..., 0] - self._best[:, None], deviations[..., 0], log_feasible
