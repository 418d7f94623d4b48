"""Where an experiment stands, read from its rows in one transaction."""

from collections.abc import Iterable, Mapping
from itertools import chain

from sqlalchemy import ColumnElement, Connection, and_, func, select

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import (
    MOVES,
    STALLED,
    TROUBLES,
    Event,
    ExperimentState,
    ExperimentStatus,
    Progress,
    Tally,
    troubles_after,
)
from scheduler.model.observation import Outcome
from scheduler.model.trial import FINAL, Arm, Trial, TrialStatus
from scheduler.model.warm_start import Transferred, complete
from scheduler.storage import rows, schema


def state_of(connection: Connection, experiment_id: int) -> ExperimentState:
    """Return where an experiment stands."""
    query = select(schema.experiment).where(schema.experiment.c.id == experiment_id)
    row = connection.execute(query).mappings().one()
    lease = select(schema.lease.c.seconds).where(schema.lease.c.experiment_id == experiment_id)
    definition = ExperimentDefinition.model_validate_json(row["definition"])
    prior = transferred(connection, experiment_id)
    return ExperimentState(
        definition=definition,
        transferred=complete(prior, definition.required_metrics),
        status=ExperimentStatus(row["status"]),
        stop=rows.verdict_of(row["stop"]),
        paused=row["paused"],
        active=_active(connection, experiment_id),
        tally=_tally(connection, experiment_id),
        outcomes=_outcomes(connection, experiment_id),
        seconds=connection.execute(lease).scalar_one_or_none() or 0.0,
        progress=_progress(connection, experiment_id),
        troubles=troubles(connection, experiment_id),
    )


def transferred(connection: Connection, experiment_id: int) -> tuple[Transferred, ...]:
    """Return the arms that were measured elsewhere, in order."""
    c = schema.warm_start.c
    query = select(schema.warm_start).where(c.experiment_id == experiment_id).order_by(c.position)
    return tuple(map(rows.transferred_of, connection.execute(query).mappings()))


def trials_at(
    connection: Connection, experiment_id: int, indexes: Iterable[int]
) -> dict[int, Trial]:
    """Return trials by index, whatever their status."""
    wanted = list(indexes)
    if not wanted:
        return {}
    return _trials(connection, experiment_id, schema.trial.c.index.in_(wanted))


def _trials(
    connection: Connection, experiment_id: int, where: ColumnElement[bool]
) -> dict[int, Trial]:
    t, a = schema.trial, schema.arm
    found = connection.execute(
        select(t).where(t.c.experiment_id == experiment_id, where).order_by(t.c.index)
    ).mappings()
    of_these = select(t.c.index).where(t.c.experiment_id == experiment_id, where)
    arms: dict[int, list[Arm]] = {}
    query = (
        select(a)
        .where(a.c.experiment_id == experiment_id, a.c.trial_index.in_(of_these))
        .order_by(a.c.trial_index, a.c.position)
    )
    for row in connection.execute(query).mappings():
        arms.setdefault(row["trial_index"], []).append(rows.arm_of(row))
    return {row["index"]: rows.trial_of(row, arms[row["index"]]) for row in found}


def _active(connection: Connection, experiment_id: int) -> dict[int, Trial]:
    active = [status.value for status in TrialStatus if status not in FINAL]
    return _trials(connection, experiment_id, schema.trial.c.status.in_(active))


def _progress(connection: Connection, experiment_id: int) -> Progress | None:
    c = schema.event.c
    kinds = sorted({*MOVES, STALLED})
    query = select(c.time, c.kind).where(in_order_of_id(experiment_id), c.kind.in_(kinds))
    row = connection.execute(query.order_by(c.id.desc()).limit(1)).one_or_none()
    return None if row is None else Progress(row.time, row.kind == STALLED)


def troubles(connection: Connection, experiment_id: int) -> Mapping[str, Event]:
    """Return what is wrong; events of the experiment as a whole are few, and in an index."""
    c = schema.event.c
    kinds = sorted({*TROUBLES, *chain.from_iterable(TROUBLES.values())})
    of = (c.experiment_id == experiment_id, c.trial_index.is_(None), c.kind.in_(kinds))
    found = connection.execute(select(schema.event).where(*of).order_by(c.id)).mappings()
    return troubles_after({}, map(rows.event_of, found))


def in_order_of_id(experiment_id: int) -> ColumnElement[bool]:
    """Return the condition on the experiment that keeps SQLite from sorting all of its events.

    The index by trial would be chosen otherwise; a sum is in no index.
    """
    return schema.event.c.experiment_id + 0 == experiment_id


def _tally(connection: Connection, experiment_id: int) -> Tally:
    t, g = schema.trial.c, schema.generator_run.c
    of = t.experiment_id == experiment_id
    by_status = select(t.status, func.count()).where(of).group_by(t.status)
    by_node = select(t.node, func.count()).where(of, t.node.is_not(None)).group_by(t.node)
    completed = by_node.where(t.status == TrialStatus.COMPLETED.value)
    cursors = (
        select(g.generator, func.max(g.cursor))
        .where(g.experiment_id == experiment_id)
        .group_by(g.generator)
    )
    runs = select(func.count()).where(g.experiment_id == experiment_id)
    ways = select(func.max(t.ended_at - t.staged_at)).where(of, t.status == TrialStatus.COMPLETED)
    counts = {TrialStatus(s): n for s, n in connection.execute(by_status)}
    return Tally(
        created=sum(counts.values()),
        finished={status: n for status, n in counts.items() if status in FINAL},
        generated=dict(connection.execute(by_node).all()),
        completed=dict(connection.execute(completed).all()),
        generator_runs=connection.execute(runs).scalar_one(),
        cursors=dict(connection.execute(cursors).all()),
        slowest=connection.execute(ways).scalar_one() or 0.0,
    )


def _outcomes(connection: Connection, experiment_id: int) -> tuple[Outcome, ...]:
    t, o, a = schema.trial.c, schema.observation.c, schema.arm.c
    same = and_(t.experiment_id == o.experiment_id, t.index == o.trial_index)
    its_arm = and_(
        a.experiment_id == o.experiment_id,
        a.trial_index == o.trial_index,
        a.name == o.arm_name,
    )
    query = (
        select(o.trial_index, o.arm_name, o.metric, o.mean)
        .join_from(schema.trial, schema.observation, same)
        .join(schema.arm, its_arm)
        .where(t.experiment_id == experiment_id, t.status == TrialStatus.COMPLETED)
        .order_by(t.completed_at, t.index, a.position)
    )
    means: dict[tuple[int, str], dict[str, float]] = {}
    for index, arm, metric, mean in connection.execute(query):
        means.setdefault((index, arm), {})[metric] = mean
    return tuple(Outcome(index, arm, values) for (index, arm), values in means.items())
