"""From a definition to a stored experiment: new, the same, or with another budget."""

import json
from collections.abc import Callable
from pathlib import Path

from scheduler import owner
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Ask
from scheduler.model.redefine import RUNNER, DefinitionChanged, changes, diff
from scheduler.registry import runner_class
from scheduler.storage.engine import folder_of
from scheduler.storage.errors import Held
from scheduler.storage.store import Experiment, Store
from scheduler.warm_start import gather


def submit(
    store: Store,
    definition: ExperimentDefinition,
    now: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Experiment:
    """Return the stored experiment of this name, made or given its new budget.

    What a new one begins with is read from its sources, and told. A new budget of one that
    another process drives is asked of that process. Raises
    :class:`~scheduler.model.redefine.DefinitionChanged` where more differs than may, Held where
    the runner does and another process drives the experiment, FolderTaken where its trials would
    be among those of another experiment, and as :func:`~scheduler.warm_start.gather` does.
    """
    found = store.find(definition.name) or _made(store, definition, now, tell)
    _adjust(store, found, definition, now, tell)
    stored = store.find(definition.name)
    assert stored is not None
    return stored


def trials_dir(url: str, definition: ExperimentDefinition) -> Path:
    """Return the folder of an experiment's trials, unless told otherwise beside the database.

    Beside a server there is nothing: it is where commands start, the YAML's folder by default; or
    the present one, where commands start on other machines.
    """
    runner = definition.runner
    if runner.trials_dir:
        return Path(runner.trials_dir).absolute()
    here = runner_class(runner.type).Options.same_disk
    start = runner.workdir if here and runner.workdir else "."
    folder = folder_of(url) or Path(start).absolute()
    return folder / f"{definition.name}.trials"


def _made(
    store: Store, definition: ExperimentDefinition, now: float, tell: Callable[[str], None]
) -> Experiment:
    """Return a new experiment, or that which another process made at the same moment."""
    folder = trials_dir(store.url, definition)
    owner.check(folder)
    warm = gather(definition, lambda: store)
    if store.create(definition, folder, now, warm):
        for message in warm.messages:
            tell(f"warm start: {message}")
    made = store.find(definition.name)
    assert made is not None
    return made


def _adjust(
    store: Store,
    found: Experiment,
    definition: ExperimentDefinition,
    now: float,
    tell: Callable[[str], None],
) -> None:
    """Write what changed, or ask whoever drives the experiment to; tell what it is."""
    changed = changes(found.definition, definition)
    if not changed:
        return
    values = {key: (old, new) for key, old, new in diff(found.definition, definition)}
    for key in changed:
        old, new = values[key]
        tell(f"{key}: {json.dumps(old)} -> {json.dumps(new)}")
    another = any(key.split(".")[0] == RUNNER for key in changed)
    try:
        lease = store.acquire(found, now)
    except Held:
        if another:
            raise
        store.command(found.id, Ask("set", payload={k: values[k][1] for k in changed}), now)
        return
    try:
        if another:
            _check_nothing_pends(store, found)
        store.redefine(lease, definition, now, f"changed: {', '.join(changed)}")
    finally:
        lease.release()


def _check_nothing_pends(store: Store, found: Experiment) -> None:
    """Raise DefinitionChanged where jobs of the old runner would be forgotten."""
    pending = store.peek(found).pending
    if pending:
        raise DefinitionChanged(
            f"{found.definition.name} cannot have another runner while {pending} of its trials "
            "are pending; schedd pause it, and let them end"
        )
