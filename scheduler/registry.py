"""Runners and metric fetchers, found by entry point; only the ones that are named are imported."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel

from metrics.base import Fetcher
from runners.base import Runner
from scheduler.model.base import did_you_mean
from scheduler.model.definition import ExperimentDefinition

RUNNERS = "schedd.runners"
METRICS = "schedd.metrics"
_LATER = {RUNNERS: ("slurm", "kubernetes", "external"), METRICS: ()}


class RegistryError(LookupError):
    """A plugin is not there or cannot be used; the message is one sentence for people."""


@cache
def plugins(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of ``schedd.runners`` or ``schedd.metrics``, by name."""
    return {point.name: point for point in sorted(entry_points(group=group))}


def runner_names() -> list[str]:
    """Return the names that ``runner.type`` may have."""
    return list(plugins(RUNNERS))


def fetcher_names() -> list[str]:
    """Return the names that the ``type`` of a fetcher may have."""
    return list(plugins(METRICS))


def runner_class(name: str) -> type[Runner]:
    """Return the runner class called ``name``; raises RegistryError."""
    loaded = _load(RUNNERS, "runner", name)
    if not (isinstance(loaded, type) and issubclass(loaded, Runner)):
        raise RegistryError(f"the runner {name!r} is not a subclass of runners.base.Runner")
    return loaded


def fetcher_class(name: str) -> type[Fetcher]:
    """Return the fetcher class called ``name``; raises RegistryError."""
    loaded = _load(METRICS, "metric fetcher", name)
    if not (isinstance(loaded, type) and issubclass(loaded, Fetcher)):
        raise RegistryError(
            f"the metric fetcher {name!r} is not a subclass of metrics.base.Fetcher"
        )
    return loaded


def runner_options(name: str) -> type[BaseModel]:
    """Return the model of a runner's own section; raises RegistryError."""
    return runner_class(name).Options


def fetcher_options(name: str) -> type[BaseModel]:
    """Return the model of a fetcher's own keys; raises RegistryError."""
    return fetcher_class(name).Options


def build_runner(definition: ExperimentDefinition, wake: Callable[[], None]) -> Runner:
    """Return the definition's runner.

    Raises RegistryError where there is none, pydantic's ValidationError where its options do not
    fit; neither happens after the definition has been loaded with these plugins.
    """
    kind = runner_class(definition.runner.type)
    return kind(kind.Options.model_validate(definition.runner.options), wake)


def build_fetchers(definition: ExperimentDefinition) -> dict[str, Fetcher]:
    """Return the fetcher of each metric; raises as :func:`build_runner` does."""
    fetchers: dict[str, Fetcher] = {}
    for metric, spec in definition.metric_specs.items():
        kind = fetcher_class(spec.fetcher.type)
        fetchers[metric] = kind(kind.Options.model_validate(spec.fetcher.options))
    return fetchers


def _load(group: str, what: str, name: str) -> Any:
    point = plugins(group).get(name)
    if point is None:
        raise RegistryError(_absent(group, what, name))
    try:
        return point.load()
    except Exception as error:  # any code of a third party runs here
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RegistryError(
            f"the {what} {name!r} ({point.value}) does not import: {why}"
        ) from error


def _absent(group: str, what: str, name: str) -> str:
    known = plugins(group)
    if name in _LATER[group]:
        return f"the {what} {name!r} is not implemented yet; there is {', '.join(known) or 'none'}"
    near = did_you_mean(name, known) or f"; there is {', '.join(known) or 'none'}"
    return f"there is no {what} called {name!r}{near}"
