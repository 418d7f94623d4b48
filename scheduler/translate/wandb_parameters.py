"""The parameters of a wandb sweep. Pure."""

import math
from collections.abc import Callable, Mapping

from scheduler.translate.node import Node
from scheduler.translate.result import Losses
from scheduler.translate.space import Range, Space

_KNOWN = frozenset(
    {"value", "values", "min", "max", "q", "mu", "sigma", "distribution", "parameters"}
)
_WHY = {"probabilities": "schedd's choices have no weights: each value is as likely"}


def add_parameters(given: Node, space: Space, losses: Losses, prefix: str = "") -> None:
    """Add what a mapping of parameters defines; nested ones are called ``outer.inner``."""
    for key, parameter in given.mapping().items():
        name = prefix + key
        if not isinstance(parameter.data, dict):
            raise parameter.wrong(f"{parameter.label} must have value, values, or min and max")
        if parameter["parameters"]:
            why = f"it is {name}.* here; the program gets one flat set of parameters"
            losses.add(f"{name}: its nesting", why, parameter.place)
            add_parameters(parameter["parameters"], space, losses, f"{name}.")
            continue
        try:
            _add(name, parameter, space, losses)
        except ValueError as error:
            raise parameter.wrong(str(error)) from None
        parameter.unused(losses, _KNOWN, _WHY)


def _add(name: str, given: Node, space: Space, losses: Losses) -> None:
    kind = given["distribution"].text() if given["distribution"] else _implied(given)
    if kind == "constant":
        space.add_fixed(name, given["value"].data, given.place)
    elif kind in ("categorical", "categorical_w_probabilities"):
        values = [value.data for value in given["values"].items()]
        space.add_choice(name, values, place=given.place)
    elif kind in _RANGES:
        space.add_range(name, _range(name, kind, given, losses), given.place)
    elif kind in ("normal", "q_normal", "log_normal", "q_log_normal"):
        mean = given["mu"].number() if given["mu"] else 0.0
        deviation = given["sigma"].number() if given["sigma"] else 1.0
        space.add_normal(name, mean, deviation, given.place, log="log" in kind)
        if kind.startswith("q_"):
            losses.add(f"{name}: its quantum q", "it went with the distribution", given.place)
    elif kind in ("beta", "q_beta"):
        why = "schedd has no beta prior; every value from 0 to 1 is as likely"
        losses.add(f"{name}: its beta distribution", why, given.place)
        space.add_range(name, Range(0.0, 1.0), given.place)
    else:
        raise given["distribution"].wrong(f"wandb has no distribution {kind!r}")


def _implied(given: Node) -> str:
    """Return the distribution that wandb takes where none is named."""
    if "value" in given.data:
        return "constant"
    if given["values"]:
        return "categorical_w_probabilities" if given["probabilities"] else "categorical"
    if not (given["min"] and given["max"]):
        raise given.wrong(f"{given.label} must have value, values, or min and max")
    whole = all(isinstance(given[key].data, int) for key in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def _exp(power: float) -> float:
    try:
        return math.exp(power)
    except OverflowError:
        return math.inf


def _same(number: float) -> float:
    return number


_RANGES: Mapping[str, Callable[[float], float]] = {
    **dict.fromkeys(("uniform", "q_uniform", "int_uniform"), _same),
    **dict.fromkeys(("log_uniform_values", "q_log_uniform_values"), _same),
    "inv_log_uniform_values": _same,
    **dict.fromkeys(("log_uniform", "q_log_uniform"), _exp),
    "inv_log_uniform": lambda power: 1.0 / _exp(power),
}
"""What the numbers given as min and max are bounds of."""


def _range(name: str, kind: str, given: Node, losses: Losses) -> Range:
    bounds = [_RANGES[kind](_bound(given, key, kind)) for key in ("min", "max")]
    if kind == "inv_log_uniform":
        bounds.reverse()  # they are exponents of 1 / value
    step = None
    if kind.startswith("q_"):
        step = float(given["q"].number()) if given["q"] else 1.0
        if bounds[0] % step > 1e-9 * step and "log" not in kind:
            why = f"its values begin at {bounds[0]:g} here, wandb's are multiples of {step:g}"
            losses.add(f"{name}: where its steps lie", why, given.place)
    if kind.startswith("inv_"):
        why = "small values are as likely as large ones by the logarithm"
        losses.add(f"{name}: its inverse distribution", why, given.place)
    return Range(bounds[0], bounds[1], kind == "int_uniform", "log" in kind, step)


def _bound(given: Node, key: str, kind: str) -> float:
    if not given[key]:
        raise given.wrong(f"{given.label} needs min and max for {kind}")
    return given[key].number()
