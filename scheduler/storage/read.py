"""What people ask of a store: pages of trials and events, and what surrounds one. Only reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from scheduler.model.experiment import Event, ExperimentStatus
from scheduler.model.observation import GeneratorRun, Observation
from scheduler.model.trial import Trial, TrialStatus
from scheduler.storage import rows, schema
from scheduler.storage.lease import holder
from scheduler.storage.state import in_order_of_id, trials_at, troubles
from scheduler.storage.store import Store

PAGE = 500
"""Rows that are in memory at a time; each page is a transaction of its own."""

Metrics = Mapping[str, Mapping[str, Observation]]
"""Arm -> metric -> its final observation."""


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial with what was measured of it."""

    trial: Trial
    metrics: Metrics = field(default_factory=dict)
    generator: str | None = None
    """``None`` where a person gave the arms."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an experiment's state does not say."""

    created_at: float
    driver: str
    """Who drove it last, in words."""
    last: Event | None
    trouble: Event | None
    """Why nothing moves, where the latest news of the backend or the generator is bad."""
    asked: tuple[str, ...]
    """Commands that were not applied yet, in words."""


def unfinished(store: Store) -> list[str]:
    """Return the names of experiments that have something to do, oldest first."""
    e, c = schema.experiment.c, schema.command.c
    sent_back = exists().where(c.experiment_id == e.id, c.applied_at.is_(None), c.verb == "retry")
    is_open = or_(e.status == ExperimentStatus.RUNNING.value, sent_back)
    with store.reading() as connection:
        return list(connection.execute(select(e.name).where(is_open).order_by(e.id)).scalars())


def count_trials(store: Store, experiment_id: int, statuses: Sequence[TrialStatus] = ()) -> int:
    """Return how many trials there are, of ``statuses`` only where any are given."""
    query = select(func.count()).where(*_of(experiment_id, statuses))
    with store.reading() as connection:
        return connection.execute(query).scalar_one()


def trials(
    store: Store,
    experiment_id: int,
    statuses: Sequence[TrialStatus] = (),
    *,
    offset: int = 0,
    limit: int | None = None,
) -> Iterator[TrialRecord]:
    """Yield trials by index, with what was measured of them."""
    where, index = _of(experiment_id, statuses), schema.trial.c.index
    after, left = -1, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        query = select(index).where(*where, index > after).order_by(index)
        with store.reading() as connection:
            found = list(connection.execute(query.offset(offset).limit(size)).scalars())
            page = _records(connection, experiment_id, found)
        yield from page
        if len(found) < size:
            return
        after, offset = found[-1], 0
        left = None if left is None else left - size


def trial(store: Store, experiment_id: int, index: int) -> TrialRecord | None:
    """Return one trial, if it is there."""
    with store.reading() as connection:
        found = _records(connection, experiment_id, [index])
    return found[0] if found else None


def has_arm(store: Store, experiment_id: int, name: str) -> bool:
    """Return whether an arm is called ``name``."""
    c = schema.arm.c
    query = select(c.name).where(c.experiment_id == experiment_id, c.name == name).limit(1)
    with store.reading() as connection:
        return connection.execute(query).first() is not None


def generator_run(store: Store, experiment_id: int, index: int) -> GeneratorRun:
    """Return how the arms of a generator run were chosen."""
    table = schema.generator_run
    query = select(table).where(table.c.experiment_id == experiment_id, table.c.index == index)
    with store.reading() as connection:
        return rows.generator_run_of(connection.execute(query).mappings().one())


def generator_runs(store: Store, experiment_id: int) -> dict[int, GeneratorRun]:
    """Return how all generated arms were chosen, by index of the generator run."""
    table = schema.generator_run
    query = select(table).where(table.c.experiment_id == experiment_id).order_by(table.c.index)
    with store.reading() as connection:
        found = map(rows.generator_run_of, connection.execute(query).mappings())
        return {run.index: run for run in found}


def curves(store: Store, record: TrialRecord, experiment_id: int) -> tuple[Observation, ...]:
    """Return the points of a trial's present attempt, by arm, metric and step."""
    c = schema.curve.c
    query = (
        select(schema.curve)
        .where(c.experiment_id == experiment_id, c.trial_index == record.trial.index)
        .where(c.attempt == record.trial.attempt)
        .order_by(c.arm_name, c.metric, c.step)
    )
    with store.reading() as connection:
        return tuple(map(rows.observation_of, connection.execute(query).mappings()))


