"""What the verbs share: where experiments are stored, and which one is meant."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from textwrap import indent
from typing import Any, TypeVar

import click

from scheduler import registry
from scheduler.cli import under_systemd
from scheduler.cli.refused import Refused
from scheduler.config.load import load_file
from scheduler.jobs import unknown_program
from scheduler.model.definition import ExperimentDefinition
from scheduler.storage import read
from scheduler.storage.engine import shown
from scheduler.storage.store import Experiment, Store

DEFAULT_STORAGE = "sqlite:///schedd.db"
LARGEST = 2**53
"""Above any index and any count; a database takes no number of any size."""
_INDEX = click.IntRange(0, LARGEST)
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Found:
    """A trial that a verb is about."""

    store: Store
    experiment: Experiment
    record: read.TrialRecord


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a long list is wanted."""

    offset: int
    limit: int | None
    last: int | None

    def start(self, count: Callable[[], int]) -> int:
        """Return how many items to skip, in a list of ``count()``."""
        return self.offset if self.last is None else max(0, count() - self.last)


def storage_option(function: F) -> F:
    """Add ``--storage`` to a verb."""
    return click.option(
        "--storage",
        metavar="URL",
        help="Where experiments are kept; then the file's storage, then $SCHEDD_STORAGE, "
        f"then {DEFAULT_STORAGE}.",
    )(function)


def json_option(function: F) -> F:
    """Add ``--json`` to a reading verb."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def name_argument(function: F) -> F:
    """Add the argument that says which experiment is meant."""
    return click.argument("name", metavar="[NAME]", required=False)(function)


def trial_argument(function: F) -> F:
    """Add the arguments that say which trial is meant."""
    return click.argument("index", metavar="N", type=_INDEX)(_experiment_option(function))


def trials_argument(function: F) -> F:
    """Add the arguments that say which trials are meant."""
    argument = click.argument("indexes", metavar="N...", type=_INDEX, nargs=-1, required=True)
    return argument(_experiment_option(function))


def _experiment_option(function: F) -> F:
    words = "Needed where the store holds several."
    return click.option("--experiment", "-e", metavar="NAME", help=words)(function)


def page_options(function: F) -> F:
    """Add the options that say which part of a long list is wanted, as the argument ``page``."""

    @wraps(function)
    def paged(*, offset: int, limit: int | None, last: int | None, **others: Any) -> None:
        if last is not None and (limit is not None or offset):
            raise click.UsageError("--last goes with neither --limit nor --offset")
        function(page=Page(offset, limit, last), **others)

    count = click.IntRange(0, LARGEST)
    options = (
        click.option("--offset", type=count, default=0, metavar="N", help="Skip the first N."),
        click.option("--limit", type=count, metavar="N", help="At most N."),
        click.option("--last", type=count, metavar="N", help="Only the last N."),
    )
    decorated: Any = paged
    for option in reversed(options):
        decorated = option(decorated)
    result: F = decorated
    return result


def storage_url(option: str | None, definition: ExperimentDefinition | None = None) -> str:
    """Return the URL of the store: the option, the file, the environment, or the default.

    The environment of a service: its credential ``storage``, which is secret, comes first.
    """
    of_file = definition.storage if definition else None
    of_service = under_systemd.credential("storage") or os.environ.get("SCHEDD_STORAGE")
    return option or of_file or of_service or DEFAULT_STORAGE


def address(text: str, option: str, example: str) -> tuple[str, int]:
    """Return the host and the port that an option names."""
    host, sign, port = text.rpartition(":")
    if not sign or not host or not port.isdecimal() or not int(port) < 1 << 16:
        raise Refused(f"{option} {text} is not HOST:PORT, for example {example}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def opened(url: str, *, create: bool = False) -> Store:
    """Return the store at ``url``; say where the schema was brought up to date. StorageError."""
    return Store.open(url, create=create, tell=lambda said: click.echo(said, err=True))


def load(file: str) -> ExperimentDefinition:
    """Return the definition in ``file``, checked against the installed plugins."""
    return load_file(Path(file), registry)


def load_to_run(file: str) -> ExperimentDefinition:
    """Return the definition in ``file``; raises Refused where it does not say what to start."""
    definition = load(file)
    if unknown := unknown_program(definition):
        raise Refused(f"{file}: {unknown}")
    return definition


def find(storage: str | None, name: str | None) -> tuple[Store, Experiment]:
    """Return the store and the experiment that is meant: by name, by file, or the only one.

    Raises Refused where that is none or several, and StorageError.
    """
    definition = load(name) if name and name.endswith((".yaml", ".yml")) else None
    store = opened(storage_url(storage, definition))
    names = store.names()
    wanted = definition.name if definition else name
    if wanted is None:
        if len(names) != 1:
            listed = ", ".join(names) or "none"
            raise Refused(f"name an experiment; {store.url} holds {listed}")
        wanted = names[0]
    found = store.find(wanted)
    if found is None:
        near = get_close_matches(wanted, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; {store.url} holds {len(names)}"
        raise Refused(f"there is no experiment {wanted!r}{hint}")
    return store, found


def find_trial(storage: str | None, name: str | None, index: int) -> Found:
    """Return the trial that is meant, and where it was found.

    Raises Refused where there is none, and as :func:`find` does.
    """
    return find_trials(storage, name, (index,))[0]


def find_trials(storage: str | None, name: str | None, indexes: Sequence[int]) -> list[Found]:
    """Return the trials that are meant, each once; otherwise as :func:`find_trial`."""
    store, experiment = find(storage, name)
    return [_trial(store, experiment, index) for index in dict.fromkeys(indexes)]


def _trial(store: Store, experiment: Experiment, index: int) -> Found:
    record = read.trial(store, experiment.id, index)
    if record is None:
        there = read.count_trials(store, experiment.id)
        held = f"its trials are 0 to {there - 1}" if there else "it has no trial yet"
        raise Refused(f"{experiment.definition.name} has no trial {index}; {held}")
    return Found(store, experiment, record)


def storage_words(store: Store) -> str:
    """Return the option that names the store, where a command would not find it by itself."""
    return "" if store.url == shown(storage_url(None)) else f" --storage {store.url}"


def mark(ok: bool) -> str:
    """Return the sign of what is well, or is not."""
    return click.style("✓", fg="green") if ok else click.style("✗", fg="red")


def print_json_list(values: Iterable[object]) -> None:
    """Print values as a JSON array, one after the other."""
    opening = "[\n"
    for value in values:
        text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
        click.echo(f"{opening}{indent(text, '  ')}", nl=False)
        opening = ",\n"
    click.echo("[]" if opening == "[\n" else "\n]")


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))
