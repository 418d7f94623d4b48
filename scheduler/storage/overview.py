"""How all experiments of a store stand: as many queries for a thousand as for one. Only reads."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from scheduler.model.experiment import (
    STALLED,
    TROUBLES,
    Event,
    ExperimentStatus,
    Verdict,
    troubles_after,
)
from scheduler.model.trial import TrialStatus
from scheduler.storage import rows, schema
from scheduler.storage.lease import in_words
from scheduler.storage.store import Store

_ENDS = {**TROUBLES, STALLED: frozenset({"moving_again"})}
"""Troubles of an experiment as a whole, and what ends each."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one experiment stands, in short."""

    name: str
    status: ExperimentStatus
    paused: bool
    stop: Verdict | None
    created_at: float
    total_trials: int
    trials: Mapping[TrialStatus, int]
    """How many there are of each status that there are any of."""
    driver: str
    """Who drives it now, in words; empty where nobody does."""
    trouble: Event | None
    """The latest trouble that lasts."""


def count_experiments(store: Store) -> int:
    """Return how many experiments there are."""
    with store.reading() as connection:
        query = select(func.count()).select_from(schema.experiment)
        return connection.execute(query).scalar_one()


def standings(store: Store, *, offset: int = 0, limit: int | None = None) -> list[Standing]:
    """Return how experiments stand, oldest first."""
    e = schema.experiment
    query = select(e).order_by(e.c.id).offset(offset).limit(limit)
    with store.reading() as connection:
        found = connection.execute(query).mappings().all()
        ids = [row["id"] for row in found]
        counts, troubles = _counts(connection, ids), _troubles(connection, ids)
        holders = _holders(connection, ids)
    driven = store.database.driven([row["name"] for row in found])
    return [
        Standing(
            name=row["name"],
            status=ExperimentStatus(row["status"]),
            paused=row["paused"],
            stop=rows.verdict_of(row["stop"]),
            created_at=row["created_at"],
            total_trials=_total_trials(row["definition"]),
            trials=counts.get(row["id"], {}),
            driver=in_words(holders.get(row["id"])) if row["name"] in driven else "",
            trouble=troubles.get(row["id"]) if row["status"] == "RUNNING" else None,
        )
        for row in found
    ]


def _counts(connection: Connection, ids: Sequence[int]) -> dict[int, dict[TrialStatus, int]]:
    t = schema.trial.c
    query = (
        select(t.experiment_id, t.status, func.count())
        .where(t.experiment_id.in_(ids))
        .group_by(t.experiment_id, t.status)
    )
    found: dict[int, dict[TrialStatus, int]] = {}
    for experiment_id, status, count in connection.execute(query):
        found.setdefault(experiment_id, {})[TrialStatus(status)] = count
    return found


def _troubles(connection: Connection, ids: Sequence[int]) -> dict[int, Event]:
    """Return the latest trouble of each; events of experiments as a whole are in an index."""
    c = schema.event.c
    kinds = sorted({kind for trouble, ends in _ENDS.items() for kind in (trouble, *ends)})
    of = (c.experiment_id.in_(ids), c.trial_index.is_(None), c.kind.in_(kinds))
    found: dict[int, Mapping[str, Event]] = {}
    for row in connection.execute(select(schema.event).where(*of).order_by(c.id)).mappings():
        before = found.get(row["experiment_id"], {})
        found[row["experiment_id"]] = troubles_after(before, [rows.event_of(row)], _ENDS)
    return {
        each: max(troubles.values(), key=lambda event: event.time)
        for each, troubles in found.items()
        if troubles
    }


def _holders(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    c = schema.lease.c
    query = select(c.experiment_id, c.holder).where(c.experiment_id.in_(ids))
    return dict(connection.execute(query).all())


def _total_trials(definition: str) -> int:
    """Return the budget; to check all of a definition takes longer than everything else here."""
    return int(json.loads(definition)["trials"]["total_trials"])
