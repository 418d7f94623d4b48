"""Reads a table of measured arms: CSV with a header, UTF-8. Says in sentences what is wrong."""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scheduler.config.errors import mistake
from scheduler.model.definition import ExperimentDefinition

LONGEST = 10_000
"""Rows of a table; more than a model could learn from."""
WORDS = {"true": True, "false": False}

Row = tuple[dict[str, Any], dict[str, tuple[float, float | None]]]
"""Parameters and metrics: those whose cell is not empty."""


def read_table(path: str, definition: ExperimentDefinition) -> Iterator[Row]:
    """Yield each row's parameters and metrics; other columns are not looked at.

    A metric that is NaN or infinite counts as not measured. Raises ConfigError.
    """
    lines = _lines(path)
    _, header = next(lines, (1, []))
    _check_header(path, header, definition)
    for count, (line, cells) in enumerate(lines):
        if count == LONGEST:
            raise mistake(f"there are more than {LONGEST} rows", path, line)
        if len(cells) != len(header):
            text = f"there are {len(cells)} cells where the header has {len(header)}"
            raise mistake(text, path, line)
        given = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        try:
            yield _parameters(given, definition), _metrics(given, definition)
        except ValueError as error:
            raise mistake(str(error), path, line) from None


def _lines(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of rows that are not blank; the line is where the row ends."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            for cells in rows:
                if cells:
                    yield rows.line_num, [cell.strip() for cell in cells]
    except OSError as error:
        raise mistake(f"it cannot be read: {error.strerror}", path) from None
    except UnicodeDecodeError:
        raise mistake("it is not UTF-8 text", path) from None
    except csv.Error as error:
        raise mistake(f"it is not a table of comma-separated values: {error}", path) from None


def _check_header(path: str, header: list[str], definition: ExperimentDefinition) -> None:
    if not header:
        raise mistake("it is empty; the first line names parameters and metrics", path)
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        raise mistake(f"there are two columns called {repeated!r}", path, 1)
    has = ", ".join(map(repr, header[:10]))
    if not definition.by_name.keys() & set(header):
        raise mistake(f"no column is named as a parameter; there is {has}", path, 1)
    if not definition.required_metrics & set(header):
        wanted = ", ".join(sorted(definition.required_metrics))
        raise mistake(f"no column is named {wanted}; there is {has}", path, 1)


def _parameters(given: Mapping[str, str], definition: ExperimentDefinition) -> dict[str, Any]:
    """Return values in the types of their parameters; whether they are admitted comes later."""
    found: dict[str, Any] = {}
    for name, parameter in definition.by_name.items():
        if name in given:
            found[name] = _value(name, given[name], parameter.parameter_type)
    return found


def _value(name: str, cell: str, kind: str | None) -> Any:
    if kind == "str":
        return cell
    if kind == "bool":
        if cell.lower() not in WORDS:
            raise ValueError(f"{name} = {cell!r} is neither true nor false")
        return WORDS[cell.lower()]
    return _number(name, cell)


def _metrics(
    given: Mapping[str, str], definition: ExperimentDefinition
) -> dict[str, tuple[float, float | None]]:
    found: dict[str, tuple[float, float | None]] = {}
    for name in definition.metric_specs:
        if name not in given:
            continue
        mean, spread = _number(name, given[name]), given.get(f"{name}_sem")
        sem = None if spread is None else _number(f"{name}_sem", spread)
        if sem is not None and not 0 <= sem < math.inf:
            raise ValueError(f"{name}_sem = {spread!r} is not a standard error")
        if math.isfinite(mean):
            found[name] = (mean, sem)
    return found


def _number(name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{name} = {cell[:60]!r} is not a number") from None
