"""``type: csv``: a table with a header row, to which the job appends rows."""

import csv
from collections.abc import Iterable
from typing import ClassVar

from pydantic import Field

from metrics.base import FetcherOptions, InvalidMetric, Point
from metrics.files import Source
from metrics.lines import LineFetcher, Progress
from metrics.values import point


class CsvOptions(FetcherOptions):
    """Which columns of which table."""

    path: str = Field(min_length=1)
    """Relative to the job's folder."""
    column: str | None = None
    """The metric's name where it is not given."""
    step: str | None = None
    """A column; where it is not given, the line's number is the step, the first row's being 1."""
    sem: str | None = None
    """A column with the standard error."""
    delimiter: str = Field(",", min_length=1, max_length=1, pattern=r'[^\r\n"\x00]')


class CsvFetcher(LineFetcher):
    """Reads a column. A row is one line; cells may be quoted, but hold no line ends.

    Rows with an empty cell have no value. A header that is written again is no row.
    """

    Options: ClassVar[type[FetcherOptions]] = CsvOptions
    options: CsvOptions

    def path(self) -> str:
        """Return the option that names the file."""
        return self.options.path

    def points(self, line: str, progress: Progress, source: Source) -> Iterable[Point]:
        """Return the row's point, if its cell is not empty.

        Raises :class:`InvalidMetric` where the row is not as long as the header: ``1,5`` for one
        and a half would otherwise be read as 1.
        """
        what = source.at(f"line {progress.lines}")
        cells = self._split(line, what)
        if not progress.header:
            progress.header = cells
        if cells == progress.header or not self._has_columns(progress, source):
            return []
        if len(cells) != len(progress.header):
            width = len(progress.header)
            raise InvalidMetric(f"{what} has {len(cells)} cells where the header has {width}")
        row = dict(zip(progress.header, cells, strict=True))
        value = row[self._column(source)].strip()
        if not value:
            return []
        sem = row[self.options.sem].strip() if self.options.sem else ""
        step = row[self.options.step] if self.options.step else progress.lines - 1
        return [point(value, what, sem=sem or None, step=step)]

    def nothing(self, progress: Progress, source: Source) -> str:
        """Return what to say of a table without the column, or without a value in it."""
        missing = sorted(self._wanted(source) - set(progress.header))
        if not missing:
            return f"{source.at()}: the column {self._column(source)!r} is empty in all rows"
        has = ", ".join(repr(name)[:60] for name in progress.header[:10])
        return f"{source.at()} has no column {missing[0]!r}; it has {has}"

    def _split(self, line: str, what: str) -> tuple[str, ...]:
        try:
            (cells,) = csv.reader([line.strip("\r")], delimiter=self._delimiter, strict=True)
        except (csv.Error, ValueError) as error:  # ValueError: a carriage return within the line
            raise InvalidMetric(f"{what} is not a row of a table: {error}") from None
        return tuple(cells)

    @property
    def _delimiter(self) -> str:
        return self.options.delimiter

    def _column(self, source: Source) -> str:
        return source.metric if self.options.column is None else self.options.column

    def _wanted(self, source: Source) -> set[str]:
        names = (self._column(source), self.options.step, self.options.sem)
        return {name for name in names if name is not None}

    def _has_columns(self, progress: Progress, source: Source) -> bool:
        return self._wanted(source).issubset(progress.header)
