"""How alike two arms are, with one lengthscale for each parameter."""

import math
from enum import Enum

import torch
from torch import Tensor

from scheduler.generation.space import Space


class Embedding:
    """Points as features whose scaled Euclidean distance is the distance between arms.

    An ordered parameter is one feature: its coordinate. An unordered one has an indicator for
    each value, such that any two different values are at distance 1 (Hamming).
    """

    def __init__(self, space: Space) -> None:
        owners: list[int] = []
        levels: list[float] = []
        for j, axis in enumerate(space.axes):
            centres = [-1.0] if axis.ordered else [axis.centre(i) for i in range(int(axis.count))]
            owners += [j] * len(centres)
            levels += centres
        self.dimension = space.dimension
        self.owner = torch.tensor(owners)
        """Which parameter each feature belongs to, shape (f,)."""
        self._levels = torch.tensor(levels, dtype=torch.double)
        self._hot = self._levels >= 0

    def __call__(self, points: Tensor) -> Tensor:
        """Return the features, shape (..., f), of points, shape (..., d)."""
        if not self._hot.any():
            return points
        spread = points[..., self.owner]
        indicator = ((spread - self._levels).abs() < 1e-9).to(spread) / math.sqrt(2)
        return torch.where(self._hot, indicator, spread)

    def scaled(self, points: Tensor, lengthscales: Tensor) -> Tensor:
        """Return the features over their parameters' lengthscales, shape (d,)."""
        return self(points) / lengthscales[..., self.owner]


def square_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return squared distances, shape (..., n, m), of rows, shapes (..., n, f) and (..., m, f)."""
    squares = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :]
    return (squares - 2.0 * (a @ b.mT)).clamp_min(0.0)


class Shape(Enum):
    """How correlation falls with distance."""

    SMOOTH = "squared exponential"
    ROUGH = "Matern 5/2"

    def falls(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the correlations at squared distances, and their derivatives in these."""
        if self is Shape.SMOOTH:
            smooth = torch.exp(-0.5 * squares)
            return smooth, -0.5 * smooth
        distance = (5.0 * squares.clamp_min(1e-30)).sqrt()
        decay = torch.exp(-distance)
        near = (1.0 + distance) * decay
        return near + (5.0 / 3.0) * squares * decay, (-5.0 / 6.0) * near
