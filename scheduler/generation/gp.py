"""A Gaussian process for each metric, over the points of a space."""

import torch
from torch import Tensor

from scheduler.generation.column import Column
from scheduler.generation.fit import STANDARD, Priors, fitted
from scheduler.generation.kernel import Embedding, correlation
from scheduler.generation.space import GenerationError, Space

_JITTERS = (0.0, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)


class GaussianProcess:
    """The posterior of one metric, in its column's units, given hyperparameters.

    The same as BoTorch's SingleTaskGP with this kernel, without what that costs a call.
    """

    def __init__(self, embedding: Embedding, column: Column, theta: Tensor) -> None:
        """Condition on the column; ``theta`` (d + 2,) as in :mod:`scheduler.generation.fit`."""
        self.embedding, self.column = embedding, column
        self.lengthscales, self.outputscale = theta[:-2].exp(), theta[-2].exp()
        known = column.variances
        count = len(column.values)
        self.noise = theta[-1].exp().expand(count) if known is None else torch.as_tensor(known)
        self.points, self.values = torch.as_tensor(column.points), torch.as_tensor(column.values)
        self._rows = self.scaled(self.points)
        self._root = cholesky(self.covariance(self._rows, self._rows) + torch.diag(self.noise))
        sides = torch.stack([torch.ones(count, dtype=torch.double), self.values], dim=1)
        ones, values = torch.cholesky_solve(sides, self._root).T
        self.mean = values.sum() / ones.sum()
        """The constant that predictions return to far from all observations."""
        self._alpha = values - self.mean * ones

    def scaled(self, points: Tensor) -> Tensor:
        """Return the features of points, shape (..., d), over the lengthscales."""
        rows: Tensor = self.embedding.scaled(points, self.lengthscales)
        return rows

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the prior covariance of scaled features, without noise."""
        covariance: Tensor = self.outputscale * correlation(a, b)
        return covariance

    def posterior(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations, without noise, at points (n, d): both (n,)."""
        cross, half = self._cross(self.scaled(points))
        variance = self.outputscale - half.square().sum(0)
        return self.mean + cross @ self._alpha, variance.clamp_min(1e-12).sqrt()

    def joint(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (n,) and the covariance (n, n), without noise, at points (n, d)."""
        rows = self.scaled(points)
        cross, half = self._cross(rows)
        return self.mean + cross @ self._alpha, self.covariance(rows, rows) - half.mT @ half

    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        """Return what the others predict of each observation, and how surely; both (n,).

        Rasmussen and Williams (2006), eq. 5.12; the deviations include the noise.
        """
        variance = 1.0 / torch.cholesky_inverse(self._root).diagonal()
        means: Tensor = self.values - self._alpha * variance
        return means, variance.sqrt()

    def _cross(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        cross = self.covariance(rows, self._rows)
        return cross, torch.linalg.solve_triangular(self._root, cross.mT, upper=False)


def cholesky(covariance: Tensor) -> Tensor:
    """Return the lower root, with the least jitter that it takes; GenerationError where none."""
    scale = covariance.diagonal().mean()
    for jitter in _JITTERS:
        ridge = torch.full((len(covariance),), jitter, dtype=torch.double) * scale
        found = torch.linalg.cholesky_ex(covariance + torch.diag(ridge))
        root: Tensor = found.L
        if not found.info and bool(torch.isfinite(root).all()):
            return root
    raise GenerationError("numerical trouble: a covariance matrix is singular")


class Fits:
    """Hyperparameters by the data they were fitted to.

    A fit never starts from an earlier one, so that what is in memory, and where a crash was,
    changes no arm.
    """

    def __init__(self, space: Space, most: int = 16) -> None:
        self.embedding = Embedding(space)
        self._most = most
        self._thetas: dict[tuple[str, Priors], Tensor] = {}

    def model(self, column: Column, priors: Priors = STANDARD) -> GaussianProcess:
        """Return the model of ``column``; GenerationError where it cannot be fitted."""
        key = (column.digest, priors)
        if key not in self._thetas:
            while len(self._thetas) >= self._most:
                del self._thetas[next(iter(self._thetas))]
            self._thetas[key] = fitted(self.embedding, column, priors)
        return GaussianProcess(self.embedding, column, self._thetas[key])
