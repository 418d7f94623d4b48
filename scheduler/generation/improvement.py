"""Log noisy expected improvement of one objective, under outcome constraints.

Noisy expected improvement of Letham, Karrer, Ottoni, Bakshy (2019), in the logarithmic form of
Ament et al. (2023): what the best arm measured or pending comes to is drawn; given each draw the
improvement of one more arm, and its probability of feasibility, are known in closed form.
Where observations are exact and nothing is pending, one draw says it all.
"""

import math
from typing import Any

import torch
from botorch.acquisition.analytic import _log_ei_helper as log_standard_improvement
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor
from torch.quasirandom import SobolEngine

from scheduler.generation.gp import GaussianProcess, cholesky
from scheduler.generation.problem import Problem

DRAWS = 64
"""Draws of what pending and noisily measured arms come to."""
EXACT = 2e-5
"""Noise variance, as a share of the metric's, below which an observation is taken as it is."""
_NUGGET = 1e-6


class Drawn:
    """A Gaussian process given draws of its values at the measured and the pending points."""

    def __init__(self, gp: GaussianProcess, pending: Tensor, normals: Tensor) -> None:
        """``pending``: (p, d); ``normals``: (s, n + p) standard normal numbers."""
        self._gp = gp
        nugget = _NUGGET * gp.outputscale
        if float(gp.noise.max()) > EXACT:
            points = torch.cat([gp.points, pending])
            self.values = _draws(gp, points, normals)
            noise = nugget.expand(len(points))
        else:
            measured = gp.values.expand(len(normals) if len(pending) else 1, -1)
            points = torch.cat([gp.points, pending])
            drawn = _draws(gp, pending, normals) if len(pending) else measured[:, :0]
            self.values = torch.cat([measured, drawn], dim=1)
            noise = torch.cat([gp.noise, nugget.expand(len(pending))])
        """At measured and pending points, shape (draws, n + p)."""
        self._rows = gp.scaled(points)
        self._root = cholesky(gp.covariance(self._rows, self._rows) + torch.diag(noise))
        self._alpha = torch.cholesky_solve((self.values - gp.mean).T, self._root)

    def posterior(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (n, draws) and standard deviations (n, 1) at points (n, d)."""
        cross = self._gp.covariance(self._gp.scaled(points), self._rows)
        half = torch.linalg.solve_triangular(self._root, cross.mT, upper=False)
        variance = (self._gp.outputscale - half.square().sum(0)).clamp_min(1e-12)
        return self._gp.mean + cross @ self._alpha, variance.sqrt()[:, None]


class LogImprovement:
    """The acquisition function: from points (n, d) to values (n,)."""

    def __init__(self, problem: Problem, pending: Tensor, seed: int) -> None:
        """``pending``: points (p, d) that are about to be measured."""
        size = len(problem.observed) + len(pending)
        self._drawn = [
            Drawn(model, pending, _normals(DRAWS, size, seed + k))
            for k, model in enumerate(problem.models)
        ]
        self._weights, self._limits = problem.weights[0], problem.limits
        draws = max(len(drawn.values) for drawn in self._drawn)
        values = torch.stack([d.values.expand(draws, -1) for d in self._drawn], dim=-1)
        objective = values @ self._weights
        # Where a draw has no feasible arm, any feasible one improves on the worst there is.
        worst = torch.where(problem.feasible(values), objective, objective.min())
        self.best = worst.amax(dim=1)
        """The best feasible value of each draw, shape (draws,)."""

    def __call__(self, points: Tensor) -> Tensor:
        """Return the logarithm of the expected feasible improvement, shape (n,)."""
        mean, deviation, log_feasible = self._moments(points)
        log = log_standard_improvement((mean - self.best) / deviation) + deviation.log()
        return _log_average(log + log_feasible)

    def probabilities(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities to be feasible, and feasible and better than all: both (n,)."""
        mean, deviation, log_feasible = self._moments(points)
        log_better = log_ndtr((mean - self.best) / deviation)
        better = _log_average(log_better + log_feasible).exp()
        return _log_average(log_feasible.expand_as(log_better)).exp(), better

    def _moments(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = [drawn.posterior(points) for drawn in self._drawn]
        mean = sum(w * m for w, (m, _) in zip(self._weights, parts, strict=True) if w)
        variance = sum(
            (w * s).square() for w, (_, s) in zip(self._weights, parts, strict=True) if w
        )
        assert isinstance(mean, Tensor)
        assert isinstance(variance, Tensor)
        log_feasible = torch.zeros(len(points), 1, dtype=torch.double)
        for limit in self._limits:
            m, s = parts[limit.column]
            log_feasible = log_feasible + log_ndtr(limit.sign * (limit.bound - m) / s)
        return mean, variance.sqrt(), log_feasible


def _draws(gp: GaussianProcess, points: Tensor, normals: Tensor) -> Tensor:
    """Return draws of the process at points (n, d), shape (draws, n)."""
    mean, covariance = gp.joint(points)
    ridge = 1e-9 * gp.outputscale * torch.eye(len(points), dtype=torch.double)
    return mean + normals[:, : len(points)] @ cholesky(covariance + ridge).mT


def _normals(draws: int, size: int, seed: int) -> Tensor:
    """Return quasi-random standard normal numbers, shape (draws, size)."""
    engine: Any = SobolEngine  # not typed
    uniform: Tensor = engine(size, scramble=True, seed=seed).draw(draws, dtype=torch.double)
    normals: Tensor = torch.special.ndtri(uniform.clamp(1e-9, 1.0 - 1e-9))
    return normals


def _log_average(logs: Tensor) -> Tensor:
    """Return the logarithm of the mean over draws of the exponentials, shape (n,)."""
    return torch.logsumexp(logs, dim=-1) - math.log(logs.shape[-1])
