"""Builds a search space from what other tools call one; notes what ours cannot say."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler.jobs import variable_of
from scheduler.model.base import Value, plain
from scheduler.model.constraints import parse_inequality
from scheduler.model.derived import EXAMPLE
from scheduler.model.linear import PARAMETER, linear_text, parse_linear
from scheduler.model.parameters import LARGEST_INTEGER
from scheduler.translate.result import Losses

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
MOST_VALUES = 1000
SPREAD = 3.0
"""Standard deviations on either side, for a range in the place of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Range:
    """A numeric parameter of another tool."""

    low: float
    high: float
    whole: bool = False
    log: bool = False
    step: float | None = None


class Space:
    """The parameters so far, in our form, and how names and values of the other tool map."""

    def __init__(self, losses: Losses) -> None:
        self.parameters: list[dict[str, Any]] = []
        self._losses = losses
        self._names: dict[str, str] = {}
        self._values: dict[str, list[tuple[Any, Value]]] = {}

    @property
    def original(self) -> Mapping[str, str]:
        """From the other tool's name of each parameter to ours."""
        return self._names

    def __contains__(self, name: str) -> bool:
        return any(p["name"] == self._names.get(name) for p in self.parameters)

    def name(self, name: str) -> str:
        """Return our name of a parameter: its own, where that is allowed."""
        if name not in self._names:
            ours = self._free(_fit(name))
            self._names[name] = ours
            if ours != name:
                why = (
                    "a name has letters, digits, '_', '.' and '-', and differs in more than these"
                )
                self._losses.add(f"the name {name!r}", f"it is {ours!r} here: {why}")
        return self._names[name]

    def add_range(self, name: str, given: Range, place: str | None = None) -> None:
        """Add a range; one that holds a single value is fixed. Raises ValueError."""
        if not (math.isfinite(given.low) and math.isfinite(given.high)):
            raise ValueError(f"the bounds of {name} are not finite")
        if given.low > given.high:
            text = f"{plain(given.low)} is above {plain(given.high)}"
            raise ValueError(f"the bounds of {name} must rise, but {text}")
        low, high = _bounds(given)
        if low > high:
            raise ValueError(f"there is no whole number between the bounds of {name}")
        step = self._step(name, given, place)
        if low == high or (step or 0.0) > high - low:
            self.add_fixed(name, low, place)
            return
        log = given.log
        if log and low <= 0:
            log = False
            why = f"its lower bound is {plain(low)}, and log scaling needs one above 0"
            self._losses.add(f"{name}: log scaling", why, place)
        self.parameters.append(
            {
                "name": self.name(name),
                "type": "range",
                **({"parameter_type": "int"} if given.whole else {}),
                "bounds": [low, high],
                **({"scaling": "log"} if log else {}),
                **({"step_size": step} if step is not None else {}),
            }
        )

    def add_choice(
        self,
        name: str,
        values: Sequence[Any],
        *,
        ordered: bool | None = None,
        place: str | None = None,
    ) -> None:
        """Add a choice; one that has a single value is fixed. Raises ValueError."""
        pairs = self._typed(name, values, place)
        ours = list({(type(v), v): v for _, v in pairs}.values())
        if not ours:
            raise ValueError(f"{name} has no value to choose from")
        if len(ours) > MOST_VALUES:
            raise ValueError(f"{name} has {len(ours)} values, and a choice at most {MOST_VALUES}")
        if len(ours) == 1:
            self.add_fixed(name, ours[0], place)
        else:
            default = isinstance(ours[0], (int, float)) and not isinstance(ours[0], bool)
            other = ordered is not None and ordered is not default
            self.parameters.append(
                {
                    "name": self.name(name),
                    "type": "choice",
                    "values": ours,
                    **({"is_ordered": ordered} if other else {}),
                }
            )
        self._values[name] = pairs

    def add_fixed(self, name: str, value: Any, place: str | None = None) -> None:
        """Add a parameter that has one value."""
        pairs = self._typed(name, [value], place)
        self.parameters.append({"name": self.name(name), "type": "fixed", "value": pairs[0][1]})
        self._values[name] = pairs

    def add_normal(
        self,
        name: str,
        mean: float,
        deviation: float,
        place: str | None = None,
        *,
        log: bool = False,
    ) -> None:
        """Add a range in the place of a normal distribution, which is noted. Raises ValueError."""
        if not deviation > 0:
            raise ValueError(f"the standard deviation of {name} must be above 0")
        low, high = mean - SPREAD * deviation, mean + SPREAD * deviation
        if log:
            low, high = _exp(low, name), _exp(high, name)
        kind = "log-normal" if log else "normal"
        why = f"schedd has no {kind} prior; the range is three standard deviations either way"
        self._losses.add(f"{name}: its {kind} distribution", why, place)
        self.add_range(name, Range(low, high, log=log), place)

    def add_derived(self, name: str, expression: str, *, whole: bool) -> None:
        """Add a parameter that is a sum of others. Raises ValueError."""
        weights, constant = parse_linear(expression, EXAMPLE)
        text = linear_text({self.name(n): w for n, w in weights.items()}, constant)
        kind = {"parameter_type": "int"} if whole else {}
        self.parameters.append(
            {"name": self.name(name), "type": "derived", **kind, "expression": text}
        )

    def inequality(self, weights: Mapping[str, float], bound: float) -> Any:
        """Return a parameter constraint: as text, where all names may stand in one."""
        ours = {self.name(name): float(weight) for name, weight in weights.items()}
        if all(re.fullmatch(PARAMETER, name) for name in ours):
            return f"{linear_text(ours)} <= {plain(bound)}"
        return {"type": "linear", "weights": ours, "bound": bound}

    def inequality_of(self, text: str) -> Any:
        """Return a parameter constraint that is written as text. Raises ValueError."""
        return self.inequality(*parse_inequality(text))

    def depend(self, parent: str, value: Any, children: Iterable[str]) -> None:
        """Let parameters be active only where ``parent`` is ``value``, or another so named."""
        item = next((p for p in self.parameters if p["name"] == self.name(parent)), None)
        if item is None:
            raise ValueError(f"other parameters depend on {parent}, which did not carry over")
        ours = self.value(parent, value)
        text = str(ours).lower() if isinstance(ours, bool) else str(ours)
        under = item.setdefault("dependent_parameters", {}).setdefault(text, [])
        under += [name for child in children if (name := self.name(child)) not in under]

    def value(self, name: str, value: Any) -> Any:
        """Return a parameter's value as it is here; one that is not known as it stands."""
        for theirs, ours in self._values.get(name, ()):
            if _same(theirs, value):
                return ours
        return value

    def arm(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return an arm in our names and values."""
        return {self.name(name): self.value(name, value) for name, value in values.items()}

    def _free(self, name: str) -> str:
        """Return ``name``, or one like it, that no other parameter has, nor its variable."""
        taken = {variable_of(each) for each in self._names.values()}
        tail, number = "", 2
        while variable_of(name[: 64 - len(tail)] + tail) in taken:
            tail, number = f"_{number}", number + 1
        return name[: 64 - len(tail)] + tail

    def _step(self, name: str, given: Range, place: str | None) -> float | None:
        step = given.step
        if step is None or (given.whole and step == 1):
            return None
        if not 0 < step < math.inf or (given.whole and step != int(step)):
            why = f"{plain(step)} is no step" + (" between whole numbers" if given.whole else "")
            self._losses.add(f"{name}: its step", why, place)
            return None
        if given.log:
            text = "a range with log scaling has no step_size; every value between is tried"
            self._losses.add(f"{name}: its step of {plain(step)}", text, place)
            return None
        return int(step) if given.whole else float(step)

    def _typed(
        self, name: str, values: Sequence[Any], place: str | None
    ) -> list[tuple[Any, Value]]:
        """Return each value with the one that stands for it: all numbers, text or booleans."""
        if all(isinstance(v, bool) for v in values) or all(isinstance(v, str) for v in values):
            return [(v, v) for v in values]
        if all(_is_number(v) for v in values):
            whole = all(isinstance(v, int) for v in values)
            return [(v, v if whole else float(v)) for v in values]
        odd = next(v for v in values if not isinstance(v, str))
        why = "the values of a choice are all numbers, all text or all booleans"
        if len(values) == 1 or all(isinstance(v, (dict, list)) for v in values):
            why = "a value is a number, text or a boolean"
        self._losses.add(f"{name}: the type of {_shown(odd)}", f"it is text here: {why}", place)
        return [(v, _shown(v)) for v in values]


def _fit(name: str) -> str:
    """Return a name that is allowed, as near as can be to ``name``."""
    if _NAME.fullmatch(name):
        return name
    fit = re.sub(r"[^A-Za-z0-9_.-]+", "_", name) or "_"
    return (fit if re.match(r"[A-Za-z_]", fit) else f"_{fit}")[:64]


def _bounds(given: Range) -> tuple[float, float]:
    if not given.whole:
        return float(given.low), float(given.high)
    low, high = math.ceil(given.low), math.floor(given.high)
    if max(abs(low), abs(high)) > LARGEST_INTEGER:
        raise ValueError("the bounds of a whole number are beyond 2**53")
    return low, high


def _exp(power: float, name: str) -> float:
    try:
        return math.exp(power)
    except OverflowError:
        raise ValueError(f"the bounds of {name} are not finite") from None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and (isinstance(value, float) or abs(value) <= LARGEST_INTEGER)


def _shown(value: Any) -> str:
    """Return a value as text: ``None``, ``true``, ``[1, 2]``."""
    if value is None or isinstance(value, str):
        return str(value)
    return json.dumps(value)


def _same(a: Any, b: Any) -> bool:
    both = isinstance(a, bool) == isinstance(b, bool)
    return both and (a == b or (a != a and b != b))  # noqa: PLR0124  # NaN
