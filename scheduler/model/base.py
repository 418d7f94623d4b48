"""What every definition model shares: frozen, strict about keys, durations as text."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

Value = float | int | str | bool
"""A parameter's value. bool is a subclass of int: compare types where it matters."""

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^@]*@")


Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
"""The name of a parameter."""

Path = tuple[str | int, ...]
"""Where a value stands in an experiment: keys and positions."""
Problem = tuple[Path, str]
"""A sentence, and the path of the value it is about."""


class Model(BaseModel):
    """Base of the definition: immutable; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parse_duration(value: Any) -> Any:
    """Return seconds for text such as ``30s``, ``10m``, ``1.5h``, ``2d``; numbers are seconds."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write for example 30s, 10m, 6h or 2d")
    return float(match[1]) * _SECONDS[match[2]]


Duration = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=float | str),
    Field(ge=0, allow_inf_nan=False),
]
"""Seconds; written as a number or as text with a unit."""


def without_password(url: str) -> str:
    """Return a database's URL as it may be shown, stored and compared."""
    return _PASSWORD.sub(r"\1:***@", url)


StorageUrl = Annotated[str, PlainSerializer(without_password)]
"""Where experiments are kept; its password is never part of what is stored or shown."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known word nearest to ``word``; empty if none is."""
    near = get_close_matches(word[:100], list(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]!r}?" if near else ""


def plain(number: float) -> str:
    """Return the shortest text that reads back as ``number``."""
    return text if float(text := f"{number:g}") == number else repr(number)
