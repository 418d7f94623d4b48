"""Points worth looking at: uniform ones, and ones near the incumbents; all feasible."""

import numpy as np

from scheduler.generation.polytope import Polytope
from scheduler.generation.space import Points, Space

RAW, NEAR = 512, 256
"""Uniform points, and points near the incumbents; fewer where constraints forbid some, twice as
many where there are discrete parameters, which no gradient leads through, and for a front."""
NARROWEST, NARROWEST_OF_A_FRONT = 1e-5, 1e-3
"""How near to an incumbent: one optimum is pinned down, while a front has gaps to be filled."""
Box = tuple[Points, Points]
"""The least and the greatest coordinates, both of shape (d,)."""


class Pool:
    """Draws of points in ``space``, or in a box within it."""

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        polytope: Polytope | None,
        box: Box | None = None,
        *,
        front: bool = False,
    ) -> None:
        """``polytope``: of the linear constraints; ``front``: of several objectives."""
        self.space = space
        self._rng = rng
        self._polytope = polytope
        self._boxed = box is not None
        self.box = box or (np.zeros(space.dimension), np.ones(space.dimension))
        self._discrete = np.array([axis.discrete for axis in space.axes])
        self._looks = 2 if front or self._discrete.any() else 1
        self._narrowest = np.log10(NARROWEST_OF_A_FRONT if front else NARROWEST)

    def uniform(self, incumbents: Points) -> Points:
        """Return points from everywhere in the box, shape (n, d); ``incumbents``: (k, d)."""
        low, high = self.box
        cube = self._rng.random((RAW * self._looks, self.space.dimension))
        points = self.allowed(low + (high - low) * cube)
        if self._polytope is not None and len(points) < RAW // 8:
            drawn = self._polytope.draws(self._rng, RAW // 8)
            if self._boxed:
                drawn = self.allowed(self._pulled(drawn, incumbents[0]))
            points = np.vstack([points, drawn])
        return points

    def near(self, incumbents: Points) -> Points:
        """Return points that differ from an incumbent in some coordinates, a little or a jump."""
        rng, count = self._rng, NEAR * self._looks
        shape = count, self.space.dimension
        points = incumbents[rng.integers(len(incumbents), size=count)]
        changed = rng.random(shape) < max(0.3, 1.5 / self.space.dimension)
        changed[np.arange(count), rng.integers(self.space.dimension, size=count)] = True
        width = 10.0 ** rng.uniform(self._narrowest, -0.5, size=(count, 1))
        moved = points + width * rng.standard_normal(shape)
        jump = self._discrete & (rng.random(shape) < 0.5)
        moved = np.where(jump, rng.random(shape), moved)
        return self.allowed(np.where(changed, moved, points))

    def allowed(self, points: Points) -> Points:
        """Return those of ``points``, moved into the box and onto the grid, that are feasible."""
        points = self.space.snap(np.clip(points, *self.box))
        return points[self.space.inside(points)]

    def _pulled(self, points: Points, centre: Points) -> Points:
        """Return where the ways from ``centre``, which is in the box, to ``points`` leave it.

        What is feasible is convex, so that they do not leave that.
        """
        low, high = self.box
        way = points - centre
        room = np.where(way > 0, high - centre, centre - low)
        share = np.min(room / np.maximum(np.abs(way), 1e-300), axis=1, keepdims=True)
        share = np.minimum(share, 1.0) * self._rng.random((len(points), 1))
        return np.asarray(centre + share * way)
