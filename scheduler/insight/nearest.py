"""The arm most like another one, in the unit cube of the search space."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scheduler.generation.space import Space
from scheduler.model.base import Value

SAME = 1e-9
"""Coordinates closer than this are of the same value."""


@dataclass(frozen=True, slots=True)
class Near:
    """The nearest of several arms."""

    index: int
    """Its place among them."""
    distance: float
    """Euclidean, in the unit cube.

    Two values of an unordered parameter are 1 apart, and so are a value and none.
    """
    differences: Mapping[str, float]
    """Parameter -> how far apart, 0 to 1, largest first; equal ones left out."""


def nearest(
    space: Space, arm: Mapping[str, Value], others: Sequence[Mapping[str, Value]]
) -> Near | None:
    """Return the one of ``others`` nearest to ``arm``, the last of equals; None of none."""
    if not others or not space.dimension:
        return None
    gaps = np.abs(space.encode(others) - space.encode([arm]))
    unordered = np.array([not axis.ordered for axis in space.axes])
    gaps = np.where(unordered, (gaps > SAME).astype(np.float64), gaps)
    gaps[_active(space, others) != _active(space, [arm])] = 1.0
    squares = (gaps**2).sum(axis=1)
    index = len(others) - 1 - int(np.argmin(squares[::-1]))
    largest_first = np.argsort(-gaps[index], kind="stable")
    apart = {space.names[j]: float(gaps[index, j]) for j in largest_first}
    return Near(
        index, math.sqrt(float(squares[index])), {n: g for n, g in apart.items() if g > SAME}
    )


def _active(space: Space, arms: Sequence[Mapping[str, Value]]) -> npt.NDArray[np.bool_]:
    """Return which parameters each arm has, shape (n, d)."""
    return np.array([[name in arm for name in space.names] for arm in arms], dtype=np.bool_)
