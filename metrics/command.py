"""``type: command``: a program that is run in the job's folder and prints the value."""

from collections.abc import Sequence
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
from metrics.files import fill
from metrics.process import Ended, Seconds, run
from metrics.values import parse, point

MAX_ANSWER = 64 * 1024
"""Characters of the line that holds the value."""


class CommandOptions(FetcherOptions):
    """What to run."""

    command: tuple[str, ...] = Field(min_length=1)
    """An argument list, never a shell line; ``{trial_dir}`` and the like are filled in."""
    timeout: Seconds = 30.0


class CommandFetcher(Fetcher):
    """Reads the last line that a program prints.

    It is a number, or a JSON object: ``{"mean": 0.1, "sem": 0.02}``, or with the metric's name
    for a key. Whoever prints nothing and exits with 0 says that there is no value yet.
    """

    Options: ClassVar[type[FetcherOptions]] = CommandOptions
    options: CommandOptions

    def fetch(self, request: FetchRequest) -> Sequence[Point]:
        """Return the value as one point without a step; empty where nothing was printed.

        Any other exit status than 0, and running out of time, is "ask later".
        """
        if not request.directory.is_dir():
            return []
        ended = self._run(request)
        if ended.status != 0:
            raise UnavailableMetric(f"the command of metric {request.metric!r} {ended.why()}")
        line = ended.stdout.last_line()
        if not line:
            return []
        what = f"metric {request.metric!r} (its command)"
        if len(line) > MAX_ANSWER:  # its beginning may be lost, and then it is another number
            raise InvalidMetric(f"{what} printed a line of more than {MAX_ANSWER >> 10} KiB")
        return [_point(line, request.metric, what)]

    def _run(self, request: FetchRequest) -> Ended:
        argv = [fill(word, request) for word in self.options.command]
        try:
            return run(
                argv,
                cwd=request.directory,
                timeout=self.options.timeout,
                env={"SCHEDD_TRIAL_DIR": str(request.directory)},
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnavailableMetric(
                f"the command of metric {request.metric!r} does not start: {argv[0]}: {reason}"
            ) from error
        except ValueError as error:  # a NUL in an argument
            raise InvalidMetric(
                f"the command of metric {request.metric!r} cannot be run: {error}"
            ) from None


def _point(line: str, metric: str, what: str) -> Point:
    if not line.startswith("{"):
        return point(line, what)
    document = parse(line, what)
    if isinstance(document, dict) and metric in document:
        document = document[metric]
    return point(document, what)
