"""A program's Runner and Metrics by where they are defined, so that other processes find them."""

import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from runners.base import RunnerOptions
from scheduler.plugins import RegistryError
from scheduler.python.errors import UserInputError

PYTHON = "python"
"""The type of a program's own runner."""
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def _place(address: str) -> str:
    """Return an address. Raises ValueError where it is none."""
    place, _, name = address.rpartition(":")
    if not _DOTTED.fullmatch(name) or not (place.endswith(".py") or _DOTTED.fullmatch(place)):
        raise ValueError(
            f"class is {address!r}, which is neither ./file.py:Class nor module:Class"
        )
    return address


class Made(BaseModel):
    """A class, and what its objects are made with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(alias="class")
    """``./file.py:Class``, relative to the YAML file, or ``module:Class``."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Of its constructor, by name."""

    _is_an_address = field_validator("kind")(_place)


class ProgramOptions(RunnerOptions):
    """A subclass of ``scheduler.Runner``, and perhaps some of ``scheduler.Metric``."""

    kind: str | None = Field(alias="class")
    """As of :class:`Made`; null where the program that made the experiment drives it alone."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Made] = Field(default_factory=dict)
    """What fetches a metric, by name; others are fetched as the ``metrics`` of the file say."""

    @field_validator("kind")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        return None if address is None else _place(address)

    @classmethod
    def located(cls, section: Any, folder: Path) -> Any:
        """Return the section with files by their absolute paths."""
        if not isinstance(section, Mapping):
            return section
        metrics = section.get("metrics")
        named = metrics.items() if isinstance(metrics, Mapping) else ()
        inner = {"metrics": {n: cls.located(m, folder) for n, m in named}} if named else {}
        address = section.get("class")
        if isinstance(address, str) and address.rpartition(":")[0].endswith(".py"):
            file = folder / Path(address).expanduser()
            return {**section, **inner, "class": os.path.normpath(file)}
        return {**section, **inner}


# -- from where to what


def class_at(address: str, base: type) -> Any:
    """Return the subclass of ``base`` at an address. Raises RegistryError."""
    place, _, name = address.rpartition(":")
    try:
        found: Any = _of_file(place) if place.endswith(".py") else importlib.import_module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the program's own code
        why = f"{type(error).__name__}: {error}"
        raise RegistryError(f"{address} does not import: {why}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise RegistryError(f"{address} is not a subclass of scheduler.{base.__name__}")
    return found


def _of_file(path: str) -> ModuleType:
    """Import a file once in this process; what lies beside it can be imported too."""
    name = f"schedd_{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    beside = os.path.dirname(path)
    if beside not in sys.path:
        sys.path.append(beside)  # last: it must not hide a module of ours
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look it up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


# -- from what to where


def section_of(runner: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section of the YAML that names these objects.

    Raises UserInputError where another process could not make them again.
    """
    return {**_named(runner), "metrics": {name: _named(each) for name, each in metrics.items()}}


def _named(thing: Any) -> dict[str, Any]:
    address = _address_of(type(thing))
    try:
        class_at(address, object)
    except RegistryError as error:
        raise UserInputError(f"another process could not use it: {error}") from error
    return {"class": address, "arguments": _arguments_of(thing)}


def _address_of(kind: type) -> str:
    name, module = kind.__qualname__, sys.modules.get(kind.__module__)
    if kind.__module__ == "__main__" or "<locals>" in name or module is None:
        where = "a function" if "<locals>" in name else "the program that runs"
        raise UserInputError(
            f"{name} is defined in {where}, where no other process finds it: move it to a module"
        )
    file = getattr(module, "__file__", None)
    installed = sysconfig.get_path("purelib")
    if "." in kind.__module__ or file is None or os.path.dirname(file) == installed:
        return f"{kind.__module__}:{name}"
    return f"{os.path.abspath(file)}:{name}"


def _arguments_of(thing: Any) -> dict[str, Any]:
    """Return what an object was made with: its attributes of these names."""
    found, kind = {}, type(thing)
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if hasattr(thing, name):
            found[name] = getattr(thing, name)
        elif parameter.default is parameter.empty:
            raise UserInputError(
                f"{kind.__qualname__} is made with {name!r} and does not keep it: let __init__ "
                f"say self.{name} = {name}, so that another process can make one like it"
            )
    try:
        if json.loads(json.dumps(found, allow_nan=False)) == found:
            return found
    except (TypeError, ValueError):
        pass  # told below
    raise UserInputError(
        f"{kind.__qualname__} is made with {found}, which are not all plain JSON values: another "
        "process cannot make one like it"
    )
