"""The expected improvement of a normal number, as a logarithm that is cheap to differentiate."""

import math
from typing import Any

import torch
from torch import Tensor

_FAR = -1e4
"""Below it the first term of the asymptotic series is exact to the last digits."""


class _LogImprovement(torch.autograd.Function):
    """``h(u) = log(phi(u) + u Phi(u))`` and its slope ``Phi(u) / (phi(u) + u Phi(u))``.

    In the stable form of Ament et al. (2023), by the scaled complementary error function where
    the two terms cancel; the slope in closed form rather than by differentiating each branch.
    """

    @staticmethod
    def forward(ctx: Any, standard: Tensor) -> Tensor:
        low = standard.clamp(_FAR, -1.0)
        ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(low / -math.sqrt(2))
        rest = 1.0 + low * ratio
        high = standard.clamp_min(-1.0)
        mass = torch.special.ndtr(high)
        gain = torch.exp(-0.5 * high.square()) / math.sqrt(2 * math.pi) + high * mass
        far, tail = standard < _FAR, standard < -1.0
        distance = standard.clamp_max(-1.0).neg()
        decay = torch.where(far, -2.0 * distance.log(), rest.log())
        below = decay - 0.5 * distance.square() - 0.5 * math.log(2 * math.pi)
        ctx.save_for_backward(
            torch.where(tail, torch.where(far, distance, ratio / rest), mass / gain)
        )
        return torch.where(tail, below, gain.log())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        gradient: Tensor = gradients[0] * slope
        return gradient


def log_improvement(gap: Tensor, deviation: Tensor) -> Tensor:
    """Return the logarithm of the expected positive part of a normal number.

    Its mean is ``gap``, its standard deviation ``deviation``; shapes broadcast.
    """
    # A box of hypervolume may have no upper end: its gap is minus infinity.
    value: Tensor = _LogImprovement.apply((gap / deviation).clamp_min(-1e50))  # type: ignore[no-untyped-call]
    return value + deviation.log()
