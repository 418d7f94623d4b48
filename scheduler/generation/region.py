"""Uniform points in a convex polytope, however thin, or flat."""

import numpy as np
from scipy.linalg import null_space
from scipy.optimize import linprog

from scheduler.generation.space import Mask, Points

HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
_FLAT = 1e-9
"""An inequality with no more room than this, in the unit cube, is an equation."""
_THIN = 1e-6
"""A largest ball that is smaller may mean that there is none."""
_NEWTON = 100


class Region:
    """The points x of the unit cube with ``normals @ x <= offsets``, in k dimensions.

    Its affine hull is found first, so that two inequalities may make an equation; in it the
    Dikin ellipsoid at the analytic centre says how far the region reaches in each direction.
    """

    def __init__(self, normals: Points, offsets: Points) -> None:
        k = normals.shape[1]
        sizes = np.maximum(np.linalg.norm(normals, axis=1), 1e-300)
        box = np.eye(k)
        rows = np.vstack([normals / sizes[:, None], box, -box])
        limits = np.concatenate([offsets / sizes, np.ones(k), np.zeros(k)])
        self._basis, self._rows, self._room = np.eye(k), rows, limits
        self._origin = np.zeros(k)
        start, radius = _widest(rows, limits)
        self.empty = False
        """Whether there is no point at all."""
        if radius < _THIN:
            found = _interior(rows, limits)
            self.empty = found is None
            if found is None:
                return
            self._reduce(*found)
            start, _ = _widest(self._rows, self._room)
        self._centre, self._shape = _analytic_centre(self._rows, self._room, start)

    def _reduce(self, origin: Points, flat: Mask) -> None:
        """Go over to coordinates in the affine hull, from ``origin``."""
        rows, limits = self._rows, self._room
        if flat.any():
            self._basis = null_space(rows[flat])
        loose = ~flat & (np.linalg.norm(rows @ self._basis, axis=1) > 1e-12)
        self._origin = origin
        self._rows = rows[loose] @ self._basis
        self._room = np.maximum(limits[loose] - rows[loose] @ origin, 0.0)

    def draw(self, rng: np.random.Generator, count: int) -> Points:
        """Return points, shape (count, k): hit-and-run (Smith 1984), one chain for each.

        Directions are drawn from the ellipsoid (Dikin 1967), so that a chain mixes in a needle as
        it does in a ball.
        """
        size = self._basis.shape[1]
        points = np.repeat(self._centre[None], count, axis=0)
        room = self._room - points @ self._rows.T
        for _ in range(40 + 8 * size if size else 0):
            directions = rng.standard_normal((count, size)) @ self._shape.T
            speeds = directions @ self._rows.T
            with np.errstate(divide="ignore"):
                times = np.maximum(room, 0.0) / speeds
            high = np.min(np.where(speeds > 0, times, np.inf), axis=1)
            low = np.max(np.where(speeds < 0, times, -np.inf), axis=1)
            step = (low + rng.random(count) * (high - low))[:, None]
            points += step * directions
            room -= step * speeds
        return np.clip(self._origin + points @ self._basis.T, 0.0, 1.0)


def _interior(rows: Points, limits: Points) -> tuple[Points, Mask] | None:
    """Return a point inside, and which inequalities hold with equality everywhere; None if empty.

    One linear program (Freund, Roundy, Todd 1985): as many as possible are given room at once.
    """
    m, k = rows.shape
    # rows @ y + t <= limits * scale, 0 <= t <= 1, scale >= 1: x = y / scale.
    program = np.hstack([rows, -limits[:, None], np.eye(m)])
    cost = np.concatenate([np.zeros(k + 1), -np.ones(m)])
    bounds = [(None, None)] * k + [(1.0, 1.0 / _FLAT)] + [(0.0, 1.0)] * m
    found = linprog(cost, A_ub=program, b_ub=np.zeros(m), bounds=bounds, options=HIGHS)
    if found.status != 0:
        return None
    return found.x[:k] / found.x[k], found.x[k + 1 :] < 0.5


def _widest(rows: Points, room: Points) -> tuple[Points, float]:
    """Return centre and radius of the largest ball with ``rows @ z <= room``; -1 if none is."""
    k = rows.shape[1]
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = max(float(room.max(initial=0.0)), 1e-300)
    cost = np.append(np.zeros(k), -1.0)
    bounds = [(None, None)] * k + [(0.0, None)]
    program = np.hstack([rows, norms])
    found = linprog(cost, A_ub=program, b_ub=room / unit, bounds=bounds, options=HIGHS)
    if found.status != 0:
        return np.zeros(k), -1.0
    return found.x[:k] * unit, float(found.x[k]) * unit


def _analytic_centre(rows: Points, room: Points, start: Points) -> tuple[Points, Points]:
    """Return where the product of all rooms is largest, and a root of the inverse Hessian there.

    Damped Newton steps from ``start``, where there is room on all sides.
    """
    point = start
    for _ in range(_NEWTON):
        slack = room - rows @ point
        scaled = rows / slack[:, None]
        gradient = scaled.sum(axis=0)
        hessian = scaled.T @ scaled
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        decrement = float(np.sqrt(max(gradient @ step, 0.0)))
        point = point - step / (1.0 + decrement)
        if decrement < 1e-6:
            break
    scaled = rows / (room - rows @ point)[:, None]
    _, values, axes = np.linalg.svd(scaled, full_matrices=False)
    return point, axes.T / np.maximum(values, 1e-300)
