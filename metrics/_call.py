"""The process that calls a function for ``type: python``; run by path, never imported.

It imports the standard library alone: whatever the user's folder holds, a ``metrics.py`` too,
means to the function what it means to a script.
"""

import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the call from standard input, and write what came of it to standard output."""
    answer_to = os.dup(1)  # not inherited by what the function starts
    os.dup2(2, 1)  # what the function prints cannot be taken for the answer
    call = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"points": _rows(_call(call))}
    except BaseException as error:  # sys.exit() is a failure too
        last = traceback.format_exception_only(error)[-1].strip()
        answer = {"failed": last.splitlines()[-1][:500]}
    with os.fdopen(answer_to, "wb") as stream:
        stream.write(json.dumps(answer).encode())


def _call(call: dict[str, Any]) -> Any:
    function = _load(call["place"], call["is_file"])
    for part in call["name"].split("."):
        function = getattr(function, part)
    arguments = [Path(call["trial_dir"]), call["parameters"]]
    return function(*arguments) if _takes(function, arguments) else function(arguments[0])


def _load(place: str, is_file: bool) -> Any:
    if not is_file:
        return importlib.import_module(place)
    sys.path.insert(0, os.path.dirname(place))
    spec = importlib.util.spec_from_file_location(Path(place).stem, place)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look it up
    spec.loader.exec_module(module)
    return module


def _takes(function: Any, arguments: list[Any]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError):  # it takes fewer, or is built in and does not say
        return False
    return True


def _rows(result: Any) -> list[list[Any]]:
    """Return ``[mean, sem, step]`` rows; what is no number is left for our caller to judge."""
    if result is None:
        return []
    if isinstance(result, list):
        return [_row(*_pair(each, "(step, mean)")[::-1]) for each in result]
    if isinstance(result, dict):
        return [_row(result.get("mean"), sem=result.get("sem"))]
    if isinstance(result, tuple):
        mean, sem = _pair(result, "(mean, sem)")
        return [_row(mean, sem=sem)]
    return [_row(result)]


def _pair(value: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return f"{value!r:.60}, not {what}", None
    return value[0], value[1]


def _row(mean: Any, step: Any = None, sem: Any = None) -> list[Any]:
    return ["None" if mean is None else _plain(mean), _plain(sem), _plain(step)]


def _plain(value: Any) -> Any:
    """Return numbers of NumPy and PyTorch as ours, and what is no number as text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return f"{value!r:.60}"


if __name__ == "__main__":
    main()
