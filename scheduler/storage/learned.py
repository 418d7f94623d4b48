"""What generators learn from: all arms, those that failed, and what was measured."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, and_, select

from scheduler.model.observation import Arms, MeasuredArms
from scheduler.model.pooling import pooled
from scheduler.model.trial import TrialStatus
from scheduler.storage import schema
from scheduler.storage.state import transferred


def arms(connection: Connection, experiment_id: int, skip: int = 0) -> Arms:
    """Return the parameters of all arms, in order, but for the first ``skip``."""
    c = schema.arm.c
    query = select(c.parameters).where(c.experiment_id == experiment_id)
    query = query.order_by(c.trial_index, c.position).offset(skip)
    return tuple(map(json.loads, connection.execute(query).scalars()))


def failed(connection: Connection, experiment_id: int, reasons: Collection[str]) -> Arms:
    """Return the arms of trials that FAILED for one of ``reasons``, in order."""
    t, a = schema.trial.c, schema.arm.c
    same = and_(a.experiment_id == t.experiment_id, a.trial_index == t.index)
    query = (
        select(a.parameters)
        .join_from(schema.trial, schema.arm, same)
        .where(t.experiment_id == experiment_id, t.status == TrialStatus.FAILED)
        .where(t.reason.in_(sorted(reasons)))
        .order_by(a.trial_index, a.position)
    )
    return tuple(map(json.loads, connection.execute(query).scalars()))


def measured(connection: Connection, experiment_id: int) -> MeasuredArms:
    """Return (parameters, metric -> (mean, standard error)) of measured arms, in order.

    Each arm once, however often it was measured: those of the warm start first, then those of
    the experiment's own trials.
    """
    prior = transferred(connection, experiment_id)
    elsewhere = tuple((arm.parameters, arm.metrics) for arm in prior)
    return pooled(elsewhere + measured_here(connection, experiment_id))


def measured_here(connection: Connection, experiment_id: int) -> MeasuredArms:
    """Return the same of the experiment's own trials alone."""
    a, o = schema.arm.c, schema.observation.c
    same = and_(
        a.experiment_id == o.experiment_id,
        a.trial_index == o.trial_index,
        a.name == o.arm_name,
    )
    query = (
        select(a.trial_index, a.position, a.parameters, o.metric, o.mean, o.sem)
        .join_from(schema.arm, schema.observation, same)
        .where(a.experiment_id == experiment_id)
        .order_by(a.trial_index, a.position, o.metric)
    )
    found: dict[tuple[int, int], tuple[Any, dict[str, tuple[float, float | None]]]] = {}
    for r in connection.execute(query):
        key = (r.trial_index, r.position)
        if key not in found:
            found[key] = (json.loads(r.parameters), {})
        found[key][1][r.metric] = (r.mean, r.sem)
    return pooled(tuple(found.values()))
