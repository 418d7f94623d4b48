"""What is optimized: objectives, single or scalarized, and outcome constraints."""

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from scheduler.model.base import Model, plain
from scheduler.model.linear import METRIC, linear_text, parse_linear

_METRIC = r"[A-Za-z_][A-Za-z0-9_.-]*"
_NUMBER = r"(?>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_OBJECTIVE = re.compile(rf"\s*(?P<sign>[+-]?)\s*(?P<metric>{_METRIC})\s*")
_OUTCOME = re.compile(
    rf"\s*(?P<metric>{_METRIC})\s*(?P<op><=|>=)\s*(?P<bound>{_NUMBER})?\s*"
    rf"(?:(?P<percent>(?<=[\d.\s])%(?:\s*of\s+baseline)?)|(?P<factor>\*?\s*baseline))?\s*"
)
EXAMPLE = (
    "write '-loss' to minimize, 'accuracy' to maximize, '-loss + 0.5 * accuracy' to maximize a "
    "sum, or {metric: loss, minimize: true}"
)


class Objective(Model):
    """A metric, or a weighted sum of metrics, and its direction.

    As text it is maximized: ``-loss`` minimizes, ``-loss + 0.5 * accuracy`` maximizes the sum.
    """

    metric: str | None = None
    """The one metric; else ``metrics`` has the weights of several."""
    metrics: dict[str, float] = Field(default_factory=dict)
    minimize: bool
    threshold: float | None = None
    """With several objectives: what is not at least this good does not count."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = _OBJECTIVE.fullmatch(data)
        if match is not None:
            return {"metric": match["metric"], "minimize": match["sign"] == "-"}
        weights = _weights(data)
        down = all(weight <= 0 for weight in weights.values())
        weights = {name: -w if down else w for name, w in weights.items()}
        only = next(iter(weights)) if len(weights) == 1 else None
        return {"minimize": down, **({"metric": only} if only else {"metrics": weights})}

    @model_validator(mode="after")
    def _check(self) -> "Objective":
        if (self.metric is None) == (not self.metrics):
            how = "neither of them" if self.metric is None else "both"
            raise ValueError(
                "an objective has the key metric: NAME, or metrics: {NAME: weight, ...}, "
                f"and this one has {how}"
            )
        for name, weight in self.metrics.items():
            if weight == 0:
                raise ValueError(f"the weight of {name} is 0, so it is no part of the objective")
        return self

    @property
    def weights(self) -> Mapping[str, float]:
        """The metrics it is made of, with their weights in the sum."""
        return self.metrics if self.metric is None else {self.metric: 1.0}

    @property
    def name(self) -> str:
        """What people call it: the metric, or the sum as text."""
        if self.metric is not None:
            return self.metric
        added_first = sorted(self.metrics.items(), key=lambda term: (term[1] < 0, term[0]))
        return linear_text(dict(added_first))

    def value(self, means: Mapping[str, float]) -> float | None:
        """Return its value, in the metrics' own units; None where a metric is missing.

        Also None where the sum is beyond the largest number.
        """
        if self.metric is not None:
            return means.get(self.metric)
        if any(name not in means for name in self.weights):
            return None
        total = sum(weight * means[name] for name, weight in self.weights.items())
        return total if math.isfinite(total) else None

    def better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``."""
        return a < b if self.minimize else a > b

    def is_called(self, text: str) -> bool:
        """Whether ``text`` is its name, however that is spaced."""
        if self.metric is not None:
            return text == self.metric
        try:
            return parse_linear(text, EXAMPLE, names=METRIC) == (self.metrics, 0.0)
        except ValueError:
            return False


def split_objectives(data: Any) -> Any:
    """Return an experiment with ``objective: "-a, b"`` as the two ``objectives`` it stands for."""
    if not isinstance(data, dict) or data.get("objectives"):
        return data
    text = data.get("objective")
    if not isinstance(text, str) or "," not in text:
        return data
    return {**data, "objective": None, "objectives": [part.strip() for part in text.split(",")]}


def _weights(text: str) -> dict[str, float]:
    """Return the weights of a sum of metrics; ValueError where it is none."""
    try:
        weights, constant = parse_linear(text, EXAMPLE, names=METRIC)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an objective: {error}") from None
    if constant:
        raise ValueError(f"{text!r} adds {plain(constant)}, which changes nothing; leave it out")
    weights = {name: weight for name, weight in weights.items() if weight}
    if not weights:
        raise ValueError(f"{text!r} is not an objective; {EXAMPLE}")
    return weights


class OutcomeConstraint(Model):
    """``metric <= bound`` or ``>=``, absolute or relative to the status quo's value, the baseline.

    Relative in percent, as in Ax: the change ``(metric - baseline) / |baseline|`` is compared, so
    that ``+10%`` is above a negative baseline, too; where the baseline is 0, any percentage is 0.
    Relative by a factor: ``bound * baseline``, as it stands.
    """

    metric: str
    op: Literal["<=", ">="]
    bound: float
    relative: Literal["percent", "factor"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("relative"), bool):
            return {**data, "relative": "percent" if data["relative"] else None}
        return _outcome(data) if isinstance(data, str) else data

    def holds(self, outcome: Mapping[str, float], baseline: Mapping[str, float] | None) -> bool:
        """Whether an arm's means satisfy it. A relative one without a baseline does not hold."""
        value = outcome.get(self.metric)
        limit = self.limit(baseline)
        if value is None or limit is None:
            return False
        return value <= limit if self.op == "<=" else value >= limit

    def limit(self, baseline: Mapping[str, float] | None) -> float | None:
        """Return the absolute bound; ``None`` where the baseline it refers to is not known yet."""
        if self.relative is None:
            return self.bound
        if baseline is None or self.metric not in baseline:
            return None
        today = baseline[self.metric]
        if self.relative == "factor":
            return self.bound * today
        return today + self.bound / 100.0 * abs(today)

    def __str__(self) -> str:
        """Return the constraint as a user would write it."""
        number = plain(self.bound)
        if self.relative == "percent":
            number = f"{'' if self.bound < 0 else '+'}{number}%"
        return f"{self.metric} {self.op} {number}" + (
            " * baseline" if self.relative == "factor" else ""
        )


def _outcome(text: str) -> dict[str, Any]:
    """Return the keys of an outcome constraint that is written as text; ValueError if none is."""
    match = _OUTCOME.fullmatch(text)
    if match is None or not (match["bound"] or match["factor"]):
        raise ValueError(
            f"{text!r} is not an outcome constraint; write for example 'latency_ms <= 50', "
            "'memory <= 1.1 * baseline' or 'accuracy >= -5%'"
        )
    bound = match["bound"] or "1.0"
    if match["percent"] and bound[0] not in "+-" and float(bound):
        raise ValueError(
            f"{bound}% in {text!r} may be a change or a share; write '+{bound}%' for a change "
            f"against the baseline, or '{plain(float(bound) / 100)} * baseline'"
        )
    relative = "percent" if match["percent"] else "factor" if match["factor"] else None
    return {
        "metric": match["metric"],
        "op": match["op"],
        "bound": float(bound),
        "relative": relative,
    }
