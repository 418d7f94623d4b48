"""What a trial asks a runner for: names, folders and command lines. Pure, and a function of data.

Names and folders follow from experiment, trial and attempt alone, so that they are known before
the job exists and again after a crash.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runners.base import Job, JobRef, Task
from scheduler.model.base import Path as KeyPath
from scheduler.model.base import Problem, Value, did_you_mean
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.parameters import ChoiceParameter, FixedParameter, Parameter
from scheduler.model.trial import Arm, Trial

PLACES = ("trial_dir", "trial_index", "attempt", "arm", "weight", "replicate", "experiment")
"""What ``{word}`` in a command or an environment value may name, besides ``{params.x}``."""

UNKNOWN = "REPLACE-ME"
"""Stands in a command that was imported for a program that nobody has named yet."""

_PLACEHOLDER = re.compile(
    r"\{\{(?P<literal>params\.[\w.-]+|[A-Za-z_]\w*)\}\}"
    r"|(?<!\$)\{(?P<name>params\.[\w.-]+|[A-Za-z_]\w*)\}",
    re.ASCII,
)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Place:
    """One run of one arm in a trial, and the folder that belongs to it."""

    arm: Arm
    replicate: int
    """From 0."""
    directory: Path


def tasks_of(definition: ExperimentDefinition, trial: Trial, root: Path) -> tuple[Place, ...]:
    """Return the runs of a trial's present attempt, in order: arms, and replicates of each."""
    folder = root / str(trial.index) / f"a{trial.attempt}"
    replicates = definition.trials.replicates
    if replicates > 1:
        return tuple(
            Place(arm, k, folder / f"{arm.name}-r{k}")
            for arm in trial.arms
            for k in range(replicates)
        )
    if len(trial.arms) == 1:
        return (Place(trial.arms[0], 0, folder),)
    return tuple(Place(arm, 0, folder / arm.name) for arm in trial.arms)


def job_name(trial: Trial, token: str) -> str:
    """Return the name of a trial's present attempt; ``token`` is the experiment's, in hex."""
    return f"{jobs_begin(token)}{trial.index}-a{trial.attempt}"


def jobs_begin(token: str) -> str:
    """Return how the names of all jobs of an experiment begin."""
    return f"schedd-{token[:8]}-t"


def ref_of(definition: ExperimentDefinition, trial: Trial, root: Path, token: str) -> JobRef:
    """Return how the job of a trial's present attempt is asked for."""
    places = tasks_of(definition, trial, root)
    return JobRef(job_name(trial, token), trial.job_id, tuple(p.directory for p in places))


def job_of(definition: ExperimentDefinition, trial: Trial, root: Path, token: str) -> Job:
    """Return the job of a trial's present attempt. ``root`` is absolute."""
    places = tasks_of(definition, trial, root)
    workdir = definition.runner.workdir
    return Job(
        name=job_name(trial, token),
        tasks=tuple(_task(definition, trial, place, len(places) == 1) for place in places),
        workdir=None if workdir is None else Path(workdir),
        hold=definition.runner.staging_required and not trial.released,
        resources=definition.runner.resources,
        avoid=trial.avoid,
    )


def index_of(name: str) -> int:
    """Return the index of the trial whose job is called ``name``."""
    return int(name.rpartition("-t")[2].partition("-a")[0])


def placeholders_of(
    definition: ExperimentDefinition, trial: Trial, place: Place
) -> dict[str, str]:
    """Return what ``{word}`` stands for in one run: its place, and ``params.x`` for each x."""
    values = {
        "trial_dir": str(place.directory),
        "trial_index": str(trial.index),
        "attempt": str(trial.attempt),
        "arm": place.arm.name,
        "weight": text_of(place.arm.weight),
        "replicate": str(place.replicate),
        "experiment": definition.name,
    }
    return values | {f"params.{n}": text_of(v) for n, v in place.arm.parameters.items()}


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return ``template`` with its placeholders replaced, once; ``{{word}}`` becomes ``{word}``.

    Braces around anything but one word, and a shell's ``${word}``, are left alone. Raises
    KeyError for an unknown word.
    """

    def replace(match: re.Match[str]) -> str:
        return values[match["name"]] if match["name"] else "{" + match["literal"] + "}"

    return _PLACEHOLDER.sub(replace, template)


def literal(text: str) -> str:
    """Return what :func:`fill` turns into ``text``, whatever words in braces it holds."""
    return _PLACEHOLDER.sub(lambda match: "{" + match[0] + "}", text)


def unknown_program(definition: ExperimentDefinition) -> str:
    """Return a sentence where the command is not known yet; empty where it is."""
    held = [i for i, element in enumerate(definition.runner.command) if UNKNOWN in element]
    if not held:
        return ""
    return f"runner.command[{held[0]}] still holds {UNKNOWN}; write there what starts a trial"


def text_of(value: Value) -> str:
    """Return a parameter's value as a command line has it; a float reads back as itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def variable_of(parameter: str) -> str:
    """Return the name of the environment variable that holds a parameter."""
    return "SCHEDD_PARAM_" + re.sub(r"[^A-Z0-9]", "_", parameter.upper())


