"""Whether a search space means something: what is wrong with it, in sentences."""

from collections.abc import Iterable, Iterator, Mapping

from scheduler.model.base import Problem, did_you_mean
from scheduler.model.constraints import ParameterConstraint
from scheduler.model.derived import DerivedParameter
from scheduler.model.parameters import Parameter, RangeParameter
from scheduler.model.search_space import Condition, SearchSpace, conditions

Named = Mapping[str, Parameter]


def space_problems(
    parameters: tuple[Parameter, ...], constraints: tuple[ParameterConstraint, ...]
) -> Iterator[Problem]:
    """Yield what is wrong with a search space; its constraints once all else is right."""
    problems = [*_names(parameters), *_dependents(parameters), *_derived(parameters)]
    yield from problems or _constraints(SearchSpace(parameters, constraints))


def repeated(names: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield position and name where a name stands again."""
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            yield i, name
        seen.add(name)


def _names(parameters: tuple[Parameter, ...]) -> Iterator[Problem]:
    for i, name in repeated(p.name for p in parameters):
        yield ("parameters", i, "name"), f"there are two parameters called {name!r}"


def _dependents(parameters: tuple[Parameter, ...]) -> Iterator[Problem]:
    known: Named = {p.name: p for p in parameters}
    place = {p.name: i for i, p in enumerate(parameters)}
    found: dict[str, Condition] = {}
    for child, condition in conditions(parameters):
        path = ("parameters", place[condition.parent], "dependent_parameters")
        if child not in known:
            near = did_you_mean(child, known)
            yield path, f"{child!r}, a dependent of {condition.parent}, is no parameter{near}"
        elif isinstance(known[child], DerivedParameter):
            text = f"{child} is derived: it is active where all that it is derived from are"
            yield path, text
        elif child in found:
            text = f"{child} depends on {found[child].parent} already; it has one parent"
            yield path, text
        elif child in _ancestors(condition.parent, found) | {condition.parent}:
            yield path, f"{child} would depend on itself by way of {condition.parent}"
        else:
            found[child] = condition


def _ancestors(name: str, found: Mapping[str, Condition]) -> set[str]:
    above: set[str] = set()
    while name in found:
        name = found[name].parent
        above.add(name)
    return above


def _derived(parameters: tuple[Parameter, ...]) -> Iterator[Problem]:
    known: Named = {p.name: p for p in parameters}
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, DerivedParameter):
            continue
        weights, constant = parameter.terms
        path = ("parameters", i, "expression")
        for name in weights:
            if text := _no_number(known.get(name), name, known):
                yield path, f"{parameter.name} is derived from {name!r}, {text}"
        whole = all(
            weight == int(weight) and known[name].parameter_type == "int"
            for name, weight in weights.items()
            if name in known
        )
        if parameter.parameter_type == "int" and not (whole and constant == int(constant)):
            text = f"{parameter.name} is an int, so all numbers and parameters in it must be, too"
            yield path, text


def _no_number(parameter: Parameter | None, name: str, known: Named) -> str:
    """Return why nothing can be derived from a parameter; empty where something can."""
    if parameter is None:
        return f"which is not a parameter{did_you_mean(name, known)}"
    if isinstance(parameter, DerivedParameter):
        return "which is derived itself; write its expression out"
    numeric = parameter.parameter_type in ("int", "float")
    return "" if numeric else f"which is not a number but a {parameter.parameter_type}"


def _constraints(space: SearchSpace) -> Iterator[Problem]:
    for i, constraint in enumerate(space.parameter_constraints):
        path = ("parameter_constraints", i)
        texts = [
            f"the constraint names {name!r}, {text}"
            for name in constraint.weights
            if (text := _unfit(space, name))
        ]
        if not texts and not any(space.replaced(constraint).weights.values()):
            texts = [f"{constraint} depends on no parameter once derived ones are written out"]
        yield from ((path, text) for text in texts)


def _unfit(space: SearchSpace, name: str) -> str:
    """Return why a parameter cannot stand in a constraint; empty where it can."""
    parameter = space.by_name.get(name)
    if parameter is None:
        return f"which is not a parameter{did_you_mean(name, space.by_name)}"
    if isinstance(parameter, DerivedParameter):
        found = ((each, _unfit(space, each)) for each in parameter.terms[0])
        return next(
            (
                f"which is derived from {each!r}, {text}"
                for each, text in found
                if text and space.by_name[each].type != "fixed"
            ),
            "",
        )
    if not isinstance(parameter, RangeParameter):
        return f"a {parameter.type} parameter; only range parameters can be constrained"
    return "which has log scaling; it must be linear" if parameter.scaling == "log" else ""
