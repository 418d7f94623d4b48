"""Ax's objectives, outcome constraints and optimization config: definitions of a file's.

Each is a subclass of the one in ``scheduler.model``, and differs in how it is constructed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from scheduler.model import objectives
from scheduler.model.objectives import Objective as _Objective
from scheduler.python.errors import UnsupportedError, translated
from scheduler.python.space import name_of
from scheduler.stopping.percentile import Percentile

if TYPE_CHECKING:
    from scheduler.python.metric import Metric


class ComparisonOp(StrEnum):
    """How a metric compares with its bound."""

    LEQ = "<="
    GEQ = ">="


class Objective(objectives.Objective):
    """A metric, and its direction."""

    _given: Any = PrivateAttr(default=None)
    """The metric as it was given."""

    def __init__(
        self,
        metric: "Metric | str | None" = None,
        minimize: bool | None = None,
        *,
        expression: str | None = None,
        threshold: float | None = None,
    ) -> None:
        """Give a metric, which may know its direction itself, or text such as ``-loss``."""
        with translated():
            if metric is None:
                given = _Objective.model_validate(expression).model_dump()
            else:
                down = getattr(metric, "lower_is_better", None) if minimize is None else minimize
                given = {"metric": name_of(metric), "minimize": bool(down)}
            super().__init__(**{**given, "threshold": threshold})
        self._given = metric


@dataclass(frozen=True)
class MultiObjective:
    """Several objectives: what is sought is their Pareto front."""

    objectives: Sequence[objectives.Objective]


class OutcomeConstraint(objectives.OutcomeConstraint):
    """A bound on a metric: absolute, or as in Ax by default, in percent of the status quo's."""

    _given: Any = PrivateAttr(default=None)
    """The metric as it was given."""

    def __init__(
        self, metric: "Metric | str", op: str, bound: float, relative: bool = True
    ) -> None:
        kind = "percent" if relative else None
        with translated():
            super().__init__(metric=name_of(metric), op=str(op), bound=bound, relative=kind)
        self._given = metric


@dataclass(frozen=True)
class ObjectiveThreshold:
    """What an objective must reach at least, for an arm to count."""

    metric: "Metric | str"
    bound: float
    relative: bool = False


@dataclass(frozen=True)
class OptimizationConfig:
    """What is to be better, and what must hold."""

    objective: objectives.Objective | MultiObjective
    outcome_constraints: Sequence[objectives.OutcomeConstraint] = ()
    objective_thresholds: Sequence[ObjectiveThreshold] = ()

    def written(self) -> dict[str, Any]:
        """Return the keys of a file that say the same."""
        limits = [_dumped(each) for each in self.outcome_constraints]
        if isinstance(self.objective, MultiObjective):
            several = [self._with_threshold(each) for each in self.objective.objectives]
            return {"objectives": several, "outcome_constraints": limits}
        return {"objective": _dumped(self.objective), "outcome_constraints": limits}

    @property
    def metrics(self) -> list["Metric"]:
        """The metrics that were given as objects."""
        objective = self.objective
        parts = objective.objectives if isinstance(objective, MultiObjective) else [objective]
        given = [getattr(part, "_given", None) for part in (*parts, *self.outcome_constraints)]
        return [metric for metric in given if metric is not None and not isinstance(metric, str)]

    def _with_threshold(self, objective: objectives.Objective) -> dict[str, Any]:
        for threshold in self.objective_thresholds:
            if threshold.relative:
                raise UnsupportedError("an objective's threshold is absolute: relative=False")
            if name_of(threshold.metric) == objective.metric:
                return {**_dumped(objective), "threshold": threshold.bound}
        return _dumped(objective)


MultiObjectiveOptimizationConfig = OptimizationConfig


def _dumped(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(mode="json", exclude_defaults=True)
    return found


PercentileEarlyStoppingStrategy = Percentile
