"""Loads an experiment: reads the file, validates it, and says in sentences what is wrong."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from runners.base import NO_RESOURCES, Runner, RunnerOptions
from scheduler import jobs
from scheduler.config.errors import ConfigError, Mistake
from scheduler.config.feasible import conflict
from scheduler.config.hints import value_hint
from scheduler.config.reader import Document, KeyPath, read_bytes, read_file
from scheduler.config.sentences import Finding, findings
from scheduler.model.definition import ExperimentDefinition, RunnerSpec
from scheduler.model.parameters import RangeParameter

_LONGEST = 500
"""Characters of a sentence; beyond them a value of the file makes up most of it."""


class Plugins(Protocol):
    """Which model validates a plugin's own keys; raises LookupError, with a sentence."""

    def runner_class(self, name: str) -> type[Runner]:
        """Return the runner called ``name``."""

    def fetcher_options(self, name: str) -> type[BaseModel]:
        """Return the model of the keys of the fetcher called ``name``."""

    def generator_options(self, name: str) -> type[BaseModel]:
        """Return the model of the options of the generator called ``name``."""


def load_file(
    path: str | Path, plugins: Plugins | None = None, environment: Mapping[str, str] | None = None
) -> ExperimentDefinition:
    """Return the experiment that a YAML file defines; raises ConfigError.

    Relative folders in it are relative to the file's own. ``plugins`` is ``scheduler.registry``;
    without it the options of runner and fetchers are not looked at.
    """
    path = Path(path)
    document = read_file(path, os.environ if environment is None else environment)
    return _definition(document, str(path), path.absolute().parent, plugins)


