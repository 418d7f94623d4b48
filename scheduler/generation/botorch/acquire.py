"""Where an acquisition function is highest, over a mixed and constrained space.

Its value at many points, some uniform and some near the incumbents; then from the best of them, of
different discrete values where there are any, a quasi-Newton ascent in the continuous coordinates,
all starts side by side; then a walk over neighbours in the discrete ones, each followed by an
ascent. Where an ascent leaves the linear constraints, it is done again within them by SLSQP.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, minimize
from torch import Tensor

from scheduler.generation.botorch.minimize import minimized
from scheduler.generation.botorch.pool import RAW, Box, Pool
from scheduler.generation.polytope import Polytope
from scheduler.generation.space import Points, Space

Score = Callable[[Tensor], Tensor]
"""From points, shape (n, d), to values, shape (n,)."""

STARTS = 5
"""Points of each kind that are climbed from."""
WITHIN = 3
"""Ascents that are done again within linear constraints."""
ROUNDS, TRIED = 6, 4
"""Walks over neighbours at most, and how many neighbours each ascends from."""
RELAXED = 32
"""A discrete axis with more values is also moved along its gradient, then rounded."""
_LOWEST = -1e300


class Maximizer:
    """One search: the acquisition function ``score`` over ``space``, or a box within it."""

    def __init__(
        self,
        space: Space,
        score: Score,
        rng: np.random.Generator,
        polytope: Polytope | None,
        box: Box | None = None,
        *,
        front: bool = False,
    ) -> None:
        """Look nowhere yet.

        ``box``: the least and the greatest coordinates, both (d,); by default the cube's;
        ``front``: whether it is one that is looked for, of several objectives.
        """
        self.space = space
        self._score = score
        self._pool = Pool(space, rng, polytope, box, front=front)
        self._low, self._high = self._pool.box
        self._discrete = np.array([axis.discrete for axis in space.axes])
        relaxed = np.array([axis.ordered and axis.count > RELAXED for axis in space.axes])
        self._free = np.flatnonzero(~self._discrete | relaxed)

    def ranked(self, incumbents: Points) -> Points:
        """Return feasible points on the grid, best first, shape (n, d); ``incumbents``: (k, d)."""
        groups = [self._pool.uniform(incumbents), self._pool.near(incumbents)]
        values = [self._values(points) for points in groups]
        starts = [
            points[self._different(points, worth)]
            for points, worth in zip(groups, values, strict=True)
        ]
        ends = self._ascended(np.vstack(starts))
        tops = self._values(ends)
        if self._discrete.any():
            ends, tops = self._walked(ends, tops)
        everything = np.vstack([ends, *groups])
        order = np.argsort(-np.concatenate([tops, *values]), kind="stable")
        return everything[order]

    def _values(self, points: Points) -> Points:
        if not len(points):
            return np.zeros(0)
        with torch.no_grad():
            chunks = np.array_split(points, -(-len(points) // RAW))
            parts = [self._score(torch.as_tensor(chunk)) for chunk in chunks]
        return np.asarray(torch.cat(parts).nan_to_num(_LOWEST, neginf=_LOWEST).numpy())

    def _different(self, points: Points, values: Points) -> list[int]:
        """Return the best points, no two with the same discrete coordinates if there are any."""
        chosen: list[int] = []
        taken = set()
        for i in np.argsort(-values, kind="stable"):
            key = points[i][self._discrete].tobytes() if self._discrete.any() else int(i)
            if key not in taken:
                taken.add(key)
                chosen.append(int(i))
            if len(chosen) == STARTS:
                break
        return chosen

    def _walked(self, points: Points, values: Points) -> tuple[Points, Points]:
        """Add what better neighbours of the best point lead to, while there are any."""
        for _ in range(ROUNDS):
            best = int(values.argmax())
            others = self._neighbours(points[best])
            if not len(others):
                break
            order = np.argsort(-self._values(others), kind="stable")[:TRIED]
            ends = self._ascended(others[order])
            tops = self._values(ends)
            better = tops.max() > values[best] + 1e-6
            points, values = np.vstack([points, ends]), np.concatenate([values, tops])
            if not better:
                break
        return points, values

    def _neighbours(self, point: Points) -> Points:
        """Return the feasible points with one discrete coordinate changed."""
        others = []
        for j in np.flatnonzero(self._discrete):
            for coordinate in self.space.axes[j].neighbours(float(point[j])):
                others.append(point.copy())
                others[-1][j] = coordinate
        return self._pool.allowed(np.array(others).reshape(len(others), self.space.dimension))

    def _ascended(self, points: Points) -> Points:
        """Return where the gradient leads from each point, in the free coordinates."""
        if not len(self._free) or not len(points):
            return points
        base, index = torch.as_tensor(points), torch.as_tensor(self._free)
        active = torch.as_tensor(self.space.active(points)[:, self._free])

        def descent(free: Tensor, which: list[int]) -> tuple[Tensor, Tensor]:
            z = free.requires_grad_(True)
            values = -self._score(base[which].index_copy(1, index, z))
            (gradient,) = torch.autograd.grad(values.sum(), z)
            return values.detach().nan_to_num(-_LOWEST), gradient.nan_to_num(0.0) * active[which]

        bounds = list(zip(self._low[self._free], self._high[self._free], strict=True))
        found, _ = minimized(descent, points[:, self._free], bounds, steps=50, tolerance=1e-5)
        ends = points.copy()
        ends[:, self._free] = np.clip(np.nan_to_num(found, nan=0.5), 0.0, 1.0)
        ends = self.space.snap(ends)
        outside = np.flatnonzero(~self.space.inside(ends))
        ends[outside] = points[outside]
        for i in outside[:WITHIN]:
            ends[i] = self._within(points[i])
        return ends

    def _within(self, point: Points) -> Points:
        """Return where the gradient leads from a feasible point without leaving what is."""
        base, index = torch.as_tensor(point), torch.as_tensor(self._free)
        active = torch.as_tensor(self.space.active(point[None])[0, self._free])

        def descent(free: Points) -> tuple[float, Points]:
            z = torch.as_tensor(free).requires_grad_(True)
            value = -self._score(base.index_copy(0, index, z)[None]).sum()
            (gradient,) = torch.autograd.grad(value, z)
            return value.item(), np.asarray((gradient.nan_to_num(0.0) * active).numpy())

        found = minimize(
            descent,
            point[self._free],
            jac=True,
            bounds=Bounds(self._low[self._free], self._high[self._free]),
            method="SLSQP",
            constraints=self._constraints(point),
            options={"maxiter": 60, "ftol": 1e-9},
        )
        end = point.copy()
        end[self._free] = np.clip(np.nan_to_num(found.x, nan=0.5), 0.0, 1.0)
        end = self.space.snap((point + self._share(point, end) * (end - point))[None])[0]
        return end if self.space.inside(end[None])[0] else point

    def _constraints(self, point: Points) -> list[LinearConstraint]:
        """Return the constraints on the free coordinates, the others being as in ``point``."""
        rows = self.space.applies(point[None])[0]
        normals = self.space.normals[rows][:, self._free]
        sizes = np.abs(normals).sum(axis=1)
        bound = sizes > 0
        held = np.delete(np.arange(self.space.dimension), self._free)
        room = self.space.offsets[rows] - self.space.normals[rows][:, held] @ point[held]
        scaled = normals[bound] / sizes[bound, None]
        return [LinearConstraint(scaled, -np.inf, room[bound] / sizes[bound])]

    def _share(self, inside: Points, end: Points) -> float:
        """Return how far from a feasible point towards ``end`` all is feasible, from 0 to 1."""
        rows = self.space.applies(inside[None])[0]
        normals, offsets = self.space.normals[rows], self.space.offsets[rows]
        room = np.maximum(offsets - normals @ inside, 0.0)
        used = normals @ (end - inside)
        tight = used > room
        return float(np.min(room[tight] / used[tight], initial=1.0))
