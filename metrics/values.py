"""From parsed text to points: the shapes a value may have, the same for every fetcher."""

import json
from collections.abc import Mapping

from metrics.base import InvalidMetric, Point, finite

MISSING = object()
"""What :func:`lookup` returns where there is no such key; ``None`` is a value."""


def parse(text: str, what: str) -> object:
    """Return the JSON value that ``text`` spells; raise :class:`InvalidMetric` if it spells none.

    ``NaN`` and ``Infinity`` pass here: they spoil the metric that has them, not its neighbours.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # nested a million deep, 5000-digit integers
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long"
        raise InvalidMetric(f"{what} is not JSON: {reason}") from None


def lookup(document: Mapping[str, object], key: str) -> object:
    """Return the value at a dotted ``key``, or ``MISSING``; the key itself, dots and all, wins."""
    if key in document:
        return document[key]
    value: object = document
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def keys(document: Mapping[str, object]) -> str:
    """Return what keys there are, for a message; at most ten."""
    names = [repr(name)[:60] for name in document]
    more = ", ..." if len(names) > 10 else ""
    return ", ".join(names[:10]) + more if names else "none"


def point(value: object, what: str, *, sem: object = None, step: object = None) -> Point:
    """Return the point that a number or a ``{mean, sem}`` stands for; ``None`` means unknown.

    Raises :class:`InvalidMetric`, naming ``what``, where a part is not a finite number, or the
    standard error is negative.
    """
    if isinstance(value, Mapping):
        if "mean" not in value:
            raise InvalidMetric(f"{what} has no 'mean'; it has {keys(value)}")
        sem = value.get("sem", sem)
        value = value["mean"]
    error = None if sem is None else finite(sem, f"the standard error of {what}")
    if error is not None and error < 0:
        raise InvalidMetric(f"the standard error of {what} is {error}, which is negative")
    at = None if step is None else finite(step, f"the step of {what}")
    return Point(finite(value, what), error, at)
