"""From a definition to a stored experiment: new, the same, or with another budget."""

from collections.abc import Callable
from pathlib import Path

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.redefine import changes
from scheduler.storage.engine import folder_of
from scheduler.storage.store import Experiment, Store
from scheduler.warm_start import gather


def submit(
    store: Store,
    definition: ExperimentDefinition,
    now: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Experiment:
    """Return the stored experiment of this name, made or given its new budget.

    What a new one begins with is read from its sources, and told. Raises
    :class:`~scheduler.model.redefine.DefinitionChanged` where more than its budget differs, Held
    where the budget differs and another process drives the experiment, and as
    :func:`~scheduler.warm_start.gather` does.
    """
    found = store.find(definition.name) or _made(store, definition, now, tell)
    _adjust(store, found, definition, now)
    stored = store.find(definition.name)
    assert stored is not None
    return stored


def trials_dir(url: str, definition: ExperimentDefinition) -> Path:
    """Return the folder of an experiment's trials, unless told otherwise beside the database.

    Beside a server there is nothing: it is where commands start, the YAML's folder by default.
    """
    runner = definition.runner
    if runner.trials_dir:
        return Path(runner.trials_dir).absolute()
    folder = folder_of(url) or Path(runner.workdir or ".").absolute()
    return folder / f"{definition.name}.trials"


def _made(
    store: Store, definition: ExperimentDefinition, now: float, tell: Callable[[str], None]
) -> Experiment:
    """Return a new experiment, or that which another process made at the same moment."""
    warm = gather(definition, lambda: store)
    if store.create(definition, trials_dir(store.url, definition), now, warm):
        for message in warm.messages:
            tell(f"warm start: {message}")
    made = store.find(definition.name)
    assert made is not None
    return made


def _adjust(store: Store, found: Experiment, definition: ExperimentDefinition, now: float) -> None:
    changed = changes(found.definition, definition)
    if changed:
        lease = store.acquire(found, now)
        try:
            store.redefine(lease, definition, now, f"changed: {', '.join(changed)}")
        finally:
            lease.release()
