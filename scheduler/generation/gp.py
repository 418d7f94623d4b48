"""A Gaussian process for each metric, over the points of a space."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.exceptions.errors import BotorchError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.utils.sampling import manual_seed
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from scheduler.generation.space import GenerationError, Points, Space

NUMERICAL_TROUBLE = (BotorchError, NotPSDError, RuntimeError)
"""What a fit or a posterior raises where a matrix is beyond repair, or memory ends."""

BAD_SIDE, GOOD_SIDE = 5.0, 50.0
"""Interquartile ranges beyond the quartiles where an objective's values are cut off."""
BOTH_SIDES = 20.0
"""The same for a metric that is only constrained."""

NOISE_FLOOR = 1e-6
"""Least variance of an observation, as a share of the metric's: GPyTorch takes no less."""


@dataclass(frozen=True)
class Column:
    """What was measured of one metric, in the units its model works in: larger is better.

    ``sign * metric = shift + scale * value``; ``sign`` is -1 for a metric to be minimized.
    """

    metric: str
    points: Points
    """Shape (n, d)."""
    values: Points
    """Shape (n,), mean 0 and standard deviation 1."""
    variances: Points | None
    """Shape (n,): known noise; None where the model infers it."""
    sign: float
    shift: float
    scale: float

    def standard(self, number: float) -> float:
        """Return a value of the metric in the model's units."""
        return (self.sign * number - self.shift) / self.scale

    def natural(self, mean: float, deviation: float) -> dict[str, float]:
        """Return a prediction in the metric's own units."""
        return {
            "mean": self.sign * (mean * self.scale + self.shift),
            "sem": deviation * self.scale,
        }

    @property
    def digest(self) -> str:
        """A key that is equal where the data are, bit for bit."""
        parts = [self.points, self.values, self.variances]
        data = b"|".join(b"" if p is None else p.tobytes() for p in parts)
        return hashlib.blake2b(data, digest_size=16).hexdigest()


def standardized(
    metric: str,
    points: Points,
    measured: Sequence[tuple[float, float | None]],
    objective: bool,
    sign: float,
) -> Column:
    """Return the column of ``metric``; raise GenerationError where nothing can be learned."""
    if len(measured) < 2:
        raise GenerationError(f"there are fewer than two observations of {metric}")
    fences = (BAD_SIDE, GOOD_SIDE) if objective else (BOTH_SIDES, BOTH_SIDES)
    values = _winsorized(sign * np.array([mean for mean, _ in measured]), *fences)
    shift = float(values.mean())
    spread = float((values - shift).std(ddof=1))
    flat = not spread > 1e-12 * max(abs(shift), 1e-280)
    if flat and objective:
        raise GenerationError(f"all observations of {metric} are equal")
    scale = max(abs(shift), 1.0) if flat else spread
    sems = [sem for _, sem in measured if sem is not None]
    known = len(sems) == len(measured)
    variances = np.maximum((np.array(sems) / scale) ** 2, NOISE_FLOOR) if known else None
    return Column(metric, points, (values - shift) / scale, variances, sign, shift, scale)


def _winsorized(values: Points, below: float, above: float) -> Points:
    """Return ``values`` with outliers cut off: one 1e30 must not flatten all the others."""
    low, high = np.quantile(values, [0.25, 0.75])
    span = high - low
    return values if span == 0 else np.clip(values, low - below * span, high + above * span)


