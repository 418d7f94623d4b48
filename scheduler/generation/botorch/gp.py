"""A Gaussian process for each metric, over the points of a space."""

import torch
from torch import Tensor

from scheduler.generation.botorch.column import Column
from scheduler.generation.botorch.fit import STANDARD, Belief, LogPosterior, fitted
from scheduler.generation.botorch.kernel import Embedding, Shape, square_distances
from scheduler.generation.botorch.sample import drawn
from scheduler.generation.space import GenerationError, Space

_JITTERS = (0.0, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)


class GaussianProcess:
    """The posterior of one metric, in its column's units, for each of several hyperparameters.

    Each is the same as BoTorch's SingleTaskGP with this kernel, without what that costs a call;
    together, a member of a batch each, they cost little more than one. ``m`` below: how many.
    """

    def __init__(self, embedding: Embedding, column: Column, shape: Shape, theta: Tensor) -> None:
        """Condition on the column; ``theta`` (m, d + 2) as in ``fit.LogPosterior``."""
        self.embedding, self.column, self.shape = embedding, column, shape
        self.points, self.values = torch.as_tensor(column.points), torch.as_tensor(column.values)
        self.lengthscales = theta[:, None, :-2].exp()
        """Shape (m, 1, d)."""
        self.outputscale = theta[:, -2, None].exp()
        """Shape (m, 1)."""
        noise = theta[:, -1:].exp()
        if column.variances is not None:
            noise = torch.as_tensor(column.variances)[None]
        self.noise = noise.expand(len(theta), len(self.values))
        """Shape (m, n)."""
        self._rows = self.scaled(self.points)
        self._root = cholesky(self.covariance(self._rows, self._rows), self.noise)
        sides = torch.stack([torch.ones_like(self.values), self.values], dim=1)
        ones, values = torch.cholesky_solve(sides.expand(len(theta), -1, -1), self._root).unbind(
            -1
        )
        self.mean = values.sum(-1, keepdim=True) / ones.sum(-1, keepdim=True)
        """The constant that predictions return to far from all observations, shape (m, 1)."""
        self._alpha = values - self.mean * ones

    def scaled(self, points: Tensor) -> Tensor:
        """Return the features of points (n, d) over the lengthscales, shape (m, n, f)."""
        rows: Tensor = self.embedding.scaled(points, self.lengthscales)
        return rows

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the prior covariances of scaled features, without noise."""
        correlation, _ = self.shape.falls(square_distances(a, b))
        covariance: Tensor = self.outputscale[:, :, None] * correlation
        return covariance

    def posterior(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations, without noise, at points (n, d): both (m, n)."""
        cross, half = self._cross(self.scaled(points))
        variance = self.outputscale - half.square().sum(-2)
        mean = self.mean + (cross @ self._alpha[:, :, None])[..., 0]
        return mean, variance.clamp_min(1e-12).sqrt()

    def joint(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (m, n) and covariances (m, n, n), without noise, at points (n, d)."""
        rows = self.scaled(points)
        cross, half = self._cross(rows)
        mean = self.mean + (cross @ self._alpha[:, :, None])[..., 0]
        return mean, self.covariance(rows, rows) - half.mT @ half

    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        """Return what the others predict of each observation, and how surely; both (m, n).

        Rasmussen and Williams (2006), eq. 5.12; the deviations include the noise.
        """
        variance = 1.0 / torch.cholesky_inverse(self._root).diagonal(dim1=-2, dim2=-1)
        means: Tensor = self.values - self._alpha * variance
        return means, variance.sqrt()

    def _cross(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        cross = self.covariance(rows, self._rows)
        return cross, torch.linalg.solve_triangular(self._root, cross.mT, upper=False)


def cholesky(covariance: Tensor, noise: Tensor) -> Tensor:
    """Return lower roots of covariances (m, n, n) with noise (m, n), with the least jitter.

    Raises GenerationError where none helps.
    """
    scale = covariance.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    for jitter in _JITTERS:
        found = torch.linalg.cholesky_ex(covariance + torch.diag_embed(noise + jitter * scale))
        root: Tensor = found.L
        if not found.info.any() and bool(torch.isfinite(root).all()):
            return root
    raise GenerationError("numerical trouble: a covariance matrix is singular")


class Fits:
    """Hyperparameters by the data they were fitted to.

    A fit never starts from an earlier one, so that what is in memory, and where a crash was,
    changes no arm.
    """

    def __init__(self, space: Space, most: int = 32) -> None:
        self.embedding = Embedding(space)
        self._most = most
        self._thetas: dict[tuple[str, Belief, bool], Tensor] = {}

    def model(
        self, column: Column, belief: Belief = STANDARD, *, broad: bool = False
    ) -> GaussianProcess:
        """Return the model of ``column``; GenerationError where it cannot be fitted.

        ``broad``: with other hyperparameters as members that explain the data about as well.
        """
        theta = self._explained(column, belief, broad)
        return GaussianProcess(self.embedding, column, belief.shape, theta)

    def _explained(self, column: Column, belief: Belief, broad: bool) -> Tensor:
        """Return the most probable hyperparameters and, if ``broad``, draws around them."""
        key = (column.digest, belief, broad)
        if key not in self._thetas:
            target = LogPosterior(self.embedding, column, belief)
            if broad:
                mode = self._explained(column, belief, broad=False)
                others = explanations(len(column.values)) - 1
                theta = torch.cat([mode, drawn(target, mode[0], others)])
            else:
                theta = fitted(target, belief)[None]
            while len(self._thetas) >= self._most:
                del self._thetas[next(iter(self._thetas))]
            self._thetas[key] = theta
        return self._thetas[key]


def explanations(count: int) -> int:
    """Return how many hyperparameters to consider, given ``count`` observations.

    The more is known the less they differ, and the more each costs.
    """
    return 6 if count <= 60 else 3 if count <= 120 else 2 if count <= 250 else 1
