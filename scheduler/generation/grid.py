"""Every combination of some values of each parameter, in an order that may be cut short."""

import math
from collections.abc import Iterator

import numpy as np

from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.generation.space import Axis, GenerationError, Points, Space

NARROW = 10
"""An ordered parameter with no more values than this has all of them on the grid."""
FEW = 100_000
"""Points of a grid that are counted one by one where constraints forbid some of them."""
BLOCK = 1024
"""Points looked at together."""
PATIENCE = 4096 * BLOCK
"""Points looked at for one request."""


class GridGenerator:
    """The full factorial of one experiment.

    Choices and narrow ranges take part with all their values, continuous and wide ones with
    evenly spaced levels, bounds included. What constraints forbid is left out.
    """

    def __init__(self, space: Space, levels: int | None) -> None:
        """Make the grid when it is asked for; ``levels=None``: as many as the trials allow."""
        self.space = space
        self._levels = levels
        self._grids: dict[int, _Lattice] = {}

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Return the first points of the grid that are not there yet."""
        used = self.space.keys(
            request.seen, request.pending, (o.parameters for o in request.observed)
        )
        arms = []
        for point in self._lattice(request.node_trials * request.arms_per_trial).points():
            values = self.space.values(point)
            key = self.space.key(values)
            arm = None if key in used else self.space.admitted(values)
            if arm is None:
                continue
            used.add(key)
            arms.append(arm)
            if len(arms) == request.count:
                return request.reply(arms)
        return request.reply(arms, exhausted=True)

    def _lattice(self, most: int) -> "_Lattice":
        if most not in self._grids:
            levels = self._levels or _levels_for(self.space, max(1, most))
            self._grids[most] = _Lattice(self.space, levels)
        return self._grids[most]


class _Lattice:
    """The grid with so many levels of each wide parameter."""

    def __init__(self, space: Space, levels: int) -> None:
        self._space = space
        self._columns = [_coordinates(axis, levels) for axis in space.axes]
        self.size = math.prod(len(column) for column in self._columns)

    def points(self) -> Iterator[Points]:
        """Yield all feasible points, each of shape (d,), scattered from the first on.

        From the middle of their lexicographic order on, steps of the golden section go around
        through all: any run of them is spread evenly, and each comes once.
        """
        half = self.size // 2
        stride = round(self.size * (math.sqrt(5) - 1) / 2) or 1
        while math.gcd(stride, self.size) > 1:
            stride += 1
        for start in range(0, self.size, BLOCK):
            if start >= PATIENCE:
                raise GenerationError(f"the grid has {self.size} points, too many to go through")
            numbers = range(start, min(start + BLOCK, self.size))
            points = self._at([(half + number * stride) % self.size for number in numbers])
            yield from points[self._space.inside(points)]

    def feasible(self) -> int:
        """Return how many points satisfy the constraints; all of them, where there are many."""
        if self.size > FEW or not len(self._space.offsets):
            return self.size
        points = self._at(list(range(self.size)))
        return int(self._space.inside(points).sum())

    def _at(self, numbers: list[int]) -> Points:
        """Return the points of these numbers, shape (n, d)."""
        columns = []
        for column in reversed(self._columns):
            columns.append(column[[number % len(column) for number in numbers]])
            numbers = [number // len(column) for number in numbers]
        return np.stack(columns[::-1], axis=1) if columns else np.zeros((len(numbers), 0))


def _levels_for(space: Space, most: int) -> int:
    """Return the most levels, at least 2, with which the grid has at most ``most`` points."""
    low, high = 2, max(2, min(most, FEW))
    while low < high:
        middle = (low + high + 1) // 2
        if _Lattice(space, middle).feasible() <= most:
            low = middle
        else:
            high = middle - 1
    return low


def _coordinates(axis: Axis, levels: int) -> Points:
    """Return the coordinates of an axis that are on the grid, in order, shape (n,)."""
    if axis.discrete and (axis.count <= max(NARROW, levels) or not axis.ordered):
        return np.array([axis.centre(i) for i in range(int(axis.count))])
    shares = np.linspace(0.0, 1.0, levels) if levels > 1 else np.array([0.5])
    if not axis.discrete:
        return shares
    indices = np.unique(np.round(shares * (axis.count - 1)).astype(int))
    return np.array([axis.centre(int(i)) for i in indices])
