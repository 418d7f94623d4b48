"""Ax's nouns, as constructors of ours: each of these is a definition that a file could hold.

Arms, parameters, constraints, objectives and strategies are subclasses of the models in
``scheduler.model`` that differ in what their constructors are called with.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from scheduler.model import constraints, nodes, objectives, parameters, search_space, trial
from scheduler.model.derived import DerivedParameter
from scheduler.model.nodes import GenerationNode
from scheduler.model.objectives import Objective as _Objective
from scheduler.model.sound import space_problems
from scheduler.model.trial import TrialStatus
from scheduler.python.errors import UnsupportedError, UserInputError, translated

if TYPE_CHECKING:
    from scheduler.python.experiment import Experiment
    from scheduler.python.metric import Metric

__all__ = ["DerivedParameter", "GenerationNode", "TrialStatus"]


class ParameterType(StrEnum):
    """What values a parameter has."""

    FLOAT = "float"
    INT = "int"
    STRING = "str"
    BOOL = "bool"


class ComparisonOp(StrEnum):
    """How a metric compares with its bound."""

    LEQ = "<="
    GEQ = ">="


# -- the search space


class RangeParameter(parameters.RangeParameter):
    """Every number between two bounds, both included."""

    def __init__(  # noqa: PLR0913  # Ax's own
        self,
        name: str,
        parameter_type: str = ParameterType.FLOAT,
        lower: float | None = None,
        upper: float | None = None,
        *,
        log_scale: bool = False,
        step_size: float | None = None,
        bounds: Sequence[float] | None = None,
        scaling: str | None = None,
    ) -> None:
        """Give ``lower`` and ``upper``, or ``bounds``; ``log_scale``, or ``scaling``."""
        with translated():
            super().__init__(
                name=name,
                parameter_type=str(parameter_type),
                bounds=(lower, upper) if bounds is None else bounds,
                scaling=scaling or ("log" if log_scale else "linear"),
                step_size=step_size,
            )


class ChoiceParameter(parameters.ChoiceParameter):
    """One of a list of values."""

    def __init__(  # Ax's own
        self,
        name: str,
        parameter_type: str | None = None,
        values: Sequence[Any] = (),
        *,
        is_ordered: bool | None = None,
        dependents: Mapping[Any, Sequence[str]] | None = None,
        dependent_parameters: Mapping[Any, Sequence[str]] | None = None,
    ) -> None:
        """``dependents``: value -> the parameters that are active while it is chosen."""
        dependents = dependents or dependent_parameters
        given: dict[str, Any] = {"name": name, "values": tuple(values)}
        given |= {} if parameter_type is None else {"parameter_type": str(parameter_type)}
        given |= {} if is_ordered is None else {"is_ordered": is_ordered}
        given |= {} if dependents is None else {"dependent_parameters": dict(dependents)}
        with translated():
            super().__init__(**given)


RangeParameterConfig = RangeParameter
ChoiceParameterConfig = ChoiceParameter
"""As Ax's newer client calls them."""


class FixedParameter(parameters.FixedParameter):
    """One value, the same in every arm."""

    def __init__(self, name: str, parameter_type: str | None = None, value: Any = None) -> None:
        given: dict[str, Any] = {"name": name, "value": value}
        given |= {} if parameter_type is None else {"parameter_type": str(parameter_type)}
        with translated():
            super().__init__(**given)


class ParameterConstraint(constraints.ParameterConstraint):
    """``sum(weights[p] * p) <= bound``."""

    def __init__(
        self,
        constraint_dict: Mapping[str, float] | None = None,
        bound: float | None = None,
        *,
        inequality: str | None = None,
    ) -> None:
        """Give weights and a bound, or an inequality as text."""
        weights, limit = constraint_dict, bound
        with translated():
            if inequality is not None:
                try:
                    weights, limit = constraints.parse_inequality(inequality)
                except ValueError as error:
                    raise UserInputError(str(error)) from None
            super().__init__(weights=weights, bound=limit)


