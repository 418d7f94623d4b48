"""Ax's parameters, constraints and search space: definitions that a file could hold.

Each is a subclass of the one in ``scheduler.model``, and differs in how it is constructed.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from scheduler.model import constraints, parameters, search_space
from scheduler.model.derived import DerivedParameter
from scheduler.model.sound import space_problems
from scheduler.python.errors import UserInputError, translated

__all__ = ["DerivedParameter"]


class ParameterType(StrEnum):
    """What values a parameter has."""

    FLOAT = "float"
    INT = "int"
    STRING = "str"
    BOOL = "bool"


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
        lower, upper = name_of(lower_parameter), name_of(upper_parameter)
        if lower == upper:
            raise UserInputError(f"an order constraint needs two parameters, not {lower!r} twice")
        super().__init__({lower: 1.0, upper: -1.0}, 0.0)


class SumConstraint(ParameterConstraint):
    """A sum of parameters is at most, or at least, a bound."""

    def __init__(
        self, parameters: Iterable[Any], is_upper_bound: bool = True, bound: float = 0.0
    ) -> None:
        sign = 1.0 if is_upper_bound else -1.0
        super().__init__(dict.fromkeys(map(name_of, parameters), sign), sign * bound)


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


def name_of(parameter: Any) -> str:
    """Return the name of a parameter, or metric, that is given as an object or by its name."""
    return parameter if isinstance(parameter, str) else str(parameter.name)
