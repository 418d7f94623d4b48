"""The search space: which arms there are. Constraints, derived and dependent parameters."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scheduler.model.base import Value, did_you_mean
from scheduler.model.constraints import ParameterConstraint
from scheduler.model.derived import DerivedParameter
from scheduler.model.parameters import ChoiceParameter, FixedParameter, Parameter


@dataclass(frozen=True)
class Condition:
    """When a dependent parameter is active: while its parent has one of ``values``."""

    parent: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.parent} is {' or '.join(map(_shown, self.values))}"


@dataclass(frozen=True)
class LinearConstraint:
    """A parameter constraint over range parameters alone: derived ones are replaced."""

    written: ParameterConstraint
    weights: Mapping[str, float]
    bound: float
    needs: frozenset[str]
    """The constraint applies to arms in which all of these are active."""

    @property
    def canonical(self) -> ParameterConstraint:
        """The constraint as one on range parameters."""
        return ParameterConstraint(weights=dict(self.weights), bound=self.bound)

    def excess(self, arm: Mapping[str, Value]) -> float:
        """Return by how much an arm is beyond the bound, to the last digit; 0 where it is not."""
        if not self.needs <= arm.keys():
            return 0.0
        total = sum(weight * float(arm[name]) for name, weight in self.weights.items())
        return max(0.0, total - self.bound)

    def holds(self, arm: Mapping[str, Value]) -> bool:
        """Whether an arm satisfies it."""
        return not self.needs <= arm.keys() or self.written.holds(arm)


@dataclass(frozen=True)
class SearchSpace:
    """Parameters and constraints that are sound, see ``scheduler.model.sound``."""

    parameters: tuple[Parameter, ...]
    parameter_constraints: tuple[ParameterConstraint, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Parameter]:
        """Parameters by name, in the order of the definition."""
        return {p.name: p for p in self.parameters}

    @cached_property
    def fixed(self) -> Mapping[str, Value]:
        """The values of fixed parameters."""
        return {p.name: p.value for p in self.parameters if isinstance(p, FixedParameter)}

    @cached_property
    def conditions(self) -> Mapping[str, Condition]:
        """When each dependent parameter is active; the others always are."""
        return dict(conditions(self.parameters))

    @cached_property
    def constraints(self) -> tuple[LinearConstraint, ...]:
        """The parameter constraints, in their order, with derived parameters replaced."""
        return tuple(map(self.replaced, self.parameter_constraints))

    @cached_property
    def cardinality(self) -> float:
        """How many arms there are, parameter constraints left aside; may be infinite."""
        return self._count(name for name in self.by_name if name not in self.conditions)

    def origin(self, name: str) -> Mapping[str, float]:
        """Return a parameter as weights of those it is derived from; of itself where it is not."""
        parameter = self.by_name[name]
        return parameter.terms[0] if isinstance(parameter, DerivedParameter) else {name: 1.0}

    def is_active(self, name: str, values: Mapping[str, Value]) -> bool:
        """Whether ``name`` is part of an arm with these values; any of inactive ones are ignored.

        A derived parameter is active where all that it is derived from are.
        """
        parameter = self.by_name[name]
        if isinstance(parameter, DerivedParameter):
            return all(self.is_active(each, values) for each in parameter.terms[0])
        condition = self.conditions.get(name)
        if condition is None:
            return True
        chosen = values.get(condition.parent) in condition.values
        return chosen and self.is_active(condition.parent, values)

    def activity(self, name: str) -> Condition | None:
        """Return what ``name`` depends on; None where it is part of every arm, or unknown."""
        names = self.origin(name) if name in self.by_name else ()
        return next((self.conditions[n] for n in names if n in self.conditions), None)

    def admit(self, parameters: Mapping[str, Any]) -> dict[str, Value]:
        """Return an arm's parameters, complete, typed and in order; ValueError where not admitted.

        Fixed and derived parameters may be left out. Inactive ones must be.
        """
        if unknown := set(parameters) - set(self.by_name):
            near = did_you_mean(min(unknown), self.by_name)
            raise ValueError(f"{min(unknown)!r} is not a parameter of the search space{near}")
        values = self._cast(parameters)
        arm: dict[str, Value] = {}
        for name, parameter in self.by_name.items():
            if not self.is_active(name, values):
                if name in parameters:
                    raise ValueError(self._inactive(name, values))
            elif isinstance(parameter, DerivedParameter):
                given = parameters.get(name)
                own = parameter.compute(values)
                arm[name] = own if given is None else parameter.agreed(given, values)
            else:
                arm[name] = values[name]
        for constraint in self.constraints:
            if not constraint.holds(arm):
                raise ValueError(f"the arm breaks the parameter constraint {constraint.written}")
        return arm

    def _cast(self, parameters: Mapping[str, Any]) -> dict[str, Value]:
        """Return the values of all but derived parameters, in their types."""
        values: dict[str, Value] = {}
        for name, parameter in self.by_name.items():
            if isinstance(parameter, FixedParameter):
                values[name] = parameter.cast(parameters.get(name, parameter.value))
            elif not isinstance(parameter, DerivedParameter) and name in parameters:
                values[name] = parameter.cast(parameters[name])
        for name, parameter in self.by_name.items():
            wanted = name not in values and not isinstance(parameter, DerivedParameter)
            if wanted and self.is_active(name, values):
                raise ValueError(f"the arm has no value for {name}")
        return values

    def _inactive(self, name: str, values: Mapping[str, Value]) -> str:
        """Return why ``name`` has no place in an arm with these values."""
        while name not in self.conditions:  # derived: look at what it is derived from
            name = next(n for n in self.origin(name) if not self.is_active(n, values))
        condition = self.conditions[name]
        if not self.is_active(condition.parent, values):
            return f"{name} is not active: {self._inactive(condition.parent, values)}"
        now = f"here {condition.parent} is {_shown(values.get(condition.parent))}"
        return f"{name} is active only where {condition}, and {now}; leave it out"

    def replaced(self, constraint: ParameterConstraint) -> LinearConstraint:
        """Return a constraint over what derived and fixed parameters stand for."""
        weights: dict[str, float] = {}
        bound, needs = constraint.bound, set[str]()
        for name, weight in constraint.weights.items():
            parameter = self.by_name[name]
            if isinstance(parameter, DerivedParameter):
                bound -= weight * parameter.terms[1]
            for each, share in self.origin(name).items():
                needs.add(each)
                origin = self.by_name[each]
                if isinstance(origin, FixedParameter):
                    bound -= weight * share * origin.value
                else:
                    weights[each] = weights.get(each, 0.0) + weight * share
        return LinearConstraint(constraint, weights, bound, frozenset(needs))

    def _count(self, names: Iterable[str]) -> float:
        return math.prod(self._arms_of(self.by_name[name]) for name in names)

    def _arms_of(self, parameter: Parameter) -> float:
        """Return the number of ways to choose ``parameter`` and all that depends on it."""
        if not isinstance(parameter, ChoiceParameter | FixedParameter):
            return parameter.cardinality
        children = [c for c, known in self.conditions.items() if known.parent == parameter.name]
        values = parameter.values if isinstance(parameter, ChoiceParameter) else (parameter.value,)
        return sum(
            self._count(c for c in children if value in self.conditions[c].values)
            for value in values
        )


def _shown(value: Value | None) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def conditions(parameters: Iterable[Parameter]) -> Iterator[tuple[str, Condition]]:
    """Yield each dependent parameter that is named, with its condition."""
    for parent in parameters:
        if not isinstance(parent, ChoiceParameter | FixedParameter):
            continue
        children: dict[str, list[Value]] = {}
        for value, names in parent.dependents:
            for name in names:
                children.setdefault(name, []).append(value)
        yield from (
            (child, Condition(parent.name, tuple(values))) for child, values in children.items()
        )
