"""Points inside linear constraints where blind draws would not find any."""

import itertools

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from scheduler.generation.space import Points, Space

_THIN = 1e-7
"""A polytope whose inner ball is smaller is treated as having no inside."""
_HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


class Polytope:
    """The feasible part of the cube, integer values included."""

    def __init__(self, space: Space) -> None:
        self.space = space
        box = np.eye(space.dimension)
        self._normals = np.vstack([space.normals, box, -box])
        self._offsets = np.concatenate(
            [space.offsets, np.ones(space.dimension), np.zeros(space.dimension)]
        )
        self._centre, self._radius = self._chebyshev()

    def draw(self, rng: np.random.Generator) -> Points | None:
        """Return a feasible point, shape (d,); None where there is none at all."""
        target = self._walk(rng) if self._radius > _THIN else rng.random(self.space.dimension)
        snapped = self.space.snap(target[None])
        return snapped[0] if self.space.inside(snapped)[0] else self.nearest(target)

    def nearest(self, target: Points) -> Points | None:
        """Return the feasible point, on the grid, nearest to ``target`` in the 1-norm."""
        discrete = np.array([axis.discrete for axis in self.space.axes])
        rounded = self._nearest_on_grid(target, discrete) if discrete.any() else target
        if rounded is None:
            return None
        return self._nearest_relaxed(rounded, discrete)

    def _walk(self, rng: np.random.Generator) -> Points:
        """Hit-and-run (Smith 1984) from the centre: uniform in the limit of many steps."""
        point, steps = self._centre.copy(), 30 * self.space.dimension
        directions = rng.standard_normal((steps, self.space.dimension))
        for direction, share in zip(directions, rng.random(steps), strict=True):
            low, high = self._chord(point, direction)
            point = point + (low + share * (high - low)) * direction
        return np.clip(point, 0.0, 1.0)

    def _chord(self, point: Points, direction: Points) -> tuple[float, float]:
        """Return the range of t with ``point + t * direction`` inside."""
        speed = self._normals @ direction
        room = np.maximum(self._offsets - self._normals @ point, 0.0)
        ahead, behind = speed > 1e-300, speed < -1e-300
        high = np.min(room[ahead] / speed[ahead], initial=np.inf)
        low = np.max(room[behind] / speed[behind], initial=-np.inf)
        return float(low), float(high)

    def _chebyshev(self) -> tuple[Points, float]:
        """Return centre and radius of the largest ball inside; radius -1 where nothing is."""
        d = self.space.dimension
        norms = np.linalg.norm(self._normals, axis=1, keepdims=True)
        cost = np.append(np.zeros(d), -1.0)
        bounds = [(0.0, 1.0)] * d + [(0.0, 1.0)]
        rows = np.hstack([self._normals, norms])
        found = linprog(cost, A_ub=rows, b_ub=self._offsets, bounds=bounds, method="highs")
        return (found.x[:d], float(found.x[d])) if found.status == 0 else (np.full(d, 0.5), -1.0)

    def _nearest_on_grid(self, target: Points, discrete: npt.NDArray[np.bool_]) -> Points | None:
        """Return a point whose discrete coordinates can be kept, by mixed-integer programming."""
        d = self.space.dimension
        counts = np.array([a.count if a.discrete else 1.0 for a in self.space.axes])
        linear = discrete & (np.abs(self.space.normals).sum(axis=0) > 0)
        # A variable z is an index where the axis has equal cells, else a coordinate: u = az + b.
        a = np.where(linear, 1.0 / counts, 1.0)
        b = np.where(linear, 0.5 / counts, 0.0)
        eye = np.eye(d)
        rows = np.block([[self.space.normals * a, np.zeros((len(self.space.offsets), d))]])
        gap = np.block([[np.diag(a), -eye], [-np.diag(a), -eye]])
        limits = np.concatenate(
            [self.space.offsets - self.space.normals @ b, target - b, b - target]
        )
        found = milp(
            np.concatenate([np.zeros(d), np.ones(d)]),
            constraints=LinearConstraint(np.vstack([rows, gap]), -np.inf, limits),
            integrality=np.concatenate([linear, np.zeros(d)]),
            bounds=Bounds(0.0, np.concatenate([np.where(linear, counts - 1, 1.0), np.ones(d)])),
        )
        if found.status != 0:
            return None
        point = np.where(linear, np.round(found.x[:d]), found.x[:d]) * a + b
        snapped: Points = self.space.snap(np.clip(point, 0.0, 1.0)[None])[0]
        return snapped

    def _nearest_relaxed(self, target: Points, keep: npt.NDArray[np.bool_]) -> Points | None:
        """Return the feasible point nearest to ``target`` with the coordinates ``keep`` kept."""
        d = self.space.dimension
        gap = np.block([[np.eye(d), -np.eye(d)], [-np.eye(d), -np.eye(d)]])
        rows = np.hstack([self.space.normals, np.zeros((len(self.space.offsets), d))])
        bounds = [(u, u) if kept else (0.0, 1.0) for u, kept in zip(target, keep, strict=True)]
        found = linprog(
            np.concatenate([np.zeros(d), np.ones(d)]),
            A_ub=np.vstack([rows, gap]),
            b_ub=np.concatenate([self.space.offsets, target, -target]),
            bounds=bounds + [(0.0, 1.0)] * d,
            method="highs",
            options=_HIGHS,
        )
        if found.status != 0:
            return None
        return np.asarray(np.where(keep, target, np.clip(found.x[:d], 0.0, 1.0)))


def every_point(space: Space) -> Points:
    """Return all feasible points of a finite space, shape (n, d)."""
    columns = [[axis.centre(i) for i in range(int(axis.count))] for axis in space.axes]
    points = np.array(list(itertools.product(*columns)), dtype=np.float64)
    points = points.reshape(len(points), space.dimension)
    return points[space.inside(points)]
