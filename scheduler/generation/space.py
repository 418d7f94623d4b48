"""The search space as a unit cube: one column for each parameter that can vary. numpy only."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from scheduler.model.base import Value
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.parameters import ChoiceParameter, Parameter, RangeParameter
from scheduler.model.search_space import LinearConstraint

Points = npt.NDArray[np.float64]
"""Shape (n, d) or (d,), coordinates in [0, 1]."""
Mask = npt.NDArray[np.bool_]
Key = tuple[Value | None, ...]
When = tuple[int, Points]
"""A column, and the coordinates of its values for which something else is active."""

MIDDLE = 0.5
"""Where a coordinate lies that is not active."""

_SLACK = 1e-9
"""How far a point may pass a constraint in the cube; ``admit`` has the last word."""


class GenerationError(Exception):
    """A generator cannot answer this request; its text says why, in one sentence."""


class Axis:
    """One parameter and its column of the cube.

    A parameter with ``count`` values splits [0, 1] into cells and each value sits in the middle
    of its own. The cells are equal, so that equal shares of a uniform sequence fall on each;
    those of an integer with log scaling are as wide as the integer is on a log scale.
    """

    def __init__(self, parameter: RangeParameter | ChoiceParameter) -> None:
        self.parameter = parameter
        self.name = parameter.name
        self.count = parameter.cardinality
        """How many values; infinite for a continuous range."""
        self.ordered = isinstance(parameter, RangeParameter) or parameter.is_ordered
        self._log = isinstance(parameter, RangeParameter) and parameter.scaling == "log"
        if isinstance(parameter, RangeParameter):
            half = 0.5 if self.discrete else 0.0
            edges = (parameter.bounds[0] - half, parameter.bounds[1] + half)
            self._edges = (math.log(edges[0]), math.log(edges[1])) if self._log else edges

    @property
    def discrete(self) -> bool:
        """Whether it has finitely many values."""
        return math.isfinite(self.count)

    def value(self, coordinate: float) -> Value:
        """Return the value whose cell holds ``coordinate``."""
        parameter = self.parameter
        if isinstance(parameter, RangeParameter) and (self._log or not self.discrete):
            lower, upper = self._edges
            number = lower * (1.0 - coordinate) + upper * coordinate
            return parameter.nearest(math.exp(number) if self._log else number)
        index = min(int(coordinate * self.count), int(self.count) - 1)
        if isinstance(parameter, RangeParameter):
            return parameter.at(index)
        choice: Value = parameter.values[index]
        return choice

    def coordinate(self, value: Value) -> float:
        """Return where ``value`` sits; of a discrete axis always the same point of its cell."""
        parameter = self.parameter
        if isinstance(parameter, ChoiceParameter):
            return (parameter.values.index(value) + 0.5) / self.count
        number = float(value)
        if self._log or not self.discrete:
            lower, upper = self._edges
            number = math.log(number) if self._log else number
            return (number - lower) / (upper - lower)
        assert parameter.step is not None
        return (round((number - parameter.bounds[0]) / parameter.step) + 0.5) / self.count

    def snap(self, column: Points) -> Points:
        """Return the coordinates of the values whose cells hold ``column``, shape (n,)."""
        if not self.discrete:
            return column
        if self._log:
            return np.array([self.coordinate(self.value(float(u))) for u in column])
        cells = np.minimum(np.floor(column * self.count), self.count - 1)
        return np.asarray((cells + 0.5) / self.count)

    def affine(self) -> tuple[float, float]:
        """Return (slope, intercept) of the value in the coordinate: linear ranges only."""
        assert isinstance(self.parameter, RangeParameter)
        assert not self._log
        lower, upper = self.parameter.bounds
        step = self.parameter.step
        if step is None:
            return upper - lower, lower
        return step * self.count, lower - step / 2

    def neighbours(self, coordinate: float, most: int = 64) -> list[float]:
        """Return the coordinates a local search tries next from ``coordinate``.

        All other values where there is no order or there are few; else those 1, 2, 4 ... steps
        off, both ways.
        """
        count = int(self.count)
        here = self._index(coordinate)
        if count <= 8 or (not self.ordered and count <= most):
            return [self.centre(i) for i in range(count) if i != here]
        if not self.ordered:
            stride = -(-count // most)
            return [self.centre(i) for i in range(here % stride, count, stride) if i != here]
        hops = [sign * 2**k for k in range(count.bit_length()) for sign in (-1, 1)]
        return [self.centre(here + hop) for hop in hops if 0 <= here + hop < count]

    def beside(self, coordinate: float) -> tuple[float, float]:
        """Return the coordinates of the values before and after; at an end, the end's own."""
        here = self._index(coordinate)
        return self.centre(max(here - 1, 0)), self.centre(min(here + 1, int(self.count) - 1))

    def _index(self, coordinate: float) -> int:
        if not self._log:
            return min(int(coordinate * self.count), int(self.count) - 1)
        assert isinstance(self.parameter, RangeParameter)
        return int(float(self.value(coordinate)) - self.parameter.bounds[0])

    def centre(self, index: int) -> float:
        """Return the coordinate of value number ``index``."""
        if not self._log:
            return (index + 0.5) / self.count
        assert isinstance(self.parameter, RangeParameter)
        return self.coordinate(self.parameter.at(index))


