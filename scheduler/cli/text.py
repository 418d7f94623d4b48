"""Nouns as text for people: aligned tables, times, numbers. Whole when it is piped, too."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

import click

from runners.base import JobState
from scheduler.model.base import Value
from scheduler.model.observation import Observation
from scheduler.model.trial import Trial, TrialStatus

ROWS = 500
"""Rows of a table that are aligned with each other, so that long ones need little memory."""
_COLOURS = {
    TrialStatus.COMPLETED: "green",
    TrialStatus.FAILED: "red",
    TrialStatus.ABANDONED: "yellow",
    TrialStatus.EARLY_STOPPED: "yellow",
    TrialStatus.RUNNING: "cyan",
}


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below a header, in columns; colours only on a terminal."""
    rows = iter(rows)
    first = list(islice(rows, ROWS))
    widths = _widened([len(word) for word in header], first)
    click.echo(click.style(_line(header, widths), bold=True))
    while first:
        for row in first:
            click.echo(_coloured(_line(row, widths), row))
        first = list(islice(rows, ROWS))
        widths = _widened(widths, first)


def pending(count: int) -> str:
    """Return how many trials are pending."""
    return "1 pending trial" if count == 1 else f"{count} pending trials"


def one_line(text: str) -> str:
    """Return text that came from elsewhere without line ends or control characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def number(value: float) -> str:
    """Return six digits of a number."""
    return f"{value:.6g}"


def scalar(value: Value | None) -> str:
    """Return a parameter's value for a table; a dash where the arm does not have it."""
    if value is None:
        return "-"
    return number(value) if isinstance(value, float) else str(value)


def measured(observation: Observation | None) -> str:
    """Return a mean and, where it is known, its standard error."""
    if observation is None:
        return "-"
    sem = f" ± {observation.sem:.2g}" if observation.sem else ""
    return f"{number(observation.mean)}{sem}"


def parameters(values: Mapping[str, Value]) -> str:
    """Return an arm's parameters in full."""
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def local(seconds: float | None) -> str:
    """Return a time as a clock on the wall here shows it."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def note(trial: Trial) -> str:
    """Return the reason and the message of a trial."""
    return one_line(": ".join(text for text in (trial.reason, trial.message) if text))


def awaits(trial: Trial, now: float) -> str:
    """Return in words what an unfinished trial waits for."""
    if trial.wish:
        return f"is being ended, {trial.wish.reason}: {one_line(trial.wish.message)}"
    why = f": {one_line(trial.message)}" if trial.message else ""
    if trial.not_before > now:
        return f"waits until {local(trial.not_before)}{why}"
    if trial.status is TrialStatus.CANDIDATE:
        return f"waits for a free slot{why}"
    if trial.status is TrialStatus.RUNNING and trial.ended_at is None:
        return f"runs since {local(trial.started_at)}{why}"
    if trial.status is TrialStatus.RUNNING:
        return f"its job has ended; waits for its metrics{why}"
    if trial.job_id is None:
        return f"is handed to the runner since {local(trial.staged_at)}{why}"
    if trial.job_state == JobState.HELD and not trial.released:
        return f"held since {local(trial.staged_at)}; schedd release {trial.index} lets it start"
    return f"{(trial.job_state or 'submitted').lower()} since {local(trial.staged_at)}{why}"


def _widened(widths: Sequence[int], rows: Iterable[Sequence[str]]) -> list[int]:
    wide = list(widths)
    for row in rows:
        wide = [max(width, len(cell)) for width, cell in zip(wide, row, strict=True)]
    return wide


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def _coloured(line: str, cells: Sequence[str]) -> str:
    colour = next((c for status, c in _COLOURS.items() if status in cells), None)
    return click.style(line, fg=colour) if colour else line
