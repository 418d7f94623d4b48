"""Durations and sizes as people write them in the YAML: ``10s``, ``4h``, ``256MiB``.

A bare ``32G`` is 32 GiB, as for Slurm, Docker and systemd.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1} | {
    f"{letter}{tail}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for tail, base in (("B", 1000), ("iB", 1024), ("", 1024))
}


def _scaled(value: object, units: dict[str, float], example: str) -> object:
    """Return a string like ``10s`` as a number; leave all else to pydantic."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2] not in units:
        raise ValueError(f"must be like {example}; the units are {', '.join(filter(None, units))}")
    return float(match[1]) * units[match[2]]


def _seconds(value: object) -> object:
    return _scaled(value, _SECONDS, "10s")


def _bytes(value: object) -> object:
    number = _scaled(value, dict(_BYTES), "256MiB")
    return int(number) if isinstance(number, float) else number


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
"""Seconds; a number, or a string with a unit."""
Size = Annotated[int, BeforeValidator(_bytes), Field(ge=1)]
"""Bytes; a number, or a string with a unit."""
