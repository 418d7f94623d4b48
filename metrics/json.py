"""``type: json``: one value in a document that the job writes when it has a result."""

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from metrics.base import (
    Fetcher,
    FetcherOptions,
    FetchRequest,
    InvalidMetric,
    Point,
    UnavailableMetric,
)
from metrics.files import Source
from metrics.values import MISSING, keys, lookup, parse, point


class JsonOptions(FetcherOptions):
    """Where the value lies."""

    path: str = Field("metrics.json", min_length=1)
    """Relative to the job's folder."""
    key: str | None = None
    """Dotted (``mem.peak``); the metric's name where it is not given."""
    sem_key: str | None = None
    """Dotted; where the standard error lies, if not in a ``{mean, sem}``."""


class JsonFetcher(Fetcher):
    """Reads a number, or ``{"mean": 0.1, "sem": 0.02}``, from a JSON object."""

    Options: ClassVar[type[FetcherOptions]] = JsonOptions
    options: JsonOptions

    def fetch(self, request: FetchRequest) -> Sequence[Point]:
        """Return the value as one point without a step; empty where the file is not there yet.

        While the job runs, half a document or a document without the key is "not yet". After
        that, half a document is invalid and a key that lacks is asked for again.
        """
        source = Source(request, self.options.path)
        content = source.read()
        if content is None or not content.strip():
            return []
        try:
            document = _object(content, source)
        except InvalidMetric:
            if request.running:  # the job may be in the middle of writing it
                return []
            raise
        return self._point(document, source)

    def _point(self, document: Mapping[str, object], source: Source) -> Sequence[Point]:
        key = source.metric if self.options.key is None else self.options.key
        value = lookup(document, key)
        if value is MISSING:
            if source.running:
                return []
            raise UnavailableMetric(f"{source.at()} has no key {key!r}; it has {keys(document)}")
        sem = lookup(document, self.options.sem_key) if self.options.sem_key else None
        return [point(value, source.at(), sem=None if sem is MISSING else sem)]


def _object(content: bytes, source: Source) -> Mapping[str, object]:
    document = parse(content.decode("utf-8-sig", "replace"), source.at())
    if not isinstance(document, dict):
        kind = json.dumps(document)[:60]
        raise InvalidMetric(f"{source.at()} holds {kind} where an object is expected")
    return document
