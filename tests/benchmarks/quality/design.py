"""The initial design that all systems share: the first points of a scrambled Sobol sequence.

schedd begins with it by itself (a test holds this to be so); the peers are given it as trials.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from scipy.stats.qmc import Sobol

from .problem import Problem, holds

SIZE = 5
"""As many as Ax's default strategy wants before its first model."""


def design(problem: Problem, seed: int) -> list[dict[str, Any]]:
    """Return the arms that a run begins with."""
    return points(problem, seed, SIZE)


def points(problem: Problem, seed: int, count: int) -> list[dict[str, Any]]:
    """Return as many arms of the sequence, those that break a parameter constraint left out."""
    return list(islice(_arms(problem, seed), count))


def _arms(problem: Problem, seed: int) -> Iterator[dict[str, Any]]:
    points = Sobol(d=len(problem.parameters), scramble=True, rng=seed).random(2048)
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
