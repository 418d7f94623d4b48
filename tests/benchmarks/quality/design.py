"""The initial design that all systems share: the first points of a scrambled Sobol sequence.

schedd begins with it by itself (a test holds this to be so); the peers are given it as trials.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from scipy.stats.qmc import Sobol

from .problem import Parameters, Problem

SIZE = 5
"""As many as Ax's default strategy wants before its first model."""


def design(problem: Problem, seed: int) -> list[dict[str, Any]]:
    """Return the first arms, those that break a parameter constraint left out."""
    arms = _arms(problem, seed)
    return [next(arms) for _ in range(SIZE)]


def _arms(problem: Problem, seed: int) -> Iterator[dict[str, Any]]:
    points = Sobol(d=len(problem.parameters), scramble=True, rng=seed).random(256)
    for point in points.tolist():
        pairs = zip(problem.parameters, point, strict=True)
        arm = {parameter["name"]: _value(parameter, u) for parameter, u in pairs}
        if all(holds(text, arm) for text in problem.parameter_constraints):
            yield arm


def _value(parameter: Mapping[str, Any], u: float) -> Any:
    if parameter["type"] == "choice":
        return parameter["values"][int(u * len(parameter["values"]))]
    lower, upper = parameter["bounds"]
    if parameter.get("parameter_type") == "int":
        return lower + int(u * (upper - lower + 1))
    return lower * (1.0 - u) + upper * u


def holds(text: str, arm: Parameters) -> bool:
    """Whether ``arm`` satisfies a constraint written ``a - b <= 0.3``."""
    return excess(text, arm) <= 0


def excess(text: str, arm: Parameters) -> float:
    """Return how far ``arm`` passes the bound of a constraint written ``a - b <= 0.3``."""
    left, bound = text.split("<=")
    terms = re.findall(r"([+-]?)\s*(\w+)", left)
    return sum(-arm[n] if sign == "-" else arm[n] for sign, n in terms) - float(bound)
