"""From a definition to a stored experiment: new, the same, or with another budget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scheduler.model.definition import ExperimentDefinition
from scheduler.storage.engine import database_path
from scheduler.storage.store import Experiment, Store
from scheduler.warm_start import gather

MAY_CHANGE = ("trials", "stopping_criteria", "failures", "missing_metrics", "polling")
"""What a later run of the same experiment may set anew, besides its description and tags."""
IGNORED = ("description", "tags", "storage")


class DefinitionChanged(Exception):
    """The stored experiment differs in what cannot change; the message is for people."""


def submit(
    store: Store,
    definition: ExperimentDefinition,
    now: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Experiment:
    """Return the stored experiment of this name, made or given its new budget.

    What a new one begins with is read from its sources, and told. Raises
    :class:`DefinitionChanged` where more than its budget differs, Held where the budget differs
    and another process drives the experiment, and as :func:`~scheduler.warm_start.gather` does.
    """
    found = store.find(definition.name)
    if found is None:
        warm = gather(definition, lambda: store)
        store.create(definition, trials_dir(store.url, definition), now, warm)
        for message in warm.messages:
            tell(f"warm start: {message}")
    else:
        _adjust(store, found, definition, now)
    stored = store.find(definition.name)
    assert stored is not None
    return stored


def trials_dir(url: str, definition: ExperimentDefinition) -> Path:
    """Return the folder of an experiment's trials: beside the database unless told otherwise."""
    if definition.runner.trials_dir:
        return Path(definition.runner.trials_dir).absolute()
    return database_path(url).parent / f"{definition.name}.trials"


def differences(before: ExperimentDefinition, after: ExperimentDefinition) -> list[str]:
    """Return the dotted keys whose values differ, in order."""
    return _differing(before.model_dump(by_alias=True), after.model_dump(by_alias=True), "")


def changes(before: ExperimentDefinition, after: ExperimentDefinition) -> list[str]:
    """Return the dotted keys that a later run sets anew.

    Raises :class:`DefinitionChanged` where one of them cannot change.
    """
    changed = [key for key in differences(before, after) if key.split(".")[0] not in IGNORED]
    fixed = [key for key in changed if key.split(".")[0] not in MAY_CHANGE]
    if fixed:
        raise DefinitionChanged(
            f"the stored experiment {after.name!r} has another {', '.join(fixed)}; "
            "give the new one a name of its own"
        )
    return changed


def _adjust(store: Store, found: Experiment, definition: ExperimentDefinition, now: float) -> None:
    changed = changes(found.definition, definition)
    if changed:
        lease = store.acquire(found, now)
        try:
            store.redefine(found, definition, now, f"changed: {', '.join(changed)}")
        finally:
            lease.release()


def _differing(before: Any, after: Any, path: str) -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            difference
            for key in keys
            for difference in _differing(before.get(key), after.get(key), f"{path}.{key}")
        ]
    return [] if before == after else [path.lstrip(".")]
