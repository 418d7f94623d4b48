"""What is optimized: objectives, outcome constraints, absolute or relative to the status quo."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from scheduler.model.base import Model, plain

_METRIC = r"[A-Za-z_][A-Za-z0-9_.-]*"
_NUMBER = r"(?>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_OBJECTIVE = re.compile(rf"\s*(?P<sign>[+-]?)\s*(?P<metric>{_METRIC})\s*")
_OUTCOME = re.compile(
    rf"\s*(?P<metric>{_METRIC})\s*(?P<op><=|>=)\s*(?P<bound>{_NUMBER})?\s*"
    rf"(?P<relative>\*?\s*baseline)?\s*"
)


class Objective(Model):
    """A metric and its direction. As text: ``-val_loss`` minimizes, ``accuracy`` maximizes."""

    metric: str
    minimize: bool
    threshold: float | None = None
    """With several objectives: what is not at least this good does not count."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = _OBJECTIVE.fullmatch(data)
        if match is None:
            raise ValueError(
                f"{data!r} is not an objective; write '-loss' to minimize, "
                "'accuracy' to maximize, or {metric: loss, minimize: true}"
            )
        return {"metric": match["metric"], "minimize": match["sign"] == "-"}

    def better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``."""
        return a < b if self.minimize else a > b


class OutcomeConstraint(Model):
    """``metric <= bound`` or ``>=``; relative: ``bound`` times the status quo's value."""

    metric: str
    op: Literal["<=", ">="]
    bound: float
    relative: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = _OUTCOME.fullmatch(data)
        if match is None or not (match["bound"] or match["relative"]):
            raise ValueError(
                f"{data!r} is not an outcome constraint; write for example 'latency_ms <= 50' "
                "or 'memory <= 1.1 * baseline'"
            )
        return {
            "metric": match["metric"],
            "op": match["op"],
            "bound": float(match["bound"] or 1.0),
            "relative": bool(match["relative"]),
        }

    def holds(self, outcome: Mapping[str, float], baseline: Mapping[str, float] | None) -> bool:
        """Whether an arm's means satisfy it. A relative one without a baseline does not hold."""
        value = outcome.get(self.metric)
        limit = self.limit(baseline)
        if value is None or limit is None:
            return False
        return value <= limit if self.op == "<=" else value >= limit

    def limit(self, baseline: Mapping[str, float] | None) -> float | None:
        """Return the absolute bound; ``None`` where the baseline it refers to is not known yet."""
        if not self.relative:
            return self.bound
        if baseline is None or self.metric not in baseline:
            return None
        return self.bound * baseline[self.metric]

    def __str__(self) -> str:
        """Return the constraint as a user would write it."""
        return f"{self.metric} {self.op} {plain(self.bound)}" + (
            " * baseline" if self.relative else ""
        )
