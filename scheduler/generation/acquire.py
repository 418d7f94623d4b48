"""Where an acquisition function is highest, over a mixed and constrained space.

Its value at many points, some uniform and some near the incumbents; then from the best of them in
turns a quasi-Newton ascent in the continuous coordinates and a walk over neighbours in the others.
Linear constraints are kept all the way, by SLSQP over one point at a time: over all restarts
jointly, as BoTorch does it, a step costs the cube of their number.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, minimize
from torch import Tensor

from scheduler.generation.polytope import Polytope
from scheduler.generation.space import Points, Space

Score = Callable[[Tensor], Tensor]
"""From points, shape (b, 1, d), to values, shape (b,)."""

RAW = 512
"""Uniform points looked at; half as many again near the incumbents."""
STARTS = 4
"""Points that are climbed from; half of them uniform."""
ROUNDS = 6
"""Turns of ascent and walk at most."""
RELAXED = 32
"""A discrete axis with more values is also moved along its gradient, then rounded."""
_SOLVER = {"maxiter": 60, "ftol": 1e-8}


class Maximizer:
    """One search: the acquisition function ``score`` over ``space``."""

    def __init__(
        self, space: Space, score: Score, rng: np.random.Generator, polytope: Polytope | None
    ) -> None:
        self.space = space
        self._score = score
        self._rng = rng
        self._polytope = polytope
        self._discrete = np.array([axis.discrete for axis in space.axes])
        relaxed = np.array([axis.ordered and axis.count > RELAXED for axis in space.axes])
        self._free = np.flatnonzero(~self._discrete | relaxed)

    def ranked(self, incumbents: Points) -> Points:
        """Return feasible points on the grid, best first, shape (n, d); ``incumbents``: (k, d)."""
        groups = [self._uniform(), self._near(incumbents)]
        values = [self._values(points) for points in groups]
        ends, tops = [], []
        for points, worth in zip(groups, values, strict=True):
            for i in np.argsort(-worth, kind="stable")[: STARTS // 2]:
                end, top = self._climb(points[i], float(worth[i]))
                ends.append(end)
                tops.append(top)
        everything = np.vstack([np.array(ends), *groups])
        order = np.argsort(-np.concatenate([np.array(tops), *values]), kind="stable")
        return everything[order]

    def _uniform(self) -> Points:
        points = self.space.snap(self._rng.random((RAW, self.space.dimension)))
        points = points[self.space.inside(points)]
        if self._polytope is not None and len(points) < RAW // 8:
            drawn = [self._polytope.draw(self._rng) for _ in range(RAW // 8)]
            points = np.vstack([points, *(p[None] for p in drawn if p is not None)])
        return points

    def _near(self, incumbents: Points) -> Points:
        """Return points that differ from an incumbent in some coordinates, a little or a jump."""
        shape = (RAW // 2, self.space.dimension)
        base = incumbents[self._rng.integers(len(incumbents), size=shape[0])]
        size = 10.0 ** self._rng.uniform(-3.0, -0.7, size=(shape[0], 1))
        changed = self._rng.random(shape) < max(0.3, min(1.0, 3 / shape[1]))
        jumps = changed & self._discrete & (self._rng.random(shape) < 0.3)
        points = base + changed * size * self._rng.standard_normal(shape)
        points = np.where(jumps, self._rng.random(shape), np.clip(points, 0.0, 1.0))
        points = self.space.snap(points)
        return points[self.space.inside(points)]

    def _values(self, points: Points) -> Points:
        if not len(points):
            return np.zeros(0)
        with torch.no_grad():
            chunks = np.array_split(points, -(-len(points) // 256))
            parts = [self._score(torch.as_tensor(chunk)[:, None]) for chunk in chunks]
        return np.asarray(torch.cat(parts).nan_to_num(-torch.inf).numpy())

    def _climb(self, point: Points, value: float) -> tuple[Points, float]:
        for _ in range(ROUNDS):
            before = value
            point, value = self._ascend(point, value)
            point, value, moved = self._walk(point, value)
            if not moved or value - before < 1e-4:
                break
        return point, value

    def _walk(self, point: Points, value: float) -> tuple[Points, float, bool]:
        """Go to the best neighbour while there is a better one; say whether there was."""
        moved = False
        for _ in range(10):
            others = self._neighbours(point)
            values = self._values(others)
            if not len(values) or not values.max() > value + 1e-6:
                break
            best = int(values.argmax())
            point, value, moved = others[best], float(values[best]), True
        return point, value, moved

    def _neighbours(self, point: Points) -> Points:
        """Return the feasible points with one discrete coordinate changed."""
        others = []
        for j in np.flatnonzero(self._discrete):
            for coordinate in self.space.axes[j].neighbours(float(point[j])):
                others.append(point.copy())
                others[-1][j] = coordinate
        points = np.array(others).reshape(len(others), self.space.dimension)
        return points[self.space.inside(points)]

    def _ascend(self, point: Points, value: float) -> tuple[Points, float]:
        """Follow the gradient in the free coordinates; stay where that does not help."""
        if not len(self._free):
            return point, value
        constraints = self._constraints(point)
        found = minimize(
            self._descent(point),
            point[self._free],
            jac=True,
            bounds=Bounds(0.0, 1.0),
            method="SLSQP" if constraints else "L-BFGS-B",
            constraints=constraints,
            options=_SOLVER,
        )
        end = point.copy()
        end[self._free] = np.clip(np.nan_to_num(found.x, nan=0.5), 0.0, 1.0)
        ends = self.space.snap((point + self._share(point, end) * (end - point))[None])
        if not self.space.inside(ends)[0]:
            return point, value
        top = float(self._values(ends)[0])
        return (ends[0], top) if top > value else (point, value)

    def _descent(self, point: Points) -> Callable[[Points], tuple[float, Points]]:
        """Return minus the score and its gradient, as a function of the free coordinates."""
        whole, index = torch.as_tensor(point), torch.as_tensor(self._free)

        def negative(free: Points) -> tuple[float, Points]:
            z = torch.as_tensor(free).requires_grad_(True)
            value = -self._score(whole.index_put((index,), z)[None, None]).sum()
            (gradient,) = torch.autograd.grad(value, z)
            return value.item(), np.asarray(gradient.numpy())

        return negative

    def _constraints(self, point: Points) -> list[LinearConstraint]:
        """Return the constraints on the free coordinates, the others being as in ``point``."""
        normals = self.space.normals[:, self._free]
        sizes = np.abs(normals).sum(axis=1)
        bound = sizes > 0
        if not bound.any():
            return []
        held = np.delete(np.arange(self.space.dimension), self._free)
        room = self.space.offsets - self.space.normals[:, held] @ point[held]
        scaled = normals[bound] / sizes[bound, None]
        return [LinearConstraint(scaled, -np.inf, room[bound] / sizes[bound])]

    def _share(self, inside: Points, end: Points) -> float:
        """Return how far from a feasible point towards ``end`` all is feasible, from 0 to 1."""
        room = np.maximum(self.space.offsets - self.space.normals @ inside, 0.0)
        used = self.space.normals @ (end - inside)
        tight = used > room
        return float(np.min(room[tight] / used[tight], initial=1.0))
