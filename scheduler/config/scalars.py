"""Scalars of YAML: the core schema of YAML 1.2, and references to environment variables."""

import math
import re
from collections.abc import Mapping

Scalar = str | int | float | bool | None
LARGEST_INTEGER = 2**53

_CONSTANTS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{sign + i: math.inf for sign in ("", "+") for i in (".inf", ".Inf", ".INF")},
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_REFERENCE = re.compile(
    r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\$\{)"
)


def typed(text: str) -> Scalar:
    """Return what a plain scalar means; ValueError for a number that a float cannot hold."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    return _finite(text) if _FLOAT.fullmatch(text) else text


def substitute(text: str, environment: Mapping[str, str]) -> str:
    """Return ``text`` with ``${NAME}`` and ``${NAME:-default}`` replaced, once; ``$$`` is ``$``.

    Raises ValueError for a variable that is not set and for a reference that cannot be read.
    """

    def replace(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match["broken"]:
            raise ValueError(
                "'${' begins a reference such as ${NAME} or ${NAME:-default}; "
                "write '$${' for the characters themselves"
            )
        if name is None:
            return "$"
        return _value(name, default, environment)

    return _REFERENCE.sub(replace, text) if "$" in text else text


def is_reference(text: str) -> bool:
    """Whether ``text`` is one reference and nothing else."""
    match = _REFERENCE.fullmatch(text)
    return match is not None and match["name"] is not None


def _value(name: str, default: str | None, environment: Mapping[str, str]) -> str:
    """Return a variable's value; as in a shell, ``:-`` also stands in for an empty one."""
    value = environment.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise ValueError(
            f"the environment variable {name} is not set; "
            f"set it, or write ${{{name}:-default}} for a default"
        )
    return value


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    digits = text[2:] if base != 10 else text
    value = int(digits, base) if len(digits.lstrip("+-0")) <= 20 else 2**64
    if abs(value) > LARGEST_INTEGER:
        raise ValueError(
            f"{_short(text)} is beyond 2**53, so a float cannot hold it; quote it if it is text"
        )
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{_short(text)} is too large for a float; quote it if it is text")
    return value


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
