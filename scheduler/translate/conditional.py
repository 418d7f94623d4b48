"""On what it depends that only some trials have a parameter, where trials leave no doubt. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

FEWEST = 3
"""Trials in which each value of the parent must have been seen, and what then was there."""
Row = Mapping[str, Any]
Condition = tuple[str, Sequence[Any]]
"""The parent, and its values with which the parameter is there."""


def explained(
    name: str, rows: Sequence[Row], choices: Mapping[str, Sequence[Any]]
) -> Condition | None:
    """Return the one condition that explains which trials have ``name``; None in doubt.

    ``choices`` are the parameters that may be parents, with their values. There is doubt where
    two parents would do, where a number's threshold would, or where a value was hardly seen.
    """
    found = [
        (parent, values)
        for parent in choices
        if parent != name and (values := _values(name, parent, rows, choices[parent])) is not None
    ]
    if len(found) != 1 or _threshold(name, found[0][0], rows, choices):
        return None
    return found[0]


def _values(
    name: str, parent: str, rows: Sequence[Row], choices: Sequence[Any]
) -> Sequence[Any] | None:
    """Return with which values of ``parent`` the parameter is there: some, but not all."""
    if any(name in row and parent not in row for row in rows):
        return None
    active: list[Any] = []
    for value in choices:
        seen = [name in row for row in rows if parent in row and _same(row[parent], value)]
        if len(seen) < FEWEST or any(seen) is not all(seen):
            return None
        if seen[0]:
            active.append(value)
    return active if 0 < len(active) < len(choices) else None


def _threshold(
    name: str, parent: str, rows: Sequence[Row], choices: Mapping[str, Sequence[Any]]
) -> bool:
    """Whether a threshold of some number tells trials with ``name`` from those without."""
    among = [row for row in rows if parent in row]
    numbers = {each for row in among for each in row} - choices.keys() - {name}
    for number in numbers:
        if not all(number in row for row in among):
            continue
        have = [row[number] for row in among if name in row]
        lack = [row[number] for row in among if name not in row]
        if max(have) < min(lack) or max(lack) < min(have):
            return True
    return False


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) is isinstance(b, bool)