def problems_of(definition: ExperimentDefinition) -> Iterator[Problem]:
    """Yield what is wrong with the command and the environment, found before any job exists."""
    for i, element in enumerate(definition.runner.command):
        yield from _bad_element(definition, ("runner", "command", i), element)
    for name, text in definition.runner.env.items():
        yield from _bad_variable(definition, name, text)
    yield from _collisions(definition)


def _task(definition: ExperimentDefinition, trial: Trial, place: Place, alone: bool) -> Task:
    values = placeholders_of(definition, trial, place)
    given = {name: fill(text, values) for name, text in definition.runner.env.items()}
    return Task(
        name=place.arm.name if alone else place.directory.name,
        argv=tuple(fill(element, values) for element in definition.runner.command),
        directory=place.directory,
        env=given | _environment(place.arm, values),
        files={
            "parameters.json": json.dumps(dict(place.arm.parameters), indent=2, sort_keys=True)
            + "\n"
        },
    )


def _environment(arm: Arm, values: Mapping[str, str]) -> dict[str, str]:
    places = {f"SCHEDD_{word.upper()}": values[word] for word in PLACES}
    return places | {variable_of(name): text_of(value) for name, value in arm.parameters.items()}


def _bad_element(definition: ExperimentDefinition, path: KeyPath, text: str) -> Iterator[Problem]:
    unknown = _unknown(definition, text)
    if unknown:
        yield path, unknown
        return
    name = text[len("{params.") : -1] if _PLACEHOLDER.fullmatch(text) else ""
    for value in _texts(definition.by_name.get(name)):
        if value.startswith("-"):
            yield (
                path,
                f"{text} may become {value!r}, which the program would read as an option; "
                f"join it to its option, for example '--{name}={text}'",
            )
            return


def _bad_variable(definition: ExperimentDefinition, name: str, text: str) -> Iterator[Problem]:
    path = ("runner", "env", name)
    if not _ENV_NAME.fullmatch(name):
        yield path, f"{name!r} cannot name an environment variable; use letters, digits and _"
    elif name.startswith("SCHEDD_"):
        yield path, f"{name} begins with SCHEDD_, which is kept for what schedd sets itself"
    if unknown := _unknown(definition, text):
        yield path, unknown


def _collisions(definition: ExperimentDefinition) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for i, parameter in enumerate(definition.parameters):
        variable = variable_of(parameter.name)
        if variable in seen:
            text = f"{seen[variable]!r} and {parameter.name!r} would both be {variable}"
            yield ("parameters", i, "name"), f"{text} in the environment; rename one of them"
        seen.setdefault(variable, parameter.name)


def _unknown(definition: ExperimentDefinition, text: str) -> str:
    """Return a sentence on the first placeholder in ``text`` that nothing fills, or nothing."""
    known = [*PLACES, *(f"params.{name}" for name in definition.by_name)]
    names = [match["name"] for match in _PLACEHOLDER.finditer(text) if match["name"]]
    name = next((name for name in names if name not in known), None)
    if name is None:
        return next(filter(None, (_sometimes(definition, name) for name in names)), "")
    near = did_you_mean(name, known) or f"; write {{{{{name}}}}} for the characters themselves"
    if name in definition.by_name:
        near = f"; did you mean {{params.{name}}}?"
    return f"{{{name}}} is not a placeholder{near}"


def _sometimes(definition: ExperimentDefinition, name: str) -> str:
    """Return a sentence on a parameter that not every arm has, or nothing."""
    condition = definition.search_space.activity(name.removeprefix("params."))
    if condition is None:
        return ""
    variable = variable_of(name.removeprefix("params."))
    return (
        f"{{{name}}} has a value only where {condition}; read it from parameters.json in the "
        f"trial's folder, or from the environment: {variable}"
    )


def _texts(parameter: Parameter | None) -> Sequence[str]:
    """Return the text values that a parameter may have."""
    if isinstance(parameter, ChoiceParameter):
        return [value for value in parameter.values if isinstance(value, str)]
    if isinstance(parameter, FixedParameter) and isinstance(parameter.value, str):
        return [parameter.value]
    return []
