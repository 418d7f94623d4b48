"""``type: jsonl``: a file to which the job appends one JSON object a line, a curve."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from pydantic import Field

from metrics.base import FetcherOptions, InvalidMetric, Point
from metrics.files import Source
from metrics.lines import LineFetcher, Progress
from metrics.values import MISSING, lookup, parse, point


class JsonlOptions(FetcherOptions):
    """Where the values lie."""

    path: str = Field("metrics.jsonl", min_length=1)
    """Relative to the job's folder."""
    key: str | None = None
    """Dotted; the metric's name where it is not given."""
    step: str = Field("step", min_length=1)
    """Dotted; where a line lacks it or it is null, the line's number, from 1, is the step."""
    sem_key: str | None = None
    """Dotted; where the standard error lies, if not in a ``{mean, sem}``."""


class JsonlFetcher(LineFetcher):
    """Reads ``{"step": 3, "loss": 0.1}`` lines; lines without the key are other metrics'."""

    Options: ClassVar[type[FetcherOptions]] = JsonlOptions
    options: JsonlOptions

    def path(self) -> str:
        """Return the option that names the file."""
        return self.options.path

    def points(self, line: str, progress: Progress, source: Source) -> Iterable[Point]:
        """Return the line's point, if it has the key; raise for anything but a JSON object."""
        what = source.at(f"line {progress.lines}")
        document = parse(line, what)
        if not isinstance(document, dict):
            raise InvalidMetric(f"{what} is not a JSON object")
        value = lookup(document, self._key(source))
        if value is MISSING:
            return []
        step = _given(document, self.options.step)
        sem = _given(document, self.options.sem_key) if self.options.sem_key else None
        return [point(value, what, sem=sem, step=progress.lines if step is None else step)]

    def nothing(self, progress: Progress, source: Source) -> str:
        """Return what to say of a file whose lines all lack the key."""
        return f"{source.at()}: none of {progress.lines} lines has the key {self._key(source)!r}"

    def _key(self, source: Source) -> str:
        return source.metric if self.options.key is None else self.options.key


def _given(document: Mapping[str, object], key: str) -> object:
    value = lookup(document, key)
    return None if value is MISSING else value
