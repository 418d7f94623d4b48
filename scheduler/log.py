"""The process's log: one structlog event for each thing that happened, with its keys."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from scheduler.model.experiment import Event


def logger(
    write: Callable[[str], None], *, as_json: bool, experiment: str, prefix: str = ""
) -> Any:
    """Return a logger that gives ``write`` a line an event: in words, or as a JSON object.

    ``prefix``: what lines in words begin with, after the time.
    """
    import structlog  # brings rich with it, which the verbs that only show need not wait for

    render = structlog.processors.JSONRenderer() if as_json else partial(_in_words, prefix)
    return structlog.wrap_logger(
        _Lines(write),
        processors=[structlog.processors.add_log_level, render],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        experiment=experiment,
    )


BY_KIND = frozenset({"storage_unavailable", "runner_unavailable", "storage_available"})
"""Kinds whose message may differ though they say the same."""


def same(event: Event) -> tuple[object, ...]:
    """Return what two events have in common that say the same."""
    message = "" if event.kind in BY_KIND else event.message
    return (event.kind, event.trial_index, event.attempt, message)


def report(log: Any, event: Event, metrics: dict[str, float], left_out: int = 0) -> None:
    """Log one event of an experiment's history, with the metrics that came with it.

    ``left_out``: how many like it were not logged before.
    """
    bad = event.kind.endswith(("_failed", "_unavailable", "stalled", "_low", "_hangs"))
    say = log.warning if bad else log.info
    say(
        event.kind,
        time=datetime.fromtimestamp(event.time, UTC).isoformat(timespec="milliseconds"),
        trial=event.trial_index,
        attempt=event.attempt,
        message=event.message,
        metrics=metrics,
        **({"left_out": left_out} if left_out else {}),
    )


class _Lines:
    """What structlog writes to: a function that takes lines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.info = self.warning = write


def words(event: Event, metrics: Mapping[str, float] | None = None) -> str:
    """Return an event as a line for people, without its time."""
    where = "" if event.trial_index is None else f" {event.trial_index}"
    attempt = f" (attempt {event.attempt})" if (event.attempt or 1) > 1 else ""
    kind, _, what = event.kind.partition("_")
    values = ", ".join(f"{name} = {mean:.6g}" for name, mean in (metrics or {}).items())
    texts = "".join(f": {text}" for text in (event.message, values) if text)
    what = f" {what.replace('_', ' ')}" if what else ""
    return f"{kind}{where}{what}{attempt}{texts}"


def _in_words(prefix: str, _logger: object, _method: str, keys: Mapping[str, Any]) -> str:
    time = datetime.fromisoformat(keys["time"])
    event = Event(0.0, keys["event"], keys["message"], keys["trial"], keys["attempt"])
    more = f" (and {keys['left_out']} like it before)" if "left_out" in keys else ""
    return f"{time.astimezone():%H:%M:%S} {prefix}{words(event, keys['metrics'])}{more}"
