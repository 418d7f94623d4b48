"""The verb export, and how what it wrote is stored again."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import click

from scheduler.cli import common, text, views
from scheduler.cli.refused import Refused
from scheduler.model.definition import ExperimentDefinition
from scheduler.storage import read
from scheduler.storage.store import Experiment, Store
from scheduler.storage.transfer import NotAnExport, lines, restore

LONGEST = 64 * 1024 * 1024
"""Characters of a line."""


@click.command()
@common.name_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="All there is, a line of JSON each, or a table of trials.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A file; it must not exist.")
@common.storage_option
def export(name: str | None, kind: str, output: Path | None, storage: str | None) -> None:
    """Write all that is stored of an experiment.

    As JSON lines: the definition, trials with their arms, observations, curves, generator runs,
    events and commands, of one moment; schedd import makes the experiment again from them. As CSV:
    a table of the arms with their parameters and what was measured.
    """
    store, experiment = common.find(storage, name)
    write = {"jsonl": _jsonl, "csv": _csv}[kind]
    if output is None:
        write(store, experiment, sys.stdout)
        return
    aside(output, lambda file: write(store, experiment, file))
    click.echo(f"{experiment.definition.name} is written to {output}", err=True)


def stored(file: Path, storage: str | None) -> None:
    """Store an experiment from what ``schedd export`` wrote; say so. Raises Refused."""
    store = common.opened(common.storage_url(storage), create=True)
    try:
        with file.open(encoding="utf-8") as opened:
            seen = _Seen(opened)
            name = restore(store, seen)
    except NotAnExport as error:
        raise Refused(f"{file}:{seen.number}: {error}") from None
    except UnicodeDecodeError:
        raise Refused(f"{file} is not text in UTF-8") from None
    if name is None:
        raise Refused(f"{store.url} holds an experiment of this name already")
    experiment = store.find(name)
    assert experiment is not None
    pending = store.peek(experiment).pending
    adopted = f"; {text.pending(pending)} to adopt when it is driven" if pending else ""
    click.echo(f"{name} is stored in {store.url}{adopted}")


def aside(path: Path, write: Callable[[IO[str]], object]) -> None:
    """Write a file that appears whole or not at all, and replaces none. Raises Refused."""
    if path.exists():
        raise Refused(f"{path} exists already")
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with hidden.open("w", encoding="utf-8", newline="") as file:
            write(file)
        os.link(hidden, path)
    except FileExistsError:
        raise Refused(f"{path} exists already") from None
    finally:
        with suppress(FileNotFoundError):
            hidden.unlink()


class _Seen:
    """The objects in a file, and the number of the line that was read last."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.number = 0

    def __iter__(self) -> Iterator[dict[str, object]]:
        while written := self._file.readline(LONGEST):
            self.number += 1
            try:
                line = json.loads(written, parse_constant=_no_number)
            except (ValueError, RecursionError):
                raise NotAnExport("it is no JSON object") from None
            if not isinstance(line, dict):
                raise NotAnExport("it is no JSON object")
            yield line


def _no_number(word: str) -> None:
    raise ValueError(word)


def _jsonl(store: Store, experiment: Experiment, file: IO[str]) -> None:
    for line in lines(store, experiment):
        file.write(json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n")


def _csv(store: Store, experiment: Experiment, file: IO[str]) -> None:
    definition = experiment.definition
    out = csv.writer(file, lineterminator="\n")
    out.writerow(_header(definition))
    out.writerows(_rows(definition, read.trials(store, experiment.id)))


_OF_TRIAL = ("status", "reason", "attempt", "generator", "created_at", "started_at", "ended_at")


def _header(definition: ExperimentDefinition) -> list[str]:
    metrics = [word for m in definition.metric_specs for word in (m, f"{m}_sem")]
    return ["trial", "arm", "weight", *_OF_TRIAL, *definition.by_name, *metrics]


def _rows(
    definition: ExperimentDefinition, found: Iterable[read.TrialRecord]
) -> Iterator[list[object]]:
    for record in found:
        view = views.trial_view(record)
        for arm in view["arms"]:
            row = [view["index"], arm["name"], arm["weight"], *(view[key] for key in _OF_TRIAL)]
            row += [arm["parameters"].get(name) for name in definition.by_name]
            for metric in definition.metric_specs:
                measured = arm["metrics"].get(metric, {})
                row += [measured.get("mean"), measured.get("sem")]
            yield row
