"""How likely an arm is to be measured at all, where some have failed by their own doing.

Least-squares classification with a Gaussian process (Rasmussen and Williams 2006, section 6.5):
+1 for what was measured, -1 for what failed, and a sigmoid over the prediction. Failures at random
are noise to it, and change little; a region where most arms fail is left alone.
"""

from collections.abc import Callable

import numpy as np
import torch
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor

from scheduler.generation.botorch.column import Column
from scheduler.generation.botorch.gp import Fits
from scheduler.generation.botorch.problem import mixed
from scheduler.generation.space import Points

STEEPNESS = 3.0
"""Of the sigmoid, for one label's distance from 0."""
CHANCE = 0.25
"""Variance of a label: how much of a failure may be bad luck."""


def log_success(fits: Fits, measured: Points, failed: Points) -> Callable[[Tensor], Tensor] | None:
    """Return the logarithm of the probability to be measured, of points (n, d), shape (n,).

    ``measured`` (n, d) and ``failed`` (m, d) are points; None where there is nothing to tell.
    """
    if not len(failed) or not len(measured):
        return None
    points = np.vstack([measured, failed])
    labels = np.concatenate([np.ones(len(measured)), -np.ones(len(failed))])
    noise = np.full(len(labels), CHANCE)
    model = fits.model(Column("success", points, labels, noise, 1.0, 0.0, 1.0))

    def log_probability(at: Tensor) -> Tensor:
        mean, deviation = mixed(*model.posterior(at))
        steep = STEEPNESS * mean / torch.sqrt(1.0 + (STEEPNESS * deviation).square())
        return torch.as_tensor(log_ndtr(steep))

    return log_probability
