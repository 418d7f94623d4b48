"""Parameters of a search space: range, choice, fixed, derived; what values they admit."""

import math
import sys
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from scheduler.model.base import Model, Name, Value, did_you_mean
from scheduler.model.derived import DerivedParameter

LARGEST_INTEGER = 2**53
Dependents = dict[str, tuple[Name, ...]]
"""From a value, as text, to the parameters that are active while it is chosen."""
ValueDependents = tuple[tuple[Value, tuple[str, ...]], ...]
_TYPES: dict[str, type] = {"float": float, "int": int, "str": str, "bool": bool}


class RangeParameter(Model):
    """Every number between two bounds, both included."""

    name: Name
    type: Literal["range"] = "range"
    parameter_type: Literal["float", "int"] = "float"
    bounds: tuple[float, float]
    scaling: Literal["linear", "log"] = "linear"
    step_size: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "RangeParameter":
        lower, upper = self.bounds
        if not lower < upper:
            raise ValueError(
                f"bounds of {self.name} must rise, but {lower:g} is not below {upper:g}"
            )
        if self.scaling == "log" and lower <= 0:
            raise ValueError(f"{self.name} has log scaling, so its lower bound must be above 0")
        if self.scaling == "log" and self.step_size is not None:
            raise ValueError(f"{self.name} has log scaling, so it cannot have a step_size")
        if not math.isfinite(upper - lower) or (
            self.step_size and (upper - lower) / self.step_size > LARGEST_INTEGER
        ):
            raise ValueError(f"bounds of {self.name} are too far apart")
        whole = [*self.bounds, self.step_size or 1.0]
        if self.parameter_type == "int" and any(x != int(x) for x in whole):
            raise ValueError(f"{self.name} is an int, so its bounds and step_size must be whole")
        if max(abs(lower), abs(upper)) > LARGEST_INTEGER and self.parameter_type == "int":
            raise ValueError(f"bounds of {self.name} are beyond 2**53")
        if self.step_size is not None and self.cardinality < 2:
            raise ValueError(f"step_size of {self.name} is wider than its bounds")
        return self

    @property
    def step(self) -> float | None:
        """Distance between two neighbouring values; ``None`` where the range is continuous."""
        return self.step_size or (1.0 if self.parameter_type == "int" else None)

    @property
    def cardinality(self) -> float:
        """How many values there are; infinite for a continuous range."""
        if self.step is None:
            return math.inf
        lower, upper = self.bounds
        return math.floor((upper - lower) / self.step + 1e-9) + 1

    def at(self, index: int) -> float | int:
        """Return value number ``index`` of a stepped range."""
        assert self.step is not None
        return self._typed(min(self.bounds[0] + index * self.step, self.bounds[1]))

    def nearest(self, number: float) -> float | int:
        """Return the admitted value nearest to ``number``."""
        lower, upper = self.bounds
        if self.step is None:
            return float(min(max(number, lower), upper))
        index = round((min(max(number, lower), upper) - lower) / self.step)
        return self.at(min(index, int(self.cardinality) - 1))

    def cast(self, value: Any) -> Value:
        """Return ``value`` in the parameter's type; raise ValueError where it is not admitted."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{self.name} = {value!r} is not a number")
        lower, upper = self.bounds
        if not lower <= value <= upper:
            raise ValueError(f"{self.name} = {value!r} is outside [{lower:g}, {upper:g}]")
        nearest = self.nearest(float(value))
        rounding = 1e-9 * (self.step or 0.0) + 1e-15 * max(abs(lower), abs(upper))
        if self.step is not None and abs(nearest - value) > rounding:
            raise ValueError(
                f"{self.name} = {value!r} is not on its grid; the nearest value is {nearest}"
            )
        return nearest

    def _typed(self, number: float) -> float | int:
        return round(number) if self.parameter_type == "int" else float(number)


class ChoiceParameter(Model):
    """One of a list of values, with or without an order."""

    name: Name
    type: Literal["choice"] = "choice"
    parameter_type: Literal["float", "int", "str", "bool"] | None = None
    values: tuple[Any, ...] = Field(min_length=1, max_length=1000)
    is_ordered: bool = False
    dependent_parameters: Dependents = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _typed(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("values"), (list, tuple)):
            return data
        values = list(data["values"])
        kind = data.get("parameter_type") or _common_type(values)
        if not isinstance(kind, str | None):
            return data
        if values and kind is None:
            raise ValueError(
                f"values of {data.get('name', 'a choice')} must be all numbers, all text, "
                "or all true and false"
            )
        if kind in _TYPES:
            values = [_of_type(value, kind, data.get("name", "choice")) for value in values]
        ordered = data.get("is_ordered", kind in ("int", "float"))
        return {
            **data,
            **_keyed(data, values),
            "parameter_type": kind,
            "values": tuple(values),
            "is_ordered": ordered,
        }

    @model_validator(mode="after")
    def _distinct(self) -> "ChoiceParameter":
        seen: list[Value] = []
        for value in self.values:
            if value in seen:
                raise ValueError(f"{self.name} lists {value!r} twice")
            seen.append(value)
        return self

    @property
    def dependents(self) -> ValueDependents:
        """Each value that has dependent parameters, with their names."""
        return _dependents(self.dependent_parameters, self.values)

    @property
    def cardinality(self) -> float:
        """How many values there are."""
        return len(self.values)

    def cast(self, value: Any) -> Value:
        """Return ``value`` in the parameter's type; raise ValueError where it is not listed."""
        for candidate in self.values:
            if candidate == value and isinstance(candidate, bool) == isinstance(value, bool):
                typed: Value = candidate
                return typed
        listed = ", ".join(map(repr, self.values[:10])) + (
            ", ..." if len(self.values) > 10 else ""
        )
        raise ValueError(f"{self.name} = {value!r} is not one of {listed}")


