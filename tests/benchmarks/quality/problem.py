"""What a benchmark problem is: plain data, a pure function, and how far from the best one is."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Parameters = Mapping[str, Any]
Metrics = Mapping[str, float]
WORST = float("inf")


@dataclass(frozen=True)
class Problem:
    """All metrics are minimized; outcome constraints read ``metric <= 0``."""

    name: str
    parameters: tuple[Mapping[str, Any], ...]
    """As in schedd's YAML."""
    function: Callable[[Parameters], Metrics | None]
    """The metrics of an arm without noise; None: the trial fails."""
    budget: int
    best: float
    """The least feasible value; with several objectives the largest hypervolume."""
    basin: float
    """A run with a smaller regret has found the right place."""
    objectives: tuple[str, ...] = ("y",)
    constraints: tuple[str, ...] = ()
    """Metrics that must not exceed 0."""
    parameter_constraints: tuple[str, ...] = ()
    """As in schedd's YAML and in Ax."""
    reference: tuple[float, ...] = ()
    """With several objectives: the point that hypervolume is measured from."""
    noise: float = 0.0
    """Standard deviation of what is added to each metric when it is measured."""
    known: Parameters | None = None
    """Where the best value is, for a single objective."""

    def measure(self, parameters: Parameters, seed: int, trial: int) -> Metrics | None:
        """Return what a trial reports; None where it fails."""
        metrics = self.function(parameters)
        if metrics is None or not self.noise:
            return metrics
        rng = np.random.default_rng([seed, trial])
        return {name: y + self.noise * rng.standard_normal() for name, y in metrics.items()}

    def feasible(self, metrics: Metrics) -> bool:
        """Whether the outcome constraints hold."""
        return all(metrics[name] <= 0 for name in self.constraints)

    def admits(self, parameters: Parameters, metrics: Metrics) -> bool:
        """Whether outcome and parameter constraints hold; some systems can break the latter."""
        kept = all(holds(text, parameters) for text in self.parameter_constraints)
        return kept and self.feasible(metrics)


class Regret:
    """How far the best feasible trial so far is from the best there is; infinite before one."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._front: list[tuple[float, ...]] = []
        self._observed = WORST
        self.value = WORST if len(problem.objectives) == 1 else problem.best
        self.chosen = WORST
        """Regret of the trial with the best value as it was measured."""

    def add(self, parameters: Parameters, measured: Metrics | None) -> None:
        """Count a trial that has ended; ``measured`` is None where it failed."""
        problem = self._problem
        true = problem.function(parameters)
        if measured is None or true is None or not problem.admits(parameters, true):
            return
        point = tuple(true[name] for name in problem.objectives)
        if len(point) > 1:
            self._front.append(point)
            self.value = problem.best - hypervolume(self._front, problem.reference)
            return
        self.value = min(self.value, point[0] - problem.best)
        if measured[problem.objectives[0]] < self._observed:
            self._observed = measured[problem.objectives[0]]
            self.chosen = point[0] - problem.best


def hypervolume(points: Iterable[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """Return the area that ``points`` (two objectives, minimized) dominate up to ``reference``."""
    right, top = reference
    area = 0.0
    for x, y in sorted(points):
        if x < right and y < top:
            area += (right - x) * (top - y)
            top = y
    return area


def holds(text: str, arm: Parameters) -> bool:
    """Whether ``arm`` satisfies a constraint written ``a - b <= 0.3``."""
    return excess(text, arm) <= 1e-8


def excess(text: str, arm: Parameters) -> float:
    """Return how far ``arm`` passes the bound of a constraint written ``a - b <= 0.3``."""
    left, bound = text.split("<=")
    terms = re.findall(r"([+-]?)\s*(\w+)", left)
    return sum(-arm[n] if sign == "-" else arm[n] for sign, n in terms) - float(bound)
