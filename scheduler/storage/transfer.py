"""One experiment as lines and back: whatever is stored of it, row by row, exactly."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import Boolean, Column, Float, Integer, Table, select

from scheduler.storage import schema
from scheduler.storage.rows import to_json
from scheduler.storage.state import state_of
from scheduler.storage.store import Experiment, Store
from scheduler.storage.write import insert_experiment, insert_rows

PAGE = 500
"""Rows that are in memory at a time."""
FORMAT = 1
TABLES: tuple[Table, ...] = (
    *(schema.warm_start, schema.generator_run, schema.trial, schema.arm, schema.observation),
    *(schema.curve, schema.event, schema.command, schema.lease),
)
"""Those that belong to an experiment, in the order of the lines."""
PRIVATE: Mapping[str, frozenset[str]] = {
    "experiment": frozenset({"id"}),
    "event": frozenset({"id"}),
    "command": frozenset({"id"}),
    "lease": frozenset({"clock", "expires_at"}),
}
"""Columns that mean something in one database alone; the order of rows stands for ids."""
_ORDERED = frozenset({"parameters"})
"""Columns of JSON whose keys have an order."""
_JSON = frozenset(
    {"definition", "stop", "wish", "retries", "avoid", "parameters", "metrics", "payload"}
) | {"predictions", "insights", "holder"}

Line = dict[str, Any]


class NotAnExport(Exception):
    """A line is none that an export has; the message is a sentence."""


def lines(store: Store, experiment: Experiment) -> Iterator[Line]:
    """Yield an experiment as objects of one kind each, all of one moment. Raises StorageError."""
    yield {"row": "schedd-export", "format": FORMAT, "schema": schema.VERSION}
    count = 1
    with store.reading() as connection:
        e = schema.experiment
        row = connection.execute(select(e).where(e.c.id == experiment.id)).mappings().one()
        yield _line(e, row)
        for table in TABLES:
            query = select(table).where(table.c.experiment_id == experiment.id)
            query = query.order_by(*table.primary_key.columns)
            found = connection.execution_options(yield_per=PAGE).execute(query)
            for row in found.mappings():
                count += 1
                yield _line(table, row)
    yield {"row": "end", "rows": count}


def restore(store: Store, given: Iterable[Line]) -> str | None:
    """Store an experiment from its lines, all of it or nothing; return its name.

    ``None`` where there is one of that name already. Raises :class:`NotAnExport`, StorageError.
    """
    rows = iter(given)
    _check_header(next(rows, {}))
    first = next(rows, {})
    values = _row(schema.experiment, first)
    tables = {table.name: table for table in TABLES}
    with store.writing() as connection:
        experiment_id = insert_experiment(connection, values)
        if experiment_id is None:
            return None
        own = {"experiment_id": experiment_id}
        count, ended = 1, False
        while batch := list(islice(rows, PAGE)):
            for table, several in _by_table(batch, tables):
                insert_rows(connection, table, [_row(table, line) | own for line in several])
                count += len(several)
            last = batch[-1]
            ended = last.get("row") == "end" and last.get("rows") == count
        if not ended:
            raise NotAnExport("its end is missing: it was cut short")
        try:
            name = state_of(connection, experiment_id).definition.name
        except (KeyError, ValueError, TypeError) as error:
            raise NotAnExport(f"it does not fit together: {error}") from error
        if name != values["name"]:
            raise NotAnExport(f"it is called {values['name']!r}, but defined as {name!r}")
    return name


def _line(table: Table, row: Mapping[Any, Any]) -> Line:
    hidden = PRIVATE.get(table.name, frozenset()) | {"experiment_id"}
    values = {c.name: row[c.name] for c in table.columns if c.name not in hidden}
    for name in _JSON & values.keys():
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return {"row": table.name, **values}


def _row(table: Table, line: Line) -> dict[str, Any]:
    """Return the row of a line, checked column by column."""
    hidden = PRIVATE.get(table.name, frozenset()) | {"experiment_id"}
    columns = {c.name: c for c in table.columns if c.name not in hidden}
    if line.get("row") != table.name or line.keys() - {"row"} - columns.keys():
        raise NotAnExport(f"it is no {table.name}: {sorted(map(str, line))}")
    row = {name: _value(column, line) for name, column in columns.items() if name in line}
    missing = [n for n, c in columns.items() if n not in row and _is_needed(c)]
    if missing:
        raise NotAnExport(f"the {table.name} lacks {', '.join(missing)}")
    # What an older schema did not have gets its default in every row of a batch.
    later = {n: c for n, c in columns.items() if n not in row and c.server_default is not None}
    row |= {name: _default(column) for name, column in later.items()}
    return row | ({"clock": ""} if table is schema.lease else {})


def _value(column: "Column[Any]", line: Line) -> Any:
    value = line[column.name]
    if value is None:
        if not column.nullable:
            raise NotAnExport(f"{column.name} is empty")
        return None
    if column.name in _JSON:
        ordered = column.name in _ORDERED
        return json.dumps(value, allow_nan=False) if ordered else to_json(value)
    kind = column.type
    if isinstance(kind, Boolean):
        fits = isinstance(value, bool)
    elif isinstance(kind, Float):
        fits = type(value) in (int, float) and math.isfinite(value)
        value = float(value) if fits else value
    elif isinstance(kind, Integer):
        fits = type(value) is int and abs(value) < 1 << 63
    else:
        fits = isinstance(value, str)
    if not fits:
        raise NotAnExport(f"{column.name} cannot be {str(value)[:60]!r}")
    return value


def _is_needed(column: "Column[Any]") -> bool:
    return not column.nullable and column.server_default is None


def _default(column: "Column[Any]") -> Any:
    if isinstance(column.type, Boolean):
        return False
    default: Any = column.server_default
    return str(default.arg)


def _by_table(
    batch: list[Line], tables: Mapping[str, Table]
) -> Iterator[tuple[Table, list[Line]]]:
    """Yield lines of a kind that follow each other together, so that they are one statement."""
    several: list[Line] = []
    for line in batch:
        kind = line.get("row")
        if kind == "end":
            continue
        if kind not in tables:
            raise NotAnExport(f"there is nothing of kind {str(kind)[:60]!r}")
        if several and several[0]["row"] != kind:
            yield tables[several[0]["row"]], several
            several = []
        several.append(line)
    if several:
        yield tables[several[0]["row"]], several


def _check_header(line: Line) -> None:
    if line.get("row") != "schedd-export" or type(line.get("schema")) is not int:
        raise NotAnExport("it is no export of schedd: its first line does not say so")
    if line.get("format") != FORMAT or line["schema"] > schema.VERSION:
        raise NotAnExport("it is of a later schedd: upgrade this one")
