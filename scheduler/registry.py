"""The classes of plugins that a definition names, and what is made of them."""

from collections.abc import Callable

from pydantic import BaseModel

from metrics.base import Fetcher
from runners.base import Runner
from scheduler.generation.base import Generator
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.nodes import SOBOL, Traits
from scheduler.model.strategy import nodes_of
from scheduler.plugins import GENERATORS, METRICS, RUNNERS, load, plugins


def runner_names() -> list[str]:
    """Return the names that ``runner.type`` may have."""
    return list(plugins(RUNNERS))


def fetcher_names() -> list[str]:
    """Return the names that the ``type`` of a fetcher may have."""
    return list(plugins(METRICS))


def generator_names() -> list[str]:
    """Return the names that the ``generator`` of a node may have."""
    return list(plugins(GENERATORS))


def runner_class(name: str) -> type[Runner]:
    """Return the runner class called ``name``; raises RegistryError."""
    kind: type[Runner] = load(RUNNERS, name, Runner)
    return kind


def fetcher_class(name: str) -> type[Fetcher]:
    """Return the fetcher class called ``name``; raises RegistryError."""
    kind: type[Fetcher] = load(METRICS, name, Fetcher)
    return kind


def generator_class(name: str) -> type[Generator]:
    """Return the generator class called ``name``; raises RegistryError."""
    kind: type[Generator] = load(GENERATORS, name, Generator)
    return kind


def fetcher_options(name: str) -> type[BaseModel]:
    """Return the model of a fetcher's own keys; raises RegistryError."""
    return fetcher_class(name).Options


def generator_options(name: str) -> type[BaseModel]:
    """Return the model of a generator's own keys; raises RegistryError."""
    return generator_class(name).Options


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


def traits_of(definition: ExperimentDefinition) -> dict[str, Traits]:
    """Return what is known of each generator that the strategy may use; raises RegistryError."""
    names = {SOBOL, *(node.generator for node in nodes_of(definition))}
    return {name: generator_class(name).traits for name in sorted(names)}