class Space:
    """A definition's parameters and linear constraints, over the unit cube.

    The coordinate of a parameter that is not active in an arm is the middle of its axis, so that
    arms that are equal are one point.
    """

    def __init__(self, definition: ExperimentDefinition) -> None:
        self.definition = definition
        self.axes = tuple(_free(definition.parameters))
        self.names = tuple(axis.name for axis in self.axes)
        self.dimension = len(self.axes)
        self.size = definition.cardinality
        """How many arms there are, constraints left aside; may be infinite."""
        self._column = {name: j for j, name in enumerate(self.names)}
        self._continuous = np.array([not axis.discrete for axis in self.axes], dtype=np.bool_)
        self._fixed = definition.search_space.fixed
        self._constants = {p.name: p.values[0] for p in _single(definition.parameters)}
        self._constraints = definition.search_space.constraints
        self.when_axis = [self._when([name]) for name in self.names]
        self.when_row = [self._when(c.needs) for c in self._constraints]
        self.conditional = any(self.when_axis)
        """Whether some parameters are not active in every arm."""
        self.normals, self.offsets = self._half_spaces(self._constraints)
        """A point u is inside where ``normals @ u <= offsets``; shapes (c, d) and (c,)."""

    def key(self, parameters: Mapping[str, Value]) -> Key:
        """Return what two arms have in common only if they are equal."""
        return tuple(parameters.get(name) for name in self.names)

    def keys(self, *arms: Iterable[Mapping[str, Value]]) -> set[Key]:
        """Return the keys of all ``arms``."""
        return {self.key(arm) for several in arms for arm in several}

    def encode(self, arms: Sequence[Mapping[str, Value]]) -> Points:
        """Return the points of ``arms``, shape (n, d)."""
        rows = [
            [a.coordinate(arm[a.name]) if a.name in arm else MIDDLE for a in self.axes]
            for arm in arms
        ]
        return np.array(rows, dtype=np.float64).reshape(len(arms), self.dimension)

    def arm(self, point: Points) -> dict[str, Value] | None:
        """Return the arm at ``point``, shape (d,), or None where a constraint forbids it."""
        return self.admitted(self.values(point))

    def values(self, point: Points) -> dict[str, Value]:
        """Return what ``point``, shape (d,), stands for, whether or not it is admitted.

        Where it is beyond a constraint by rounding alone, the nearest values that are not.
        """
        values = self._valued(point)
        for _ in range(4 if len(self.offsets) else 0):
            excess = np.array([c.excess({**self._fixed, **values}) for c in self._constraints])
            if not excess.any() or (excess > _SLACK * self._scale).any():
                break
            point = self._drawn_back(point, excess)
            values = self._valued(point)
        return values

    def _drawn_back(self, point: Points, excess: Points) -> Points:
        """Return ``point`` moved off the constraints it is beyond, in continuous coordinates."""
        normals = np.where(self._continuous, self.normals, 0.0)
        lengths = np.maximum((normals**2).sum(axis=1), 1e-300)
        steps = np.where(excess > 0, (2 * excess + 1e-15 * self._scale) / lengths, 0.0)
        return np.asarray(np.clip(point - steps @ normals, 0.0, 1.0))

    def _valued(self, point: Points) -> dict[str, Value]:
        varied = {a.name: a.value(float(u)) for a, u in zip(self.axes, point, strict=True)}
        values = {**self._constants, **varied}
        if not self.conditional:
            return values
        space = self.definition.search_space
        everything = {**self._fixed, **values}
        return {n: value for n, value in values.items() if space.is_active(n, everything)}

    def admitted(self, values: Mapping[str, Value]) -> dict[str, Value] | None:
        """Return the arm of ``values``, or None where a constraint forbids it."""
        try:
            return self.definition.admit(values)
        except ValueError:
            return None  # The one judge of constraints has said no; callers try another point.

    def snap(self, points: Points) -> Points:
        """Return ``points``, shape (n, d), each coordinate moved to that of its value.

        One that is not active is moved to the middle.
        """
        if any(axis.discrete for axis in self.axes):
            columns = [axis.snap(points[:, j]) for j, axis in enumerate(self.axes)]
            points = np.stack(columns, axis=1)
        return np.where(self.active(points), points, MIDDLE) if self.conditional else points

    def active(self, points: Points) -> Mask:
        """Return which coordinates of ``points``, shape (n, d), are active; the same shape."""
        return self._where(self.when_axis, points)

    def applies(self, points: Points) -> Mask:
        """Return which constraints apply to each of ``points``, shape (n, d); shape (n, c)."""
        return self._where(self.when_row, points)

    def inside(self, points: Points) -> Mask:
        """Return which of ``points``, shape (n, d), satisfy the constraints, as they stand."""
        if not len(self.offsets):
            return np.ones(len(points), dtype=np.bool_)
        room = self.offsets - points @ self.normals.T
        held = room >= -_SLACK * self._scale
        return np.asarray((held | ~self.applies(points)).all(axis=1))

    def _when(self, names: Iterable[str]) -> list[When]:
        """Return the conditions under which all ``names`` are active, those above them too."""
        conditions = self.definition.search_space.conditions
        found: list[When] = []
        for name in names:
            child = name
            while child in conditions:
                condition = conditions[child]
                child = condition.parent
                if child in self._column:
                    axis = self.axes[self._column[child]]
                    cells = [axis.coordinate(value) for value in condition.values]
                    found.append((self._column[child], np.array(cells)))
        return found

    def _where(self, conditions: list[list[When]], points: Points) -> Mask:
        mask = np.ones((len(points), len(conditions)), dtype=np.bool_)
        for j, needed in enumerate(conditions):
            for column, coordinates in needed:
                half = 0.5 / self.axes[column].count
                gaps = np.abs(points[:, column, None] - coordinates)
                mask[:, j] &= (gaps <= half).any(axis=1)
        return mask

    def _half_spaces(self, constraints: Sequence[LinearConstraint]) -> tuple[Points, Points]:
        normals = np.zeros((len(constraints), self.dimension))
        offsets = np.array([c.bound for c in constraints], dtype=np.float64)
        for i, constraint in enumerate(constraints):
            for name, weight in constraint.weights.items():
                slope, intercept = self.axes[self._column[name]].affine()
                normals[i, self._column[name]] = weight * slope
                offsets[i] -= weight * intercept
        self._scale = np.maximum(np.abs(normals).sum(axis=1), 1e-300)
        return normals, offsets


def _free(parameters: Iterable[Parameter]) -> Iterable[Axis]:
    """Yield an axis for each parameter with more than one value."""
    for parameter in parameters:
        if isinstance(parameter, RangeParameter | ChoiceParameter) and parameter.cardinality > 1:
            yield Axis(parameter)


def _single(parameters: Iterable[Parameter]) -> Iterable[ChoiceParameter]:
    """Yield the choices that leave none."""
    for parameter in parameters:
        if parameter.type == "choice" and parameter.cardinality == 1:
            yield parameter
