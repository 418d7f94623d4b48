"""Writes a definition as YAML that our own loader reads back as the same, with comments."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from scheduler.config.scalars import typed
from scheduler.model.definition import SCHEMA, ExperimentDefinition

WIDTH = 99
_PLAIN = re.compile(
    r"(?=.*[A-Za-z])[A-Za-z_./][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+-]+)*|\d+(\.\d+)?[smhdw]"
)
_CONTROL = re.compile(r"[^\x20-\x7e]")
_ORDER = [f.alias or name for name, f in ExperimentDefinition.model_fields.items()]


def yaml_text(definition: Mapping[str, Any], head: str, comments: Mapping[str, str]) -> str:
    """Return the file: ``head`` as a comment, then each key, below what ``comments`` say of it.

    ``definition`` is as in our YAML, without its schema. Raises ValueError for text that YAML
    cannot hold.
    """
    lines = [*comment(head), f"schema: {SCHEMA}"]
    for key in sorted(definition, key=_ORDER.index):
        if key in comments:
            lines += ["", *comment(comments[key])]
        lines += _entry(key, definition[key], 0)
    return "\n".join(lines) + "\n"


def comment(text: str) -> list[str]:
    """Return the lines of a comment."""
    told: list[str] = []
    for paragraph in text.splitlines():
        indent = re.match(r" *(- )?", paragraph)
        hang = " " * len(indent[0] if indent else "")
        told += wrap(printable(paragraph), WIDTH - 2, subsequent_indent=hang) or [""]
    return [f"# {line}".rstrip() for line in told]


def printable(text: str) -> str:
    """Return text as one line that a terminal or a comment may hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _entry(key: str, value: Any, indent: int) -> list[str]:
    """Return the lines of ``key: value``: in one line where that fits, parameters one each."""
    pad = " " * indent
    flow = f"{pad}{scalar(key)}: {_flow(value)}"
    several = isinstance(value, list) and value and isinstance(value[0], dict)
    if not isinstance(value, (dict, list)) or not value or (len(flow) <= WIDTH and not several):
        return [flow]
    lines = [f"{pad}{scalar(key)}:"]
    if isinstance(value, dict):
        return lines + [line for k, v in value.items() for line in _entry(k, v, indent + 2)]
    return lines + [line for item in value for line in _item(item, indent + 2)]


def _item(value: Any, indent: int) -> Iterator[str]:
    pad = " " * indent
    flow = f"{pad}- {_flow(value)}"
    if not isinstance(value, dict) or not value or len(flow) <= WIDTH:
        yield flow
        return
    lines = [line for k, v in value.items() for line in _entry(k, v, indent + 2)]
    yield f"{pad}- {lines[0].lstrip()}"
    yield from lines[1:]


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Return a scalar that is read back as the same: text in quotes wherever it needs them."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not finite")
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and isinstance(typed(text), str):
        return text
    return _CONTROL.sub(_escaped, json.dumps(text.replace("$", "$$"), ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    """Return a letter as it is, and as an escape what an editor would not show."""
    char = match[0]
    if char.isprintable():
        return char
    if "\ud800" <= char <= "\udfff":
        raise ValueError("text holds half a surrogate pair, which YAML cannot hold")
    return f"\\u{ord(char):04x}" if ord(char) < 1 << 16 else f"\\U{ord(char):08x}"