class MixedKernel(Kernel):  # type: ignore[misc]  # gpytorch is not typed
    """Squared exponential with one lengthscale for each parameter.

    Two different values of an unordered parameter are at distance 1 from each other, whichever
    they are (Hamming), divided by that parameter's lengthscale. The lengthscales have the prior
    LogNormal(sqrt(2) + log(d) / 2, sqrt(3)) of Hvarfner, Hellsten, Nardi (2024).
    """

    has_lengthscale = True

    def __init__(self, space: Space) -> None:
        prior = LogNormalPrior(math.sqrt(2) + math.log(space.dimension) / 2, math.sqrt(3))
        super().__init__(
            ard_num_dims=space.dimension,
            lengthscale_prior=prior,
            lengthscale_constraint=GreaterThan(0.025, transform=None, initial_value=prior.mode),
        )
        self._levels = [None if axis.ordered else _levels(axis.count) for axis in space.axes]

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object) -> Tensor:
        """Return the covariance of points, shapes (..., n, d) and (..., m, d)."""
        a, b = self._embedded(x1), self._embedded(x2)
        centre = a.mean(dim=-2, keepdim=True)
        square = self.covar_dist(a - centre, b - centre, square_dist=True, diag=diag, **params)
        return torch.exp(square.mul(-0.5))

    def _embedded(self, x: Tensor) -> Tensor:
        """Return ``x`` over the lengthscales, unordered columns as indicators of their values."""
        scaled: Tensor = x / self.lengthscale
        if all(levels is None for levels in self._levels):
            return scaled
        columns = []
        for j, levels in enumerate(self._levels):
            column = scaled[..., j : j + 1]
            if levels is not None:
                hot = ((x[..., j : j + 1] - levels).abs() < 1e-9).to(x)
                # Two indicators are sqrt(2) apart.
                column = hot / (math.sqrt(2) * self.lengthscale[..., j : j + 1])
            columns.append(column)
        return torch.cat(columns, dim=-1)


def _levels(count: float) -> Tensor:
    return (torch.arange(int(count), dtype=torch.double) + 0.5) / count


def build(space: Space, column: Column) -> SingleTaskGP:
    """Return the model of ``column`` before it is fitted.

    Inferred noise may be as small as NOISE_FLOOR (BoTorch stops at 1e-4, which hides the
    last digits of a noiseless objective), and Gamma(1.1, 30) hardly pulls at it.
    """
    variances = None if column.variances is None else torch.as_tensor(column.variances)[:, None]
    likelihood = None
    if variances is None:
        floor = GreaterThan(NOISE_FLOOR, transform=None, initial_value=1e-3)
        likelihood = GaussianLikelihood(noise_prior=GammaPrior(1.1, 30.0), noise_constraint=floor)
    kernel = ScaleKernel(
        MixedKernel(space),
        outputscale_prior=GammaPrior(2.0, 1.0),
        outputscale_constraint=GreaterThan(1e-3, transform=None, initial_value=1.0),
    )
    return SingleTaskGP(
        torch.as_tensor(column.points),
        torch.as_tensor(column.values)[:, None],
        variances,
        likelihood=likelihood,
        covar_module=kernel,
        outcome_transform=None,
    ).double()


class Fits:
    """Fitted models by the data they were fitted to.

    A fit never starts from an earlier one and draws from a seed of its own, so that what is in
    memory, and where a crash was, changes no arm.
    """

    def __init__(self, space: Space, most: int = 16) -> None:
        self.space = space
        self._most = most
        self._states: dict[str, dict[str, Tensor]] = {}

    def model(self, column: Column) -> SingleTaskGP:
        """Return the fitted model of ``column``; GenerationError where it cannot be fitted."""
        digest = column.digest
        if digest not in self._states:
            while len(self._states) >= self._most:
                del self._states[next(iter(self._states))]
            self._states[digest] = self._fitted(column)
        # Built anew either way: a model that has predicted holds caches.
        model = build(self.space, column)
        model.load_state_dict(self._states[digest])
        return model.eval()

    def _fitted(self, column: Column) -> dict[str, Tensor]:
        model = build(self.space, column)
        try:
            with manual_seed(0):
                fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        except (*NUMERICAL_TROUBLE, ValueError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise GenerationError(f"no model of {column.metric} can be fitted: {first}") from error
        return {name: value.detach().clone() for name, value in model.state_dict().items()}
