"""Plugins by entry point: runners, metric fetchers and generators, ours and others' alike."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from scheduler.model.base import did_you_mean

RUNNERS = "schedd.runners"
METRICS = "schedd.metrics"
GENERATORS = "schedd.generators"
_WORDS = {RUNNERS: "runner", METRICS: "metric fetcher", GENERATORS: "generator"}
_LATER = {RUNNERS: ("kubernetes",)}


class RegistryError(LookupError):
    """A plugin is not there or cannot be used; the message is one sentence for people."""


@cache
def plugins(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name; nothing of them is imported."""
    return {point.name: point for point in sorted(entry_points(group=group))}


def load(group: str, name: str, base: type) -> Any:
    """Return the subclass of ``base`` called ``name``; raises RegistryError."""
    point, what = plugins(group).get(name), _WORDS[group]
    if point is None:
        raise RegistryError(_absent(group, name))
    try:
        loaded = point.load()
    except Exception as error:  # any code of a third party runs here
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RegistryError(
            f"the {what} {name!r} ({point.value}) does not import: {why}"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        wanted = f"{base.__module__}.{base.__qualname__}"
        raise RegistryError(f"the {what} {name!r} is not a subclass of {wanted}")
    return loaded


def _absent(group: str, name: str) -> str:
    known, what = plugins(group), _WORDS[group]
    there = f"; there is {', '.join(known)}" if known else "; none is installed, not even ours"
    if name in _LATER.get(group, ()):
        return f"the {what} {name!r} is not implemented yet{there}"
    near = did_you_mean(name, known) or there
    return f"there is no {what} called {name!r}{near}"
