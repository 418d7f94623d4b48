"""What may come of measured and pending arms, drawn; and what each draw says of one more arm.

Letham, Karrer, Ottoni, Bakshy (2019): given the values of all arms so far, those of one more are
independent of their noise and known in closed form. Where observations are exact and nothing is
pending, one draw says it all.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor
from torch.quasirandom import SobolEngine

from scheduler.generation.botorch.gp import GaussianProcess, cholesky
from scheduler.generation.botorch.problem import Problem

EXACT = 2e-5
"""Noise variance, as a share of the metric's, below which an observation is taken as it is."""
_NUGGET = 1e-6


class Drawn:
    """A Gaussian process given draws of its values at the measured and the pending points.

    ``m``: its members; ``s``: the draws of each.
    """

    def __init__(self, gp: GaussianProcess, pending: Tensor, normals: Tensor) -> None:
        """``pending``: (p, d); ``normals``: (s, n + p) standard normal numbers."""
        self._gp = gp
        nugget = _NUGGET * gp.outputscale
        points = torch.cat([gp.points, pending])
        if float(gp.noise.max()) > EXACT:
            self.values = _draws(gp, points, normals)
            """At measured and pending points, shape (m, s, n + p)."""
            noise = nugget.expand(-1, len(points))
        else:
            draws = len(normals) if len(pending) else 1
            measured = gp.values.expand(len(gp.noise), draws, -1)
            new = _draws(gp, pending, normals) if len(pending) else measured[:, :, :0]
            self.values = torch.cat([measured, new], dim=-1)
            noise = torch.cat([gp.noise, nugget.expand(-1, len(pending))], dim=-1)
        self._rows = gp.scaled(points)
        self._root = cholesky(gp.covariance(self._rows, self._rows), noise)
        self._alpha = torch.cholesky_solve((self.values - gp.mean[:, None]).mT, self._root)

    def posterior(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (m, n, s) and variances (m, n, 1) at points (n, d)."""
        gp = self._gp
        cross = gp.covariance(gp.scaled(points), self._rows)
        half = torch.linalg.solve_triangular(self._root, cross.mT, upper=False)
        variance = (gp.outputscale - half.square().sum(-2)).clamp_min(1e-12)
        return gp.mean[:, None] + cross @ self._alpha, variance[:, :, None]


class Futures:
    """Draws of a whole problem: objectives and outcome constraints."""

    def __init__(
        self,
        problem: Problem,
        models: Sequence[GaussianProcess],
        pending: Tensor,
        draws: int,
        seed: int,
    ) -> None:
        """``models``: of one belief; ``pending``: points (p, d) that are about to be measured."""
        size = len(problem.observed) + len(pending)
        self._drawn = [
            Drawn(model, pending, _normals(draws, size, seed + k))
            for k, model in enumerate(models)
        ]
        count = max(drawn.values.shape[1] for drawn in self._drawn)
        values = torch.stack([d.values.expand(-1, count, -1) for d in self._drawn], dim=-1)
        self._weights, self._limits = problem.weights, problem.limits
        self.objectives = problem.wanted(values)
        """At measured and pending points, shape (m, s, n + p, objectives)."""
        self.feasible = problem.feasible(values)
        """Shape (m, s, n + p)."""

    def moments(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what each draw says of points (n, d).

        Means (m, n, s, objectives), standard deviations (m, n, 1, objectives), and the logarithms
        of the probabilities to be feasible, (m, n, s) or (m, n, 1).
        """
        parts = [drawn.posterior(points) for drawn in self._drawn]
        columns = torch.broadcast_tensors(*(mean for mean, _ in parts))  # type: ignore[no-untyped-call]
        means = torch.stack(columns, dim=-1) @ self._weights.T
        variances = torch.stack([v for _, v in parts], dim=-1) @ self._weights.square().T
        log_feasible = torch.zeros_like(variances[..., 0])
        for limit in self._limits:
            mean, variance = parts[limit.column]
            room = limit.sign * (limit.bound - mean)
            log_feasible = log_feasible + log_ndtr(room / variance.sqrt())
        return means, variances.sqrt(), log_feasible


def log_average(logs: Tensor) -> Tensor:
    """Return the logarithm of the mean of exponentials, shape (n,), of shape (m, n, s)."""
    return torch.logsumexp(logs, dim=(0, 2)) - math.log(logs.shape[0] * logs.shape[2])


def _draws(gp: GaussianProcess, points: Tensor, normals: Tensor) -> Tensor:
    """Return draws of the process at points (n, d), shape (m, s, n)."""
    mean, covariance = gp.joint(points)
    root = cholesky(covariance, (1e-9 * gp.outputscale).expand(-1, len(points)))
    return mean[:, None] + normals[:, : len(points)] @ root.mT


def _normals(draws: int, size: int, seed: int) -> Tensor:
    """Return quasi-random standard normal numbers, shape (draws, size)."""
    engine: Any = SobolEngine  # not typed
    uniform: Tensor = engine(size, scramble=True, seed=seed).draw(draws, dtype=torch.double)
    normals: Tensor = torch.special.ndtri(uniform.clamp(1e-9, 1.0 - 1e-9))
    return normals
