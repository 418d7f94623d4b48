"""What one tick writes, into a transaction that is under way.

Statements are made once: to make one takes longer than to run it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, insert, update
from sqlalchemy.dialects import postgresql, sqlite

from scheduler.model.experiment import Changes
from scheduler.storage import rows, schema


def write(connection: Connection, experiment_id: int, changes: Changes, created: int) -> None:
    """Write everything in ``changes``; trials from index ``created`` on bring their arms."""
    new = [t for t in changes.trials if t.index >= created]
    arms = [row for t in new for row in rows.arm_rows(experiment_id, t)]
    runs = [rows.generator_run_row(experiment_id, run) for run in changes.generator_runs]
    insert_rows(connection, schema.generator_run, runs)
    _put(connection, schema.trial, [rows.trial_row(experiment_id, t) for t in changes.trials])
    insert_rows(connection, schema.arm, arms)
    finals = [rows.observation_row(experiment_id, o) for o in changes.observations]
    _put(connection, schema.observation, finals)
    curves = [rows.observation_row(experiment_id, o) for o in changes.curves]
    _put(connection, schema.curve, curves)
    insert_rows(
        connection, schema.event, [rows.event_row(experiment_id, e) for e in changes.events]
    )
    if changes.commands:
        applied = update(schema.command).where(schema.command.c.id.in_(changes.commands))
        connection.execute(applied.values(applied_at=changes.time))
    values: dict[str, Any] = {}
    if changes.status:
        values["status"] = changes.status
    if changes.stop:
        values["stop"] = rows.verdict_json(changes.stop)
    if changes.paused is not None:
        values["paused"] = changes.paused
    if changes.definition:
        values["definition"] = changes.definition.canonical()
    if values:
        where = schema.experiment.c.id == experiment_id
        connection.execute(update(schema.experiment).where(where).values(values))


def insert_experiment(connection: Connection, values: Mapping[str, Any]) -> int | None:
    """Return the id of a new experiment; ``None`` where there is one of that name already."""
    statement = _UPSERT[connection.dialect.name](schema.experiment).on_conflict_do_nothing()
    new = statement.returning(schema.experiment.c.id)
    return connection.execute(new, values).scalar_one_or_none()


def insert_rows(connection: Connection, table: Table, values: list[dict[str, Any]]) -> None:
    """Insert rows, or do nothing where there are none."""
    if values:
        connection.execute(_insert_statement(table), values)


_insert_statement = cache(insert)
_UPSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""Both understand ``ON CONFLICT``, which is no standard."""


@cache
def _put_statement(dialect: str, table: Table) -> Any:
    statement = _UPSERT[dialect](table)
    keys = {column.name for column in table.primary_key}
    values = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
    return statement.on_conflict_do_update(index_elements=sorted(keys), set_=values)


def _put(connection: Connection, table: Table, values: list[dict[str, Any]]) -> None:
    """Insert rows, or replace those with the same key."""
    if values:
        connection.execute(_put_statement(connection.dialect.name, table), values)
