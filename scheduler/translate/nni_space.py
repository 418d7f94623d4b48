"""NNI's search spaces: ``{"lr": {"_type": "loguniform", "_value": [1e-5, 0.1]}}``. Pure."""

from typing import Any

from scheduler.translate.node import Node
from scheduler.translate.result import Losses
from scheduler.translate.space import Range, Space

_NAME = "_name"


def add_space(given: Node, space: Space, losses: Losses, prefix: str = "") -> list[str]:
    """Add what a search space defines, and return the names of what is not nested deeper.

    What a nested choice brings along is active only with it, and called ``choice.value.name``.
    """
    names = []
    for key, parameter in given.mapping().items():
        if key == _NAME:
            continue
        name = prefix + key
        if not isinstance(parameter.data, dict) or not parameter["_type"]:
            raise parameter.wrong(f"{parameter.label} must have _type and _value")
        try:
            _add(name, parameter, space, losses)
        except ValueError as error:
            raise parameter.wrong(str(error)) from None
        names.append(name)
    return names


def _add(name: str, given: Node, space: Space, losses: Losses) -> None:
    kind, value = given["_type"].text(), given["_value"]
    if kind == "choice":
        _add_choice(name, value.items(), space, losses, given.place)
    elif kind in ("normal", "qnormal", "lognormal", "qlognormal"):
        mean, deviation = (_number(value, i, name) for i in (0, 1))
        space.add_normal(name, mean, deviation, given.place, log="log" in kind)
        if kind.startswith("q"):
            losses.add(f"{name}: its quantum", "it went with the distribution", given.place)
    elif kind == "randint":
        # The upper bound is not among the values, as in Python's range.
        space.add_range(name, Range(_number(value, 0, name), _number(value, 1, name) - 1, True))
    elif kind in ("uniform", "loguniform", "quniform", "qloguniform"):
        space.add_range(name, _range(name, kind, value, losses), given.place)
    else:
        raise given["_type"].wrong(f"NNI has no parameter type {kind!r}")


def _range(name: str, kind: str, value: Node, losses: Losses) -> Range:
    low, high = _number(value, 0, name), _number(value, 1, name)
    step = float(_number(value, 2, name)) if kind.startswith("q") else None
    if step and kind == "quniform" and low % step > 1e-9 * step:
        why = f"its values begin at {low:g} here, NNI's are multiples of {step:g}"
        losses.add(f"{name}: where its steps lie", why, value.place)
    return Range(low, high, False, "log" in kind, step)


def _number(value: Node, place: int, name: str) -> float:
    items = value.items()
    if place >= len(items):
        raise value.wrong(f"_value of {name} needs {place + 1} numbers")
    return items[place].number()


def _add_choice(
    name: str, items: list[Node], space: Space, losses: Losses, place: str | None
) -> None:
    """Add a choice, and what its values bring along where they are search spaces."""
    nested = [item for item in items if isinstance(item.data, dict) and _NAME in item.data]
    values: list[Any] = [item[_NAME].data if item in nested else item.data for item in items]
    space.add_choice(name, values, place=place)
    for item in nested:
        label = item[_NAME].text()
        children = add_space(item, space, losses, f"{name}.{label}.")
        if children and len(values) > 1:
            space.depend(name, item[_NAME].data, children)
