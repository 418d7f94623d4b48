"""Quasi-Newton descents side by side (L-BFGS-B), each step one evaluation of all that go on."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from botorch.optim import batched_lbfgs_b
from torch import Tensor

from scheduler.generation.space import Points

Descent = Callable[[Tensor, list[int]], tuple[Tensor, Tensor]]
"""From points (b, d), and which of the starts they come from, to values (b,), gradients (b, d)."""


def minimized(
    function: Descent,
    starts: Points,
    bounds: Sequence[tuple[float, float]],
    *,
    steps: int,
    tolerance: float,
) -> tuple[Points, Points]:
    """Return where descents from ``starts`` (b, d) end, and the values there, (b,).

    ``tolerance``: of the projected gradient.
    """

    def evaluate(points: Points, batch_indices: list[int]) -> tuple[Points, Points]:
        values, gradients = function(torch.as_tensor(points), batch_indices)
        return values.numpy(), gradients.numpy()

    solver: Any = batched_lbfgs_b.fmin_l_bfgs_b_batched  # not typed
    ends, values, _ = solver(
        evaluate,
        starts,
        bounds=bounds,
        maxiter=steps,
        factr=1e9,  # of the value, in units of its last digit
        pgtol=tolerance,
        pass_batch_indices=True,
    )
    return ends, values
