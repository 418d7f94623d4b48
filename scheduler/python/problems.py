"""Errors of the doors as problem details (RFC 9457), and back."""

from collections.abc import Mapping
from typing import Any

from scheduler.python import errors

PREFIX = "urn:schedd:"
CONTENT = "application/problem+json"

STATUS: tuple[tuple[type[errors.ScheddError], int], ...] = (
    (errors.UnsupportedError, 422),
    (errors.FolderTaken, 422),
    (errors.UserInputError, 422),
    (errors.ObjectNotFoundError, 404),
    (errors.MaxParallelismReached, 409),
    (errors.OptimizationComplete, 409),
    (errors.NoTrialAvailable, 409),
    (errors.ModelError, 409),
    (errors.Busy, 503),
    (errors.StorageFailed, 500),
)
"""What each error is over HTTP; of an error and its kind, the first that holds."""


def problem(status: int, title: str, detail: str) -> dict[str, Any]:
    """Return an error in the form in which it is told: one sentence, ``detail``."""
    return {"type": PREFIX + title, "title": title, "status": status, "detail": detail}


def problem_of(error: errors.ScheddError) -> dict[str, Any]:
    """Return an error of the doors in the form in which it is told."""
    for kind, status in STATUS:
        if isinstance(error, kind):
            return problem(status, kind.__name__, str(error))
    raise error


def error_of(status: int, told: Mapping[str, Any]) -> errors.ScheddError:
    """Return the error that was told; one of another name by its status."""
    name, detail = str(told.get("title", "")), str(told.get("detail", ""))
    for kind, its_status in STATUS:
        if kind.__name__ == name and its_status == status:
            return kind(detail)
    if status >= 500 or not detail:
        return errors.ScheddError(detail or f"the server answered with status {status}")
    return errors.UserInputError(detail)
