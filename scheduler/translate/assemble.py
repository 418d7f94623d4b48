"""From a translation to the files: the YAML, the table of what was measured, and what was lost."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler import registry
from scheduler.config.errors import ConfigError, mistake
from scheduler.config.load import load_text
from scheduler.jobs import UNKNOWN
from scheduler.model.definition import ExperimentDefinition
from scheduler.translate.history import counted, table
from scheduler.translate.result import Losses, Lost, Translation
from scheduler.translate.write import printable, yaml_text

PARAMETERS = "{trial_dir}/parameters.json"
_NO_COMMAND = {"type": "local", "command": [UNKNOWN, PARAMETERS]}
_COMMENTS: Mapping[str, str] = {
    "runner": f"How a trial is started: write your program for {UNKNOWN}. It finds its parameters "
    "in parameters.json; "
    "as an argument, {params.NAME} is one of them.",
    "metrics": "Where the values are read.",
}
_JSONL = (
    "Each trial appends its values as lines of JSON to metrics.jsonl in its folder, "
    '{"NAME": 0.1}, or calls: schedd record NAME=0.1'
)
_WARM = "What was measured before. Models learn from it; it does not count for total_trials."


@dataclass(frozen=True, slots=True)
class Assembled:
    """The files, and what is to be told of them."""

    text: str
    """The experiment's YAML."""
    history: str | None
    """A table for ``warm_start``; None where nothing was measured."""
    arms: int
    """How many measured arms the search space admits."""
    lost: tuple[Lost, ...]


def assemble(found: Translation, file: str, output: Path, history: Path) -> Assembled:
    """Return what to write to ``output`` and ``history``; ``file`` is where it came from.

    Raises ConfigError where its definition is none that schedd can run.
    """
    losses = Losses()
    losses.found += found.lost
    definition = {"runner": _NO_COMMAND, **found.definition, **_named(found, losses)}
    definition["runner"] = _placed(definition["runner"], Path(file).parent, output.parent)
    comments = {**_said(definition), **found.comments}
    loaded = _loaded(definition, file)
    rows, arms = _table(found, loaded, losses)
    if rows is not None:
        definition["warm_start"] = [{"csv": history.name}]
        comments["warm_start"] = _WARM
    head = _head(found.source, file, output.name, losses)
    return Assembled(yaml_text(definition, head, comments), rows, arms, tuple(losses.found))


def _named(found: Translation, losses: Losses) -> dict[str, Any]:
    """Return the name of an experiment that is allowed."""
    given = str(found.definition.get("name") or "")
    fit = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")[:40].strip("-") or "imported"
    if given and fit != given:
        why = f"it is {fit!r} here: lower-case letters, digits and '-', at most 40"
        losses.add(f"the name {given!r}", why)
    return {"name": fit}


def _placed(runner: Mapping[str, Any], before: Path, now: Path) -> Mapping[str, Any]:
    """Return a runner whose commands start where they did, though its file lies elsewhere."""
    command = runner.get("command", ())
    if runner["type"] != "local" or any(UNKNOWN in element for element in command):
        return runner
    folder = Path(runner.get("workdir", ".")).expanduser()
    if not folder.is_absolute():
        folder = Path(os.path.relpath(before / folder, now))
    rest = {key: value for key, value in runner.items() if key != "workdir"}
    return rest if str(folder) == "." else {**rest, "workdir": str(folder)}


def _said(definition: Mapping[str, Any]) -> dict[str, str]:
    """Return the comments on keys that explain themselves least."""
    said = {key: text for key, text in _COMMENTS.items() if key in definition}
    command = definition["runner"].get("command", ())
    if not any(UNKNOWN in element for element in command):
        said["runner"] = "How a trial is started; as an argument, {params.NAME} is a parameter."
    if "metrics" not in definition:
        said["runner"] += "\n" + _JSONL
    return said


def _loaded(definition: Mapping[str, Any], file: str) -> ExperimentDefinition:
    try:
        return load_text(yaml_text(definition, "", {}), file, registry)
    except ConfigError as error:
        first = error.mistakes[0].message
        raise mistake(f"what it defines is no experiment of schedd: {first}", file) from None
    except ValueError as error:
        raise mistake(f"it holds what a YAML file cannot: {error}", file) from None


def _table(
    found: Translation, definition: ExperimentDefinition, losses: Losses
) -> tuple[str | None, int]:
    if not found.history:
        return None, 0
    metrics = set(definition.metric_specs)
    both = (metrics | {f"{m}_sem" for m in metrics}) & set(definition.by_name)
    both |= {f"{m}_sem" for m in metrics} & metrics
    if both:
        why = f"{min(both)!r} would be the name of two columns in a table"
        losses.add(counted(len(found.history)), why)
        return None, 0
    rows, arms = table(found.history, definition, losses)
    return (rows, arms) if rows.count("\n") > 1 else (None, 0)


def _head(source: str, file: str, output: str, losses: Losses) -> str:
    lines = [
        f"Imported from {source} ({file}).",
        f"Check it with: schedd validate {output}    Run it with: schedd run {output}",
    ]
    if losses.found:
        lines += ["", "What did not carry over:"]
        lines += [f"- {lost}" for lost in losses.found]
    return "\n".join(map(printable, lines))
