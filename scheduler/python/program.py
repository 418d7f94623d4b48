"""A program's Runner and Metrics by where they are defined, so that other processes drive them."""

import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from runners.base import RunnerOptions
from scheduler.plugins import RegistryError
from scheduler.python.errors import UserInputError

if TYPE_CHECKING:
    from scheduler.daemon import Plugs
    from scheduler.storage.store import Experiment, Store

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


def plug(store: "Store", experiment: "Experiment", wake: Callable[[], None]) -> "Plugs":
    """Return what a definition names, a program's own classes too. Raises RegistryError."""
    from scheduler.daemon import by_definition

    runner, fetchers = by_definition(store, experiment, wake)
    if experiment.definition.runner.type != PYTHON:
        return runner, fetchers
    from scheduler.python.experiment import Experiment as Developers
    from scheduler.python.inprocess import plugged
    from scheduler.python.metric import Metric, Runner
    from scheduler.python.session import Place, Session

    options, name = runner.options, experiment.definition.name
    assert isinstance(options, ProgramOptions)
    if options.kind is None:
        raise RegistryError(
            f"the Runner of {name} is its program's own: that program drives it, or hands it over "
            "by Scheduler.hand_over()"
        )
    own = _made(options.kind, options.arguments, Runner)
    metrics = [_made(made.kind, made.arguments, Metric) for made in options.metrics.values()]
    session = Session(Place(store.url, store), wait=0.0)
    session.find(name)
    seen = Developers(None, name, tracking_metrics=metrics, runner=own, storage=session)
    runner, own_fetchers = plugged(own, seen, wake)
    return runner, {**fetchers, **own_fetchers}


def _made(address: str, arguments: Mapping[str, Any], base: type) -> Any:
    kind = class_at(address, base)
    try:
        return kind(**arguments)
    except Exception as error:  # the program's own code
        why = f"{type(error).__name__}: {error}"
        raise RegistryError(f"{address} cannot be made with {dict(arguments)}: {why}") from error


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
