"""Where an experiment's first knowledge comes from: its sources, read once, row by row."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any

from scheduler.config.table import read_table
from scheduler.model.base import did_you_mean
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.observation import MeasuredArms
from scheduler.model.warm_start import Gathered, Transferred, WarmStart
from scheduler.storage.store import Store

Measured = Iterable[tuple[Mapping[str, Any], Mapping[str, tuple[float, float | None]]]]


class NoSource(Exception):
    """A source is not there; the message is one sentence for people."""


def gather(definition: ExperimentDefinition, own: Callable[[], Store]) -> Gathered:
    """Read all sources of ``definition``; ``own`` opens the store that it is to be kept in.

    Raises :class:`NoSource`, ConfigError for a table and StorageError for a store.
    """
    arms: list[Transferred] = []
    messages = []
    for source in definition.warm_start:
        measured = _measured(source, definition, own)
        taken, refused = _admitted(source, measured, definition)
        arms += taken
        messages.append(f"{source}: {_told(len(taken), refused)}")
    return Gathered(tuple(arms), tuple(messages))


def _measured(
    source: WarmStart, definition: ExperimentDefinition, own: Callable[[], Store]
) -> Measured:
    if source.csv is not None:
        return read_table(source.csv, definition)
    assert source.experiment is not None
    if source.storage is None:
        return _measured_in(own(), source.experiment)
    with closing(Store.open(source.storage)) as other:
        return _measured_in(other, source.experiment)


def _measured_in(store: Store, name: str) -> MeasuredArms:
    found = store.find(name)
    if found is None:
        near = did_you_mean(name, store.names())
        raise NoSource(f"warm_start: there is no experiment {name!r} in {store.url}{near}")
    return store.measured_here(found.id)


def _admitted(
    source: WarmStart, measured: Measured, definition: ExperimentDefinition
) -> tuple[list[Transferred], Counter[str]]:
    """Return the arms that the search space admits, and how often others were refused, and why."""
    taken: list[Transferred] = []
    refused: Counter[str] = Counter()
    for parameters, metrics in measured:
        known = {name: m for name, m in metrics.items() if name in definition.metric_specs}
        if not known.keys() & definition.required_metrics:
            refused["nothing was measured that is wanted here"] += 1
            continue
        try:
            arm = definition.admit({**source.defaults, **parameters})
        except ValueError as error:
            refused[str(error)] += 1
        else:
            taken.append(Transferred(str(source), arm, known))
    return taken, refused


def _told(taken: int, refused: Counter[str]) -> str:
    if not refused:
        return f"{taken} measured arms taken"
    why, _ = refused.most_common(1)[0]
    return f"{taken} measured arms taken, {refused.total()} left out ({why})"
