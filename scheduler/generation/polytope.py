"""Points inside linear constraints where blind draws would not find any."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from scheduler.generation.region import HIGHS, Region
from scheduler.generation.space import MIDDLE, Mask, Points, Space

LARGEST_LEVEL = 2_000_000
"""Points times values looked at together while a finite space is listed."""


class Polytope:
    """The feasible part of the cube, discrete values included.

    Where parameters depend on others, it is a polytope for each set of constraints that apply.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._discrete = np.array([axis.discrete for axis in space.axes])
        self._regions: dict[bytes, Region] = {}

    def draws(self, rng: np.random.Generator, count: int) -> Points:
        """Return at most ``count`` feasible points, uniform as far as the grid allows: (n, d)."""
        targets = rng.random((count, self.space.dimension))
        applies = self.space.applies(targets)
        for pattern in np.unique(applies, axis=0):
            self._fill(targets, (applies == pattern).all(axis=1), pattern, rng)
        snapped = self.space.snap(targets)
        inside = self.space.inside(snapped)
        found = [
            point if fits else self.nearest(target)
            for point, fits, target in zip(snapped, inside, targets, strict=True)
        ]
        points = np.array([point for point in found if point is not None])
        return points.reshape(len(points), self.space.dimension)

    def nearest(self, target: Points) -> Points | None:
        """Return the feasible point, on the grid, nearest to ``target`` in the 1-norm.

        With the constraints that apply to ``target``; None where there is none.
        """
        rows = self.space.applies(target[None])[0]
        scale = np.maximum(np.abs(self.space.normals[rows]).max(axis=1, initial=0.0), 1e-300)
        normals = self.space.normals[rows] / scale[:, None]
        offsets = self.space.offsets[rows] / scale
        point: Points | None = target
        if self._discrete.any():
            point = self._nearest_on_grid(target, normals, offsets)
        if point is not None and not self._discrete.all():
            point = _nearest_relaxed(point, normals, offsets, self._discrete)
        return None if point is None else self.space.snap(point[None])[0]

    def _fill(self, targets: Points, chosen: Mask, rows: Mask, rng: np.random.Generator) -> None:
        """Move the ``chosen`` of ``targets`` into the constraints ``rows``, in their columns."""
        normals = self.space.normals[rows]
        columns = np.flatnonzero(np.abs(normals).sum(axis=0) > 0)
        if not len(columns):
            return
        key = rows.tobytes()
        if key not in self._regions:
            self._regions[key] = Region(normals[:, columns], self.space.offsets[rows])
        region = self._regions[key]
        if not region.empty:
            targets[np.ix_(chosen, columns)] = region.draw(rng, int(chosen.sum()))

    def _nearest_on_grid(self, target: Points, normals: Points, offsets: Points) -> Points | None:
        """Return a point whose discrete coordinates can be kept, by mixed-integer programming."""
        d = self.space.dimension
        counts = np.array([a.count if a.discrete else 1.0 for a in self.space.axes])
        linear = self._discrete & (np.abs(normals).sum(axis=0) > 0)
        # A variable z is an index where the axis has equal cells, else a coordinate: u = az + b.
        a = np.where(linear, 1.0 / counts, 1.0)
        b = np.where(linear, 0.5 / counts, 0.0)
        eye = np.eye(d)
        rows = np.block([[normals * a, np.zeros((len(offsets), d))]])
        gap = np.block([[np.diag(a), -eye], [-np.diag(a), -eye]])
        limits = np.concatenate([offsets - normals @ b, target - b, b - target])
        found = milp(
            np.concatenate([np.zeros(d), np.ones(d)]),
            constraints=LinearConstraint(np.vstack([rows, gap]), -np.inf, limits),
            integrality=np.concatenate([linear, np.zeros(d)]),
            bounds=Bounds(0.0, np.concatenate([np.where(linear, counts - 1, 1.0), np.ones(d)])),
        )
        if found.status != 0:
            return None
        point = np.where(linear, np.round(found.x[:d]), found.x[:d]) * a + b
        columns = [axis.snap(point[j : j + 1]) for j, axis in enumerate(self.space.axes)]
        return np.clip(np.concatenate(columns), 0.0, 1.0)


def _nearest_relaxed(
    target: Points, normals: Points, offsets: Points, keep: Mask
) -> Points | None:
    """Return the feasible point nearest to ``target`` with the coordinates ``keep`` kept."""
    d = len(target)
    gap = np.block([[np.eye(d), -np.eye(d)], [-np.eye(d), -np.eye(d)]])
    rows = np.hstack([normals, np.zeros((len(offsets), d))])
    bounds = [(u, u) if kept else (0.0, 1.0) for u, kept in zip(target, keep, strict=True)]
    found = linprog(
        np.concatenate([np.zeros(d), np.ones(d)]),
        A_ub=np.vstack([rows, gap]),
        b_ub=np.concatenate([offsets, target, -target]),
        bounds=bounds + [(0.0, 1.0)] * d,
        method="highs",
        options=HIGHS,
    )
    if found.status != 0:
        return None
    return np.asarray(np.where(keep, target, np.clip(found.x[:d], 0.0, 1.0)))


def every_point(space: Space, most: int) -> Points | None:
    """Return all feasible points of a finite space, shape (n, d); None where there are too many.

    Axis by axis; what constraints that always apply rule out whatever follows is dropped at once,
    so that few points of a vast grid are listed as well.
    """
    always = [i for i, conditions in enumerate(space.when_row) if not conditions]
    normals, offsets = space.normals[always], space.offsets[always]
    slack = 1e-9 * np.maximum(np.abs(normals).sum(axis=1), 1e-300)
    points = np.full((1, space.dimension), MIDDLE)
    least = _least(space, normals)
    totals = np.zeros((1, len(always)))
    for j in _listing_order(space):
        count = space.axes[j].count
        if len(points) * count > LARGEST_LEVEL:
            return None
        values = np.array([space.axes[j].centre(i) for i in range(int(count))])
        rest = offsets + slack - least[j]
        active = np.flatnonzero(space.active(points)[:, j])
        fits = np.ones((len(active), len(values)), dtype=np.bool_)
        for i in range(len(always)):
            fits &= totals[active, i, None] + normals[i, j] * values <= rest[i]
        row, column = np.nonzero(fits)
        if len(row) > most:
            return None
        grown = points[active[row]]
        grown[:, j] = values[column]
        kept = np.setdiff1d(np.arange(len(points)), active)
        points = np.vstack([points[kept], grown])
        added = totals[active[row]] + values[column, None] * normals[:, j]
        totals = np.vstack([totals[kept], added])
    return points[space.inside(points)]


def _listing_order(space: Space) -> list[int]:
    """Return the columns, those that decide about others first, then the constrained ones."""
    used = (
        np.abs(space.normals).sum(axis=0) > 0 if len(space.offsets) else np.zeros(space.dimension)
    )
    return sorted(range(space.dimension), key=lambda j: (len(space.when_axis[j]), not used[j], j))


def _least(space: Space, normals: Points) -> dict[int, Points]:
    """Return, for each column, the least that those listed after it add to each row."""
    ends = [
        (a.centre(0), a.centre(int(a.count) - 1)) if a.discrete else (0, 1) for a in space.axes
    ]
    rest, least = np.zeros(len(normals)), {}
    for j in reversed(_listing_order(space)):
        least[j] = rest
        rest = rest + np.minimum(normals[:, j] * ends[j][0], normals[:, j] * ends[j][1])
    return least
