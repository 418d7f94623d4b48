"""Parameters that are computed from others: part of every arm, never a choice of their own."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import field_validator

from scheduler.model.base import Model, Name, Value
from scheduler.model.linear import parse_linear

EXAMPLE = "write for example '2 * a + b' or 'width / 2 - 1'"


class DerivedParameter(Model):
    """A sum of numbers and of numbers times other numeric parameters, which the trial gets."""

    name: Name
    type: Literal["derived"] = "derived"
    parameter_type: Literal["float", "int"] = "float"
    expression: str

    @field_validator("expression")
    @classmethod
    def _linear(cls, text: str) -> str:
        weights, _ = parse_linear(text, EXAMPLE)
        if not any(weights.values()):
            raise ValueError(f"{text!r} depends on no parameter; {EXAMPLE}, or type: fixed")
        return text

    @cached_property
    def terms(self) -> tuple[Mapping[str, float], float]:
        """The expression as (weights, constant)."""
        return parse_linear(self.expression, EXAMPLE)

    @property
    def cardinality(self) -> float:
        """One: it is no choice."""
        return 1

    def cast(self, value: Any) -> Value:
        """Raise ValueError: it is computed, never set."""
        raise ValueError(
            f"{self.name} = {value!r} is derived from {self.expression}; leave it out"
        )

    def compute(self, parameters: Mapping[str, Value]) -> Value:
        """Return its value in an arm that has all parameters of the expression."""
        weights, constant = self.terms
        total = constant + sum(w * float(parameters[name]) for name, w in weights.items())
        if not math.isfinite(total):
            raise ValueError(f"{self.name} = {self.expression} is beyond the largest number")
        return round(total) if self.parameter_type == "int" else total

    def agreed(self, given: Any, parameters: Mapping[str, Value]) -> Value:
        """Return its value; raise ValueError where ``given`` is another, rounding apart."""
        value = self.compute(parameters)
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if not number or not math.isclose(given, float(value), rel_tol=1e-9, abs_tol=1e-12):
            text = f"is derived: {self.expression} gives {value!r}; leave it out"
            raise ValueError(f"{self.name} = {given!r}, but it {text}")
        return value
