"""The volume that a Pareto front dominates, and the point that it is measured from. Pure.

Points are sequences of objectives of which larger is better.
"""

import math
from collections.abc import Sequence

Point = Sequence[float]
MARGIN = 0.1
"""Share of the front's range by which an inferred reference point lies below its worst values."""


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the volume between ``reference`` and what ``points`` dominate.

    The exclusive volumes of the points are added up one after the other (the WFG algorithm of
    While, Bradstreet and Barone 2012).
    """
    inside = [p for p in points if all(x > r for x, r in zip(p, reference, strict=True))]
    return _volume(_front(inside), reference)


def inferred_reference(front: Sequence[Point], known: Sequence[float | None]) -> list[float]:
    """Return ``known`` with what is missing inferred from a front of at least one point.

    A tenth of the front's range below its worst value (Ishibuchi et al. 2011); where it has no
    range, a tenth of that value.
    """
    columns = zip(*front, strict=True)
    return [_below(column) if k is None else k for k, column in zip(known, columns, strict=True)]


def _below(column: Sequence[float]) -> float:
    worst = min(column)
    return worst - MARGIN * (max(column) - worst or abs(worst) or 1.0)


def _volume(front: list[Point], reference: Point) -> float:
    if not front:
        return 0.0
    if len(reference) == 2:
        return _area(front, reference)
    total = 0.0
    for i, point in enumerate(front):
        # What later points cover of this one's box is theirs.
        limited = [[min(x, y) for x, y in zip(point, q, strict=True)] for q in front[i + 1 :]]
        box = math.prod(x - r for x, r in zip(point, reference, strict=True))
        total += box - _volume(_front(limited), reference)
    return total


def _area(front: list[Point], reference: Point) -> float:
    total, top = 0.0, reference[1]
    for x, y in sorted(front, key=lambda p: -p[0]):
        total += (x - reference[0]) * max(0.0, y - top)
        top = max(top, y)
    return total


def _front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one dominates, equal ones once; best first."""
    front: list[Point] = []
    for point in sorted(points, reverse=True, key=tuple):
        if not any(all(x >= y for x, y in zip(q, point, strict=True)) for q in front):
            front.append(point)
    return front