class OrderConstraint(ParameterConstraint):
    """One parameter is at most another."""

    def __init__(self, lower_parameter: Any, upper_parameter: Any) -> None:
        lower, upper = _name(lower_parameter), _name(upper_parameter)
        if lower == upper:
            raise UserInputError(f"an order constraint needs two parameters, not {lower!r} twice")
        super().__init__({lower: 1.0, upper: -1.0}, 0.0)


class SumConstraint(ParameterConstraint):
    """A sum of parameters is at most, or at least, a bound."""

    def __init__(
        self, parameters: Iterable[Any], is_upper_bound: bool = True, bound: float = 0.0
    ) -> None:
        sign = 1.0 if is_upper_bound else -1.0
        super().__init__(dict.fromkeys(map(_name, parameters), sign), sign * bound)


class SearchSpace(search_space.SearchSpace):
    """Which arms there are."""

    def __init__(
        self, parameters: Iterable[Any], parameter_constraints: Iterable[Any] | None = None
    ) -> None:
        """Raises UserInputError where they do not fit together."""
        given, limits = tuple(parameters), tuple(parameter_constraints or ())
        if problems := [text for _, text in space_problems(given, limits)]:
            raise UserInputError("; ".join(problems))
        super().__init__(given, limits)


def _name(parameter: Any) -> str:
    return parameter if isinstance(parameter, str) else str(parameter.name)


# -- what is better


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
                given = {"metric": _name(metric), "minimize": bool(down)}
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
            super().__init__(metric=_name(metric), op=str(op), bound=bound, relative=kind)
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
            if _name(threshold.metric) == objective.metric:
                return {**_dumped(objective), "threshold": threshold.bound}
        return _dumped(objective)


MultiObjectiveOptimizationConfig = OptimizationConfig


def _dumped(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(mode="json", exclude_defaults=True)
    return found


# -- arms and how they are made


class Arm(trial.Arm):
    """A point of the search space; its name is made up where none is given."""

    def __init__(self, parameters: Mapping[str, Any], name: str | None = None) -> None:
        super().__init__(name or "", dict(parameters))


@dataclass(frozen=True)
class GeneratorRun:
    """Arms, with their weights, and which generator made them."""

    arms: Sequence[trial.Arm]
    weights: Sequence[float] | None = None
    generator: str = ""
    """Empty where a person did."""
    predictions: Sequence[Mapping[str, Mapping[str, float]]] = ()
    node: int | None = None
    """Which node of the experiment's strategy made them, if one did."""
    seed: int = 0
    cursor: int = 0
    """Where a generator of a sequence goes on."""


class GenerationStrategy(nodes.GenerationStrategy):
    """Which generator makes the next arms."""

    def __init__(
        self,
        name: str | None = None,  # noqa: ARG002  # Ax's own; ours have none
        steps: Sequence[GenerationNode] | None = None,
        *,
        nodes: Sequence[GenerationNode] | None = None,
        method: str | None = None,
        seed: int = 0,
    ) -> None:
        """Give ``steps`` or ``nodes``, or a ``method``."""
        given = tuple(nodes or steps or ())
        with translated():
            super().__init__(nodes=given, method=method, seed=seed)

    def gen(self, experiment: "Experiment", n: int = 1) -> GeneratorRun:
        """Return new arms for an experiment that has this strategy, of whose turn it is."""
        from scheduler.python.generators import next_run

        return next_run(experiment, n)


class GenerationStep(GenerationNode):
    """One stage of a strategy; ``num_trials=-1``: until the experiment stops."""

    def __init__(
        self,
        model: str,
        num_trials: int = -1,
        max_parallelism: int | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        with translated():
            super().__init__(
                generator=str(model),
                num_trials=None if num_trials < 0 else num_trials,
                max_parallelism=max_parallelism,
                options=dict(model_kwargs or {}),
            )
