"""Parameter constraints: linear inequalities over range parameters, as text or typed."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from scheduler.model.base import Model, plain
from scheduler.model.linear import linear_text, parse_linear

TOLERANCE = 1e-8
"""How far a sum may pass a bound by floating-point error alone."""

EXAMPLE = "write for example '2 * warmup <= epochs' or 'a + b - 0.5 * c <= 10'"


class ParameterConstraint(Model):
    """``sum(weights[p] * p) <= bound``. Text, order and sum forms are brought to this one."""

    type: Literal["linear"] = "linear"
    weights: dict[str, float]
    bound: float

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, data: Any) -> Any:
        if isinstance(data, str):
            weights, bound = parse_inequality(data)
            return {"weights": weights, "bound": bound}
        if not isinstance(data, dict):
            raise ValueError(f"a parameter constraint is text or a mapping; {EXAMPLE}")
        if data.get("type") == "order":
            return _order(data)
        if data.get("type") == "sum":
            return _sum(data)
        if not isinstance(data.get("weights"), dict):
            return data
        return {**data, "weights": {n: w for n, w in data["weights"].items() if w != 0}}

    @model_validator(mode="after")
    def _check(self) -> "ParameterConstraint":
        if not any(self.weights.values()):
            raise ValueError(f"the constraint holds no parameter; {EXAMPLE}")
        return self

    def holds(self, parameters: Mapping[str, Any]) -> bool:
        """Whether an arm's parameters satisfy it, up to floating-point error."""
        total = sum(weight * parameters[name] for name, weight in self.weights.items())
        size = max(
            1.0, abs(self.bound), *(abs(w * parameters[n]) for n, w in self.weights.items())
        )
        return bool(total <= self.bound + TOLERANCE * size)

    def __str__(self) -> str:
        """Return the inequality as a user would write it."""
        return f"{linear_text(self.weights)} <= {plain(self.bound)}"


def parse_inequality(text: str) -> tuple[dict[str, float], float]:
    """Return (weights, bound) of ``sum <= bound`` for a linear inequality written as text.

    Parameters and numbers may stand on both sides, with ``<=`` or ``>=``. Raises ValueError.
    """
    parts = re.split(r"(<=|>=|==|=|<|>)", text)
    if len(parts) != 3 or parts[1] not in ("<=", ">="):
        raise ValueError(f"{text!r} is not one inequality with <= or >=; {EXAMPLE}")
    flip = 1.0 if parts[1] == "<=" else -1.0
    left, left_constant = parse_linear(parts[0], EXAMPLE, whole=text)
    right, right_constant = parse_linear(parts[2], EXAMPLE, whole=text)
    weights = {
        name: flip * (left.get(name, 0.0) - right.get(name, 0.0)) for name in {**left, **right}
    }
    return {n: w for n, w in weights.items() if w}, flip * (right_constant - left_constant)


def _order(data: dict[str, Any]) -> dict[str, Any]:
    if set(data) != {"type", "lower_parameter", "upper_parameter"}:
        raise ValueError("an order constraint has the keys lower_parameter and upper_parameter")
    if data["lower_parameter"] == data["upper_parameter"]:
        raise ValueError(
            f"an order constraint needs two parameters, not {data['lower_parameter']!r} twice"
        )
    return {
        "weights": {str(data["lower_parameter"]): 1.0, str(data["upper_parameter"]): -1.0},
        "bound": 0.0,
    }


def _sum(data: dict[str, Any]) -> dict[str, Any]:
    if (
        not {"type", "parameters", "bound"}
        <= set(data)
        <= {"type", "parameters", "bound", "is_upper_bound"}
    ):
        raise ValueError("a sum constraint has the keys parameters, bound and is_upper_bound")
    names, upper = data["parameters"], data.get("is_upper_bound", True)
    if not isinstance(names, (list, tuple)) or not isinstance(data["bound"], (int, float)):
        raise ValueError("a sum constraint has a list of parameters and a number as its bound")
    if not isinstance(upper, bool):
        raise ValueError(f"is_upper_bound is true or false, not {upper!r}")
    if len(set(map(str, names))) < len(names):
        raise ValueError("a sum constraint names a parameter twice; use text or type: linear")
    flip = 1.0 if upper else -1.0
    return {
        "weights": dict.fromkeys(map(str, names), flip),
        "bound": flip * data["bound"],
    }