class FixedParameter(Model):
    """One value, the same in every arm."""

    name: Name
    type: Literal["fixed"] = "fixed"
    parameter_type: Literal["float", "int", "str", "bool"] | None = None
    value: Any
    dependent_parameters: Dependents = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _typed(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "value" not in data:
            return data
        kind = data.get("parameter_type") or _common_type([data["value"]])
        if not isinstance(kind, str | None):
            return data
        if kind not in _TYPES:
            raise ValueError(
                f"value of {data.get('name', 'a fixed parameter')} must be one scalar"
            )
        value = _of_type(data["value"], kind, data.get("name", "value"))
        return {**data, **_keyed(data, [value]), "parameter_type": kind, "value": value}

    @property
    def dependents(self) -> ValueDependents:
        """The value with the parameters that depend on it, if there are any."""
        return _dependents(self.dependent_parameters, (self.value,))

    @property
    def cardinality(self) -> float:
        """One."""
        return 1

    def cast(self, value: Any) -> Value:
        """Return the fixed value; raise ValueError for any other."""
        if value != self.value or isinstance(value, bool) != isinstance(self.value, bool):
            raise ValueError(f"{self.name} is fixed at {self.value!r}, not {value!r}")
        fixed: Value = self.value
        return fixed


Parameter = Annotated[
    RangeParameter | ChoiceParameter | FixedParameter | DerivedParameter,
    Field(discriminator="type"),
]


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _dependents(named: Dependents, values: tuple[Value, ...]) -> ValueDependents:
    return tuple((value, named[_text(value)]) for value in values if _text(value) in named)


def _keyed(data: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """Return ``dependent_parameters`` with each value as text; a key may be typed as in YAML."""
    given = data.get("dependent_parameters")
    if not isinstance(given, dict):
        return {}
    texts = {_text(value): value for value in values}
    keyed: dict[str, Any] = {}
    for key, names in given.items():
        same = (
            t
            for t, v in texts.items()
            if v == key and isinstance(v, bool) is isinstance(key, bool)
        )
        text = next(same, _text(key))
        if text not in texts:
            near = did_you_mean(text, texts) or f"; the values are {', '.join(list(texts)[:10])}"
            raise ValueError(
                f"{data.get('name', 'a choice')} has dependent_parameters for {text}, "
                f"which is not one of its values{near}"
            )
        keyed[text] = names
    return {"dependent_parameters": keyed}


def _common_type(values: list[Any]) -> str | None:
    """Return the narrowest parameter type that holds all of ``values``."""
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return "float"
    if len(kinds) == 1:
        return next((name for name, kind in _TYPES.items() if kind in kinds), None)
    return "str" if kinds and kinds <= {str, int, float} else None


def _of_type(value: Any, kind: str, name: str) -> Value:
    wanted: Any = _TYPES[kind]
    if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name}: {value!r} is not finite")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"{name}: {value} is beyond 2**53")
    if type(value) is wanted:
        typed: Value = value
        return typed
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is int and type(value) is float and value == int(value):
        return int(value)
    if wanted is str and type(value) in (int, float):
        return str(value)
    raise ValueError(f"{name}: {value!r} is not of type {kind}")
