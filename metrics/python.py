"""``type: python``: a function of the user's, called in a process of its own."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from metrics.base import (
    Fetcher,
    FetcherOptions,
    FetchRequest,
    InvalidMetric,
    Point,
    UnavailableMetric,
)
from metrics.files import fill
from metrics.lines import MAX_POINTS
from metrics.process import Ended, Seconds, run
from metrics.values import point

_OURS = ("metrics", "runners", "scheduler")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_CALL = Path(__file__).with_name("_call.py")


class PythonOptions(FetcherOptions):
    """Which function."""

    function: str
    """``./file.py:function``, relative to where schedd was started, or ``module:function``."""
    timeout: Seconds = 30.0

    @field_validator("function")
    @classmethod
    def _is_callable_by_name(cls, function: str) -> str:
        place, _, name = function.rpartition(":")
        if not _DOTTED.fullmatch(name) or not (_is_file(place) or _DOTTED.fullmatch(place)):
            raise ValueError(
                f"is {function!r}, which is neither ./file.py:function nor module:function"
            )
        root = place.split(".")[0]
        if not _is_file(place) and root in _OURS:
            raise ValueError(
                f"is {function!r}, but the name {root} is schedd's own; for a function in your "
                f"file {root}.py, write ./{root}.py:{name}"
            )
        return function


class PythonFetcher(Fetcher):
    """Calls ``function(trial_dir, parameters)``, or ``function(trial_dir)`` if it takes but one.

    It returns a number, ``(mean, sem)``, ``{"mean": ..., "sem": ...}``, a list of
    ``(step, mean)``, or ``None`` for "not yet". Its folder is importable, as for a script. What
    it prints is discarded.
    """

    Options: ClassVar[type[FetcherOptions]] = PythonOptions
    options: PythonOptions

    def __init__(self, options: PythonOptions) -> None:
        """Note the current folder, to which a relative path refers ever after."""
        super().__init__(options)
        self._base = Path.cwd()

    def fetch(self, request: FetchRequest) -> Sequence[Point]:
        """Return what the function returned, as points; empty for ``None``.

        An exception, a crash and running out of time are "ask later": the function may look for
        something that is not there yet. A result that is no number is invalid.
        """
        what = f"metric {request.metric!r} ({self.options.function})"
        ended = self._run(request, what)
        answer = _answer(ended)
        if answer is None:
            raise UnavailableMetric(f"{what}: the function's process {ended.why()}")
        if "failed" in answer:
            raise UnavailableMetric(f"{what} failed: {str(answer['failed'])[:500]}")
        return _points(answer.get("points"), what)

    def _run(self, request: FetchRequest, what: str) -> Ended:
        place, _, name = fill(self.options.function, request).rpartition(":")
        call = {
            "place": str(self._base / place) if _is_file(place) else place,
            "is_file": _is_file(place),
            "name": name,
            "trial_dir": str(request.directory),
            "parameters": dict(request.parameters),
        }
        try:
            # -P: no module of the current folder, least of all a metrics.py, shadows another.
            return run(
                [sys.executable, "-P", str(_CALL)],
                cwd=self._base,
                timeout=self.options.timeout,
                env={"SCHEDD_TRIAL_DIR": str(request.directory)},
                stdin=json.dumps(call).encode(),
            )
        except (OSError, ValueError) as error:
            raise UnavailableMetric(f"{what} does not start: {error}") from error


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place


def _answer(ended: Ended) -> Mapping[str, object] | None:
    """Return what the process said; ``None`` where it did not come to saying it."""
    if ended.stdout.cut:
        return None  # otherwise a whole answer counts: libraries like to crash on their way out
    try:
        answer = json.loads(ended.stdout.kept)
    except (ValueError, RecursionError):  # the function wrote to a descriptor that it found
        return None
    return answer if isinstance(answer, dict) else None


def _points(rows: object, what: str) -> Sequence[Point]:
    if not isinstance(rows, list):
        raise InvalidMetric(f"{what} returned a malformed answer")
    if len(rows) > MAX_POINTS:
        raise InvalidMetric(f"{what} returned more than {MAX_POINTS} values; return fewer")
    points = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 3:
            raise InvalidMetric(f"{what} returned a malformed answer")
        mean, sem, step = row
        points.append(point(mean, what, sem=sem, step=step))
    return points
