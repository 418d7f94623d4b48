"""Hyperparameters drawn around their most probable values: how else the data may be explained.

Hamiltonian Monte Carlo (Neal 2011): short chains side by side, started around the mode as far as
its curvature says, and scaled by it. With some tens of observations many explanations are about
as good, and a search that believes in the best one alone polishes the wrong basin.
"""

import math

import torch
from torch import Tensor

from scheduler.generation.botorch.fit import LogPosterior, bounds

ROUNDS, LEAPS = 3, 5
"""Proposals of each chain, and steps of each."""
STRIDE = 0.3
"""Mean length of a step, in standard deviations at the mode."""
_WALL = 50.0


def drawn(target: LogPosterior, mode: Tensor, count: int) -> Tensor:
    """Return ``count`` draws of hyperparameters, shape (count, d + 2), as logarithms."""
    if not count:
        return mode.new_empty(0, len(mode))
    random = torch.Generator().manual_seed(0)
    scale = _scale(target, mode)
    normals = torch.randn((count, len(mode)), dtype=torch.double, generator=random)
    low, high = _bounds(target)
    theta = (mode + scale * normals).clamp(low, high)
    energy, slope = _energy(target, theta)
    for _ in range(ROUNDS):
        momentum = torch.randn(theta.shape, dtype=torch.double, generator=random)
        start = energy + 0.5 * momentum.square().sum(-1)
        spread = 0.5 + torch.rand((count, 1), dtype=torch.double, generator=random)
        step = STRIDE * spread * scale
        end, end_energy, end_slope, momentum = _leapfrog(target, theta, slope, momentum, step)
        change = start - end_energy - 0.5 * momentum.square().sum(-1)
        chance = torch.rand(count, dtype=torch.double, generator=random)
        taken = chance.log() < change.nan_to_num(-math.inf)
        theta = torch.where(taken[:, None], end, theta)
        energy = torch.where(taken, end_energy, energy)
        slope = torch.where(taken[:, None], end_slope, slope)
    return theta


def _leapfrog(
    target: LogPosterior, theta: Tensor, slope: Tensor, momentum: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return where a chain gets to, its energy and slope there, and the momentum left."""
    momentum = momentum - 0.5 * step * slope
    for leap in range(LEAPS):
        theta = theta + step * momentum
        energy, slope = _energy(target, theta)
        share = 1.0 if leap < LEAPS - 1 else 0.5
        momentum = momentum - share * step * slope
    return theta, energy, slope, momentum


def _energy(target: LogPosterior, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return minus the log density of the logarithms, and its gradient, with soft walls."""
    low, high = _bounds(target)
    under, over = (low - theta).clamp_min(0.0), (theta - high).clamp_min(0.0)
    value, gradient = target(torch.maximum(torch.minimum(theta, high + 1.0), low - 1.0))
    value = value - theta.sum(-1) + _WALL * (under.square() + over.square()).sum(-1)
    return value, gradient - 1.0 + 2.0 * _WALL * (over - under)


def _bounds(target: LogPosterior) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest of each hyperparameter, both (d + 2,)."""
    low, high = torch.tensor(bounds(target.dimension), dtype=torch.double).T
    return low, high


def _scale(target: LogPosterior, mode: Tensor) -> Tensor:
    """Return about how far each hyperparameter can move from the mode, shape (d + 2,)."""
    width = 1e-3
    steps = width * torch.eye(len(mode), dtype=torch.double)
    _, ahead = target(mode + steps)
    _, behind = target(mode - steps)
    curvature = (ahead - behind).diagonal() / (2.0 * width)
    return curvature.clamp(0.1, 1e6).rsqrt()
