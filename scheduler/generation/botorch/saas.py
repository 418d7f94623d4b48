"""The belief that few of many parameters matter: sparse axis-aligned subspaces.

Eriksson and Jankowiak (2021): the inverse squared lengthscale of each parameter is half-Cauchy
with scale tau, mostly next to nothing and now and then large, and tau itself is half-Cauchy. Here
tau is summed out over a grid, so that what is sought and drawn are the lengthscales alone, and no
number of relevant parameters is fixed beforehand.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scheduler.generation.botorch.fit import Belief

TAU_SCALE = 0.1
"""Of tau's own prior, as in the paper."""
_LOG_TAUS = torch.linspace(math.log(1e-4), math.log(3.0), 16, dtype=torch.double)


@dataclass(frozen=True)
class Sparse(Belief):
    """Half-Cauchy inverse squared lengthscales that share one unknown scale."""

    by_logarithm: ClassVar[bool] = True

    def log_lengthscale(self, dimension: int) -> float:
        """Return where to begin: the prior's mode at the median of tau's prior, as a logarithm."""
        del dimension
        return -0.5 * math.log(TAU_SCALE)

    def lengthscales(self, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Return minus the log density, shape (b,), and its gradient, at logarithms (b, d)."""
        # With rho = l^-2, for each tau: log(1 + (rho / tau)^2) + log(tau) and, for l, +3 log l.
        ratios = -4.0 * logs[:, None] - 2.0 * _LOG_TAUS[:, None]
        each = torch.nn.functional.softplus(ratios) + _LOG_TAUS[:, None]
        joint = _LOG_PRIOR - each.sum(-1)
        share = torch.softmax(joint, dim=-1)
        pull = -4.0 * (share[:, :, None] * torch.sigmoid(ratios)).sum(1)
        return 3.0 * logs.sum(-1) - torch.logsumexp(joint, dim=-1), pull + 3.0


# The grid is even in log tau: half-Cauchy times tau.
_LOG_PRIOR = _LOG_TAUS - torch.log1p((_LOG_TAUS.exp() / TAU_SCALE).square())

FEW_MATTER = Sparse()
