"""``type: regex``: numbers that the job prints."""

import re
from collections.abc import Iterable
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from metrics.base import FetcherOptions, Point
from metrics.files import Source
from metrics.lines import LineFetcher, Progress
from metrics.values import point


class RegexOptions(FetcherOptions):
    """What to look for, and where."""

    pattern: str = Field(min_length=1)
    """With a group ``value``, or the first group; optionally with groups ``step`` and ``sem``."""
    stream: Literal["stdout", "stderr"] = "stdout"
    """What runners store as ``stdout.log`` and ``stderr.log``."""
    path: str | None = Field(None, min_length=1)
    """Another file, relative to the job's folder, in place of ``stream``."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            compiled = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        if _value_group(compiled) is None:
            raise ValueError("needs a group for the value, such as (?P<value>[0-9.eE+-]+)")
        return pattern

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is not None and "stream" in self.model_fields_set:
            raise ValueError("takes stream or path, not both")
        return self


class RegexFetcher(LineFetcher):
    """Makes each match a point, in order. The pattern is searched for in one line at a time.

    Lines end with a line feed or a carriage return; those over 64 KiB are skipped whole, so that
    no number is ever read in part. That bounds what a pattern costs as long as it is no worse
    than quadratic: Python cannot interrupt one like ``(a+)+b``, so do not nest repetitions.
    """

    Options: ClassVar[type[FetcherOptions]] = RegexOptions
    options: RegexOptions
    max_line = 64 * 1024
    skip_long_lines = True
    carriage_returns = True

    def __init__(self, options: RegexOptions) -> None:
        """Do no I/O."""
        super().__init__(options)
        self._pattern = re.compile(options.pattern)
        self._value = _value_group(self._pattern) or 0
        self._names = set(self._pattern.groupindex)

    def path(self) -> str:
        """Return the option that names the file."""
        return self.options.path or f"{self.options.stream}.log"

    def points(self, line: str, progress: Progress, source: Source) -> Iterable[Point]:
        """Return a point a match whose value group took part; it is numbered from 1."""
        found: list[Point] = []
        for match in self._pattern.finditer(line):
            value = match[self._value]
            if value is None:
                continue
            number = len(progress.points) + len(found) + 1
            what = source.at(f"match {number}")
            sem, step = self._named(match, "sem"), self._named(match, "step")
            found.append(point(value, what, sem=sem, step=number if step is None else step))
        return found

    def nothing(self, progress: Progress, source: Source) -> str:
        """Return what to say of a file in which nothing matches."""
        pattern = self.options.pattern
        return f"{source.at()}: none of {progress.lines} lines matches {pattern[:200]!r}"

    def _named(self, match: re.Match[str], name: str) -> str | None:
        return match[name] if name in self._names else None


def _value_group(pattern: re.Pattern[str]) -> int | None:
    """Return the number of the group ``value``, else of the first that is not step or sem."""
    named = pattern.groupindex
    if "value" in named:
        return named["value"]
    others = {named.get("step"), named.get("sem")}
    return next((n for n in range(1, pattern.groups + 1) if n not in others), None)
