"""Which lengthscales, outputscale and noise explain a column best: maximum a posteriori.

The marginal likelihood and its gradient are written out rather than left to automatic
differentiation: for tens of observations a fit is then some milliseconds, most of which any
framework would spend on bookkeeping. Several starts advance together, as a batch.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scheduler.generation.botorch.column import NOISE_FLOOR, Column
from scheduler.generation.botorch.kernel import Embedding, Shape, square_distances
from scheduler.generation.botorch.minimize import minimized
from scheduler.generation.space import GenerationError

SUBSET = 200
"""Observations that hyperparameters are fitted to at most; predictions use all of them."""
SHORTEST, LONGEST = 0.01, 1e4
"""Bounds of a lengthscale; the cube's side is 1."""
_IMPOSSIBLE = 1e10


@dataclass(frozen=True)
class Belief:
    """What is believed before anything is measured.

    Lengthscales: LogNormal(sqrt(2) + log(d) / 2, sqrt(3)) of Hvarfner, Hellsten, Nardi (2024), so
    that many parameters do not make all arms strangers. Outputscale: Gamma(2, 1), for values of
    variance 1. Noise variance: Gamma(1.1, 10), which hardly pulls at less than a tenth.
    """

    shape: Shape = Shape.SMOOTH
    outputscale: tuple[float, float] = (2.0, 1.0)
    noise: tuple[float, float] = (1.1, 10.0)
    location: float = math.sqrt(2)
    width: float = math.sqrt(3)
    by_logarithm: ClassVar[bool] = False
    """Whether the mode sought is that of the lengthscales' logarithms, or of themselves."""

    def log_lengthscale(self, dimension: int) -> float:
        """Return the prior's mode, as a logarithm."""
        return self.location + 0.5 * math.log(dimension) - self.width**2

    def penalty(self, theta: Tensor, noisy: bool) -> tuple[Tensor, Tensor]:
        """Return minus the log density, shape (b,), and its gradient in ``theta`` (b, d + 2)."""
        os, noise = theta[:, -2], theta[:, -1]
        gradient = torch.zeros_like(theta)
        value, gradient[:, :-2] = self.lengthscales(theta[:, :-2])
        for k, log, (shape, rate) in ((-2, os, self.outputscale), (-1, noise, self.noise)):
            if k == -2 or noisy:
                value = value + rate * log.exp() - (shape - 1.0) * log
                gradient[:, k] = rate * log.exp() - (shape - 1.0)
        return value, gradient

    def lengthscales(self, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same of the lengthscales alone, given their logarithms, shape (b, d)."""
        centred = logs - self.location - 0.5 * math.log(logs.shape[1])
        value = (centred.square() / (2 * self.width**2) + logs).sum(-1)
        return value, centred / self.width**2 + 1.0


STANDARD = Belief()


class LogPosterior:
    """Minus the log posterior density of hyperparameters ``theta``, and its gradient.

    ``theta``, shape (b, d + 2): logarithms of the lengthscales, the outputscale and the noise
    variance. The constant mean is at its optimum given the rest (generalized least squares).
    """

    def __init__(self, embedding: Embedding, column: Column, belief: Belief) -> None:
        keep = _subset(column)
        self.metric, self.dimension = column.metric, embedding.dimension
        self._embedding, self._belief = embedding, belief
        self._features = embedding(torch.as_tensor(column.points[keep]))
        self._values = torch.as_tensor(column.values[keep])
        known = column.variances
        self._variances = None if known is None else torch.as_tensor(known[keep])

    def __call__(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return (values, gradients), shapes (b,) and (b, d + 2)."""
        scaled = self._features / theta[:, :-2].exp()[:, None, self._embedding.owner]
        outputscale = theta[:, -2, None, None].exp()
        correlation, fall = self._belief.shape.falls(square_distances(scaled, scaled))
        signal = outputscale * correlation
        noise = self._noise(theta)
        covariance = signal + torch.diag_embed(noise.expand(len(theta), len(self._values)))
        root, failed = torch.linalg.cholesky_ex(covariance)
        inverse = torch.cholesky_inverse(root)
        mean = (inverse.sum(-1) @ self._values) / inverse.sum((-1, -2))
        residual = self._values - mean[:, None]
        alpha = (inverse @ residual[:, :, None])[:, :, 0]
        value = 0.5 * (residual * alpha).sum(-1) + root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        slope = 0.5 * (inverse - alpha[:, :, None] * alpha[:, None, :])
        gradient = self._chain(slope * outputscale * fall, scaled)
        gradient[:, -2] = (slope * signal).sum((-1, -2))
        if self._variances is None:
            gradient[:, -1] = slope.diagonal(dim1=-2, dim2=-1).sum(-1) * noise[:, 0]
        penalty, pull = self._belief.penalty(theta, self._variances is None)
        return _guarded(value + penalty, gradient + pull, failed)

    def _noise(self, theta: Tensor) -> Tensor:
        return theta[:, -1:].exp() if self._variances is None else self._variances[None]

    def _chain(self, weight: Tensor, scaled: Tensor) -> Tensor:
        """Return the gradient in the lengthscales from that in the squared distances (b, n, n)."""
        # sum over n, m of weight * (x_n - x_m)^2, for every feature at once
        spread = 2.0 * (scaled.square() * weight.sum(-1, keepdim=True)).sum(-2)
        spread = spread - 2.0 * (scaled * (weight @ scaled)).sum(-2)
        gradient = torch.zeros(len(weight), self._embedding.dimension + 2, dtype=torch.double)
        gradient[:, :-2].index_add_(1, self._embedding.owner, -2.0 * spread)
        return gradient


def bounds(dimension: int) -> list[tuple[float, float]]:
    """Return the least and the greatest logarithm of each of the ``d + 2`` hyperparameters."""
    lengthscale = (math.log(SHORTEST), math.log(LONGEST))
    others = [(math.log(1e-3), math.log(1e3)), (math.log(NOISE_FLOOR), math.log(2.0))]
    return [lengthscale] * dimension + others


def fitted(target: LogPosterior, belief: Belief = STANDARD) -> Tensor:
    """Return the hyperparameters of highest posterior density, shape (d + 2,), as logarithms.

    Raises GenerationError where none are possible.
    """
    d = target.dimension
    common = belief.log_lengthscale(d)
    # The same data can be smooth and noisy, or rough and exact: each is a mode of its own.
    starts = [
        [lengthscale] * d + [0.0, math.log(noise)]
        for lengthscale, noise in (
            (common, 1e-3),
            (math.log(0.3) + 0.25 * math.log(d), 1e-5),
            (common + 1.0, 0.1),
            (common - 1.0, 0.01),
        )
    ]

    def evaluate(theta: Tensor, _: list[int]) -> tuple[Tensor, Tensor]:
        value, gradient = target(theta)
        if belief.by_logarithm:
            value = value - theta[:, :-2].sum(-1)
            gradient[:, :-2] -= 1.0
        return value, gradient

    ends, values = minimized(evaluate, np.array(starts), bounds(d), steps=120, tolerance=1e-4)
    if not min(values) < _IMPOSSIBLE:
        raise GenerationError(f"no model of {target.metric} can be fitted")
    return torch.as_tensor(ends[int(np.argmin(values))])


def _subset(column: Column) -> npt.NDArray[np.intp]:
    """Return which observations to fit to: all, or the best half and others spread evenly."""
    count = len(column.values)
    if count <= SUBSET:
        return np.arange(count)
    order = np.argsort(-column.values, kind="stable")
    rest = np.sort(order[SUBSET // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, SUBSET - SUBSET // 2).astype(int)]
    return np.sort(np.concatenate([order[: SUBSET // 2], even]))


def _guarded(value: Tensor, gradient: Tensor, failed: Tensor) -> tuple[Tensor, Tensor]:
    """Return both, with a high plateau where the covariance could not be factorized."""
    bad = (failed > 0) | ~torch.isfinite(value) | ~torch.isfinite(gradient).all(-1)
    value = value.masked_fill(bad, _IMPOSSIBLE)
    return value, gradient.masked_fill(bad[:, None], 0.0)
