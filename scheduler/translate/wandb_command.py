"""The command of a wandb sweep, with its macros. Pure."""

import json
import re
from collections.abc import Callable, Mapping

from scheduler.jobs import UNKNOWN, literal
from scheduler.translate.assemble import PARAMETERS
from scheduler.translate.node import Node
from scheduler.translate.result import Losses
from scheduler.translate.space import Space

_DEFAULT = ("${interpreter}", "${program}", "${args}")
_MACRO = re.compile(r"\$\{(\w+)(?::(\w+))?\}")
_BOOLEANS = "args_no_boolean_flags"
_LISTS: Mapping[str, Callable[[str, str], str]] = {
    "args": lambda name, ours: f"--{name}={{params.{ours}}}",
    "args_no_hyphens": lambda name, ours: f"{name}={{params.{ours}}}",
    _BOOLEANS: lambda name, ours: f"--{name}={{params.{ours}}}",
}


def command(sweep: Node, space: Space, losses: Losses) -> list[str]:
    """Return the command as a list of arguments in our words. Raises ConfigError."""
    given = sweep["command"]
    if given and isinstance(given.data, str):
        raise given.wrong("command must be a list of arguments")
    elements = [(each.text(), each.place) for each in given.items()]
    elements = elements or [(text, given.place) for text in _DEFAULT]
    made: list[str] = []
    for text, place in elements:
        made += _element(text, place, sweep, space, losses)
    _note_booleans(made, space, losses)
    return made


def _element(text: str, place: str | None, sweep: Node, space: Space, losses: Losses) -> list[str]:
    match = _MACRO.fullmatch(text)
    kind = match[1] if match else ""
    if kind in _LISTS:
        if kind == _BOOLEANS:
            why = "a flag cannot come and go; it is --NAME=true or --NAME=false"
            losses.add("${args_no_boolean_flags}", why, place)
        return [_LISTS[kind](name, ours) for name, ours in space.original.items()]
    if kind == "args_json":
        return [_json(space)]

    def replace(found: re.Match[str]) -> str:
        return _word(found, place, sweep, losses)

    return [_MACRO.sub(replace, literal(text))]


def _word(found: re.Match[str], place: str | None, sweep: Node, losses: Losses) -> str:
    """Return what a macro inside an argument stands for."""
    name, of = found[1], found[2]
    if name == "env":
        return "/usr/bin/env"
    if name == "interpreter":
        return "python"
    if name == "args_json_file":
        return PARAMETERS
    if name == "program":
        if not sweep["program"]:
            losses.add("${program}", "the sweep names no program", place)
        return literal(sweep["program"].text(UNKNOWN))
    if name == "envvar" and of:
        why = f"write $${of} in a shell, or the value itself"
        losses.add(f"${{envvar:{of}}}", why.replace("$$", "$"), place)
        return f"{UNKNOWN}-{of}"
    losses.add(found[0], "wandb has no such macro; it is left as it stands", place)
    return found[0]


def _json(space: Space) -> str:
    """Return all parameters as one JSON object, which is filled in for each arm."""
    parts = []
    for name, ours in space.original.items():
        quote = '"' if _is_text(space, ours) else ""
        parts.append(f"{json.dumps(name)}: {quote}{{params.{ours}}}{quote}")
    return "{" + ", ".join(parts) + "}"


def _values(space: Space, name: str) -> list[object]:
    parameter = next(p for p in space.parameters if p["name"] == name)
    return [*parameter.get("values", ()), *([parameter["value"]] if "value" in parameter else [])]


def _is_text(space: Space, name: str) -> bool:
    return any(isinstance(value, str) for value in _values(space, name))


def _note_booleans(made: list[str], space: Space, losses: Losses) -> None:
    """Say how booleans look on a command line: Python's are capitalized."""
    used = [
        p["name"] for p in space.parameters if any(f"{{params.{p['name']}}}" in e for e in made)
    ]
    names = [n for n in used if any(isinstance(v, bool) for v in _values(space, n))]
    if names:
        why = "they are true and false on the command line here, and True and False with wandb"
        losses.add(f"the booleans of {', '.join(names)}", why)