def load_text(
    text: str | bytes,
    name: str = "<text>",
    plugins: Plugins | None = None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ExperimentDefinition:
    """Return the experiment that YAML (or JSON) text defines; raises ConfigError.

    ``folder`` is what relative folders are relative to; without it they are left as they stand.
    """
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    document = read_bytes(raw, name, os.environ if environment is None else environment)
    return _definition(document, name, folder, plugins)


def load_data(data: Any, plugins: Plugins | None = None) -> ExperimentDefinition:
    """Return the experiment that a program has put together, in the form of a file.

    Its folders are left as they stand. Raises ConfigError, without lines.
    """
    found = _checked(data, plugins)
    if isinstance(found, ExperimentDefinition):
        return found
    raise ConfigError(*(Mistake(_cut(each.message), "the experiment") for each in found))


def _definition(
    document: Document, name: str, folder: Path | None, plugins: Plugins | None
) -> ExperimentDefinition:
    misplaced = list(_resolve_folders(document.data, folder, plugins)) if folder else []
    found = _checked(document.data, plugins, misplaced)
    if isinstance(found, ExperimentDefinition):
        return found
    raise ConfigError(*_located(found, document, name))


def _checked(
    data: Any, plugins: Plugins | None, found: Iterable[Finding] = ()
) -> ExperimentDefinition | list[Finding]:
    """Return the definition, or what is wrong with it beside what was ``found``."""
    try:
        definition = ExperimentDefinition.model_validate(data)
    except ValidationError as error:
        return [*found, *findings(error, data, ExperimentDefinition)]
    return [*found] or list(_further(definition, data, plugins)) or definition


def _resolve_folders(data: Any, folder: Path, plugins: Plugins | None) -> Iterator[Finding]:
    """Make the paths of the file absolute; yield what stands in the way.

    ``runner.workdir`` is its folder by default where jobs see this machine's folders, and else
    it is theirs, and left alone.
    """
    data = data if isinstance(data, dict) else {}
    runner, sources = data.get("runner"), data.get("warm_start")
    places = [(source, "csv") for source in (sources if isinstance(sources, list) else [])]
    if isinstance(runner, dict):
        options = _options_of(runner, plugins)
        if options.same_disk:
            runner.setdefault("workdir", str(folder))
            places += [(runner, "workdir")]
        places += [(runner, "trials_dir")]
        yield from _locate(runner, options, folder)
        yield from _misplaced(runner, options)
    for mapping, key in places:
        if isinstance(mapping, dict) and isinstance(mapping.get(key), str):
            mapping[key] = os.path.normpath(folder / Path(mapping[key]).expanduser())


def _options_of(runner: dict[str, Any], plugins: Plugins | None) -> type[RunnerOptions]:
    """Return the model of the runner's own section; the base of all where none is found."""
    try:
        kind = plugins and plugins.runner_class(str(runner.get("type", "local")))
    except LookupError:  # told where the definition is checked as a whole
        kind = None
    return kind.Options if kind else RunnerOptions


def _misplaced(runner: dict[str, Any], options: type[RunnerOptions]) -> Iterator[Finding]:
    workdir = runner.get("workdir")
    if not options.same_disk and isinstance(workdir, str) and not workdir.startswith("/"):
        text = f"{workdir!r} is a folder where the trial runs; write it from the root, as /app"
        yield Finding(("runner", "workdir"), text)


def _locate(
    runner: dict[str, Any], options: type[RunnerOptions], folder: Path
) -> Iterator[Finding]:
    """Let the runner's own section no longer depend on the folder of the file."""
    name = str(runner.get("type", "local"))
    if isinstance(runner.get(name), dict):
        try:
            runner[name] = options.located(runner[name], folder)
        except ValueError as error:
            yield Finding(("runner", name), str(error))


def _further(
    definition: ExperimentDefinition, data: Any, plugins: Plugins | None
) -> Iterator[Finding]:
    """Yield what only the valid definition as a whole can show."""
    yield from (Finding(path, text) for path, text in jobs.problems_of(definition))
    yield from _infeasible(definition, data)
    if plugins is not None:
        yield from _misused(definition, plugins)


def _infeasible(definition: ExperimentDefinition, data: Any) -> Iterator[Finding]:
    space = definition.search_space
    ranges = {p.name: p for p in definition.parameters if isinstance(p, RangeParameter)}
    # Those on dependent parameters do not apply to every arm, so they are not counted.
    places = [i for i, c in enumerate(space.constraints) if not c.needs & space.conditions.keys()]
    found = conflict(ranges, [space.constraints[i].canonical for i in places])
    guilty = [places[k] for k in found or ()]
    if guilty:
        written = data["parameter_constraints"]
        texts = (
            text if isinstance(text := written[i], str) else space.constraints[i].written
            for i in guilty
        )
        named = " and ".join(f"'{text}'" for text in texts)
        text = f"no point of the search space satisfies {named}; relax it or widen the bounds"
        yield Finding(("parameter_constraints", guilty[0]), text)


def _misused(definition: ExperimentDefinition, plugins: Plugins) -> Iterator[Finding]:
    """Yield what is wrong with the names and options of runner, fetchers and generators."""
    runner = definition.runner
    named = _Use(lambda name: plugins.runner_class(name).Options, runner.type, ("runner", "type"))
    found = list(named.problems(runner.options, ("runner", runner.type)))
    yield from found or _unable(runner, plugins.runner_class)
    for metric, spec in definition.metric_specs.items():
        path = ("metrics", metric, "fetcher")
        named = _Use(plugins.fetcher_options, spec.fetcher.type, (*path, "type"))
        yield from named.problems(spec.fetcher.options, path)
    for i, node in enumerate(definition.generation_strategy.nodes):
        place = ("generation_strategy", "nodes", i)
        named = _Use(plugins.generator_options, node.generator, (*place, "generator"))
        yield from named.problems(node.options, (*place, "options"))


def _unable(runner: RunnerSpec, find: Callable[[str], type[Runner]]) -> Iterator[Finding]:
    """Yield what is asked of a runner that can do no such thing."""
    try:
        kind = find(runner.type)
    except LookupError:
        return  # told already
    if kind.needs_command and not runner.command:
        if "command" in runner.model_fields_set:
            yield Finding(("runner", "command"), "runner.command must not be empty")
        else:
            yield Finding(("runner",), "runner lacks the key 'command'")
    if runner.staging_required and not kind.can_hold:
        text = f"the runner {runner.type!r} cannot hold jobs; remove staging_required"
        yield Finding(("runner", "staging_required"), text)
    if runner.resources != NO_RESOURCES and not kind.uses_resources:
        text = f"the runner {runner.type!r} reserves no resources; remove them"
        yield Finding(("runner", "resources"), text)


@dataclass(frozen=True, slots=True)
class _Use:
    """A plugin that the file names, how its options are found, and where its name stands."""

    find: Callable[[str], type[BaseModel]]
    name: str
    path: KeyPath

    def problems(self, options: Any, path: KeyPath) -> Iterator[Finding]:
        """Yield what is wrong with the name, or with ``options``, which stand at ``path``."""
        try:
            model = self.find(self.name)
        except LookupError as error:
            hint = value_hint(self.path, self.name)
            yield Finding(self.path, f"{error}; {hint}" if hint else str(error))
            return
        try:
            model.model_validate(options)
        except ValidationError as error:
            yield from findings(error, options, model, path)


def _located(found: Iterable[Finding], document: Document, name: str) -> list[Mistake]:
    """Return mistakes in the order of the file."""
    placed = [(_position(finding, document), finding.message) for finding in found]
    return [
        Mistake(_cut(message), name, line, column)
        for (line, column), message in sorted(placed, key=lambda item: item[0])
    ]


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST else message[:_LONGEST] + "..."


def _position(finding: Finding, document: Document) -> tuple[int, int]:
    """Return where a finding's key or value stands, or the nearest mapping around it."""
    if finding.at_key and finding.path in document.keys:
        return document.keys[finding.path]
    path = finding.path
    while path and path not in document.values:
        path = path[:-1]
    return document.values.get(path, (1, 1))
