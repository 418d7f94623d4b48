"""What the verbs share: where experiments are stored, and which one is meant."""

import json
import os
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click

from scheduler import registry
from scheduler.config.load import load_file
from scheduler.model.definition import ExperimentDefinition
from scheduler.storage.store import Experiment, Store

DEFAULT_STORAGE = "sqlite:///schedd.db"
F = TypeVar("F", bound=Callable[..., Any])


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


def storage_url(option: str | None, definition: ExperimentDefinition | None = None) -> str:
    """Return the URL of the store: the option, the file, the environment, or the default."""
    of_file = definition.storage if definition else None
    return option or of_file or os.environ.get("SCHEDD_STORAGE") or DEFAULT_STORAGE


def load(file: str) -> ExperimentDefinition:
    """Return the definition in ``file``, checked against the installed plugins."""
    return load_file(Path(file), registry)


def find(storage: str | None, name: str | None) -> tuple[Store, Experiment]:
    """Return the store and the experiment that is meant: by name, by file, or the only one.

    Raises click.UsageError where that is none or several, and StorageError.
    """
    definition = load(name) if name and name.endswith((".yaml", ".yml")) else None
    store = Store.open(storage_url(storage, definition))
    names = store.names()
    wanted = definition.name if definition else name
    if wanted is None:
        if len(names) != 1:
            listed = ", ".join(names) or "none"
            raise click.UsageError(f"name an experiment; {store.url} holds {listed}")
        wanted = names[0]
    found = store.find(wanted)
    if found is None:
        near = get_close_matches(wanted, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; {store.url} holds {len(names)}"
        raise click.UsageError(f"there is no experiment {wanted!r}{hint}")
    return store, found


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))