def count_events(store: Store, experiment_id: int, trial_index: int | None = None) -> int:
    """Return how many events there are."""
    query = select(func.count()).where(*_events_of(experiment_id, trial_index))
    with store.reading() as connection:
        return connection.execute(query).scalar_one()


def events(
    store: Store,
    experiment_id: int,
    trial_index: int | None = None,
    *,
    offset: int = 0,
    limit: int | None = None,
) -> Iterator[Event]:
    """Yield events, oldest first."""
    where, c = _events_of(experiment_id, trial_index), schema.event.c
    after, left = -1, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        query = select(schema.event).where(*where, c.id > after).order_by(c.id)
        with store.reading() as connection:
            page = connection.execute(query.offset(offset).limit(size)).mappings().all()
        yield from map(rows.event_of, page)
        if len(page) < size:
            return
        after, offset = page[-1]["id"], 0
        left = None if left is None else left - size


def surroundings(store: Store, experiment_id: int) -> Surroundings:
    """Return what an experiment's state does not say."""
    created = select(schema.experiment.c.created_at).where(schema.experiment.c.id == experiment_id)
    with store.reading() as connection:
        return Surroundings(
            created_at=connection.execute(created).scalar_one(),
            driver=holder(connection, experiment_id),
            last=_last_event(connection, experiment_id, ()),
            trouble=_trouble(connection, experiment_id),
            asked=_asked(connection, experiment_id),
        )


def _of(experiment_id: int, statuses: Sequence[TrialStatus]) -> list[ColumnElement[bool]]:
    t = schema.trial.c
    where: list[ColumnElement[bool]] = [t.experiment_id == experiment_id]
    return [*where, t.status.in_(statuses)] if statuses else where


def _records(connection: Connection, experiment_id: int, indexes: list[int]) -> list[TrialRecord]:
    found = trials_at(connection, experiment_id, indexes)
    metrics = _metrics(connection, experiment_id, indexes)
    g = schema.generator_run.c
    runs = {t.generator_run for t in found.values() if t.generator_run is not None}
    query = select(g.index, g.generator).where(g.experiment_id == experiment_id, g.index.in_(runs))
    generators: dict[int | None, str] = dict(connection.execute(query).all())
    return [
        TrialRecord(t, metrics.get(i, {}), generators.get(t.generator_run))
        for i, t in found.items()
    ]


def _metrics(
    connection: Connection, experiment_id: int, indexes: list[int]
) -> dict[int, dict[str, dict[str, Observation]]]:
    o = schema.observation
    query = select(o).where(o.c.experiment_id == experiment_id, o.c.trial_index.in_(indexes))
    found: dict[int, dict[str, dict[str, Observation]]] = {}
    for row in connection.execute(query).mappings():
        seen = rows.observation_of(row)
        found.setdefault(seen.trial_index, {}).setdefault(seen.arm_name, {})[seen.metric] = seen
    return found


def _events_of(experiment_id: int, trial_index: int | None) -> list[ColumnElement[bool]]:
    c = schema.event.c
    if trial_index is None:
        return [in_order_of_id(experiment_id)]
    return [c.experiment_id == experiment_id, c.trial_index == trial_index]


_BAD = ("stalled", "runner_unavailable", "generation_failed")
_GOOD = (
    "generation_resumed",
    *("moving_again", "runner_available", "trial_candidate", "trial_running"),
    *("trial_completed", "experiment_paused"),
)
"""Events that would not have happened had the trouble not passed."""


def _trouble(connection: Connection, experiment_id: int) -> Event | None:
    low = troubles(connection, experiment_id).get("disk_low")
    last = _last_event(connection, experiment_id, (*_BAD, *_GOOD))
    return low or (last if last and last.kind in _BAD else None)


def _last_event(connection: Connection, experiment_id: int, kinds: Sequence[str]) -> Event | None:
    c = schema.event.c
    query = select(schema.event).where(in_order_of_id(experiment_id))
    query = query.where(c.kind.in_(kinds)) if kinds else query
    row = connection.execute(query.order_by(c.id.desc()).limit(1)).mappings().one_or_none()
    return rows.event_of(row) if row else None


def _asked(connection: Connection, experiment_id: int) -> tuple[str, ...]:
    c = schema.command.c
    query = select(c.verb, c.trial_index).where(
        c.experiment_id == experiment_id, c.applied_at.is_(None)
    )
    found = connection.execute(query.order_by(c.id)).all()
    return tuple(r.verb if r.trial_index is None else f"{r.verb} {r.trial_index}" for r in found)
