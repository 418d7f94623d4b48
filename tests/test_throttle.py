"""What a log is spared, and what it says of that."""

import io
import json

import pytest

from scheduler.cli.progress import Progress
from scheduler.model.experiment import Event
from scheduler.throttle import BURST, KEPT, Throttle


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def shown(clock, monkeypatch, as_json=False):
    """Return a log, and the lines in it."""
    monkeypatch.setenv("SCHEDD_LOG", "json" if as_json else "")
    stream = io.StringIO()
    progress = Progress("e", stream)
    progress._throttle = Throttle(clock)
    return progress, lambda: stream.getvalue().splitlines()


def test_the_same_is_said_once_and_then_once_a_minute_with_a_count(clock):
    throttle = Throttle(clock)
    said = []
    for second in range(125):
        clock.now = second
        said.append(throttle.admit("line", "kind"))
    assert [(at, n) for at, n in enumerate(said) if n is not None] == [(0, 0), (60, 59), (120, 59)]
    assert throttle.admit("another", "kind") == 0


def test_ten_minutes_without_a_database_are_ten_lines(clock, monkeypatch):
    progress, lines = shown(clock, monkeypatch)
    for number in range(120):
        clock.now = 5.0 * number
        why = "connection refused" if number % 2 else "the server closed the connection"
        progress.watch(None, (Event(clock.now, "storage_unavailable", why),))
    assert len(lines()) == 10
    assert lines()[1].endswith("connection (and 11 like it before)")


def test_a_flood_of_one_kind_is_ten_lines_a_second(clock, monkeypatch):
    progress, lines = shown(clock, monkeypatch, as_json=True)
    for number in range(10_000):
        clock.now = number / 1000
        progress.watch(None, (Event(clock.now, "trial_failed", "EXIT_CODE", number, 1),))
    assert len(lines()) <= BURST + 10 * 10
    found = [json.loads(line) for line in lines()]
    written = len(found) + sum(line.get("left_out", 0) for line in found)
    assert 9_900 <= written <= 10_000
    progress.watch(None, (Event(clock.now, "experiment_completed", "goal"),))
    assert json.loads(lines()[-1])["event"] == "experiment_completed"


def test_trials_that_end_are_each_a_line(clock, monkeypatch):
    progress, lines = shown(clock, monkeypatch)
    for index in range(50):
        progress.watch(None, (Event(0.0, "trial_completed", "", index, 1),))
    assert len(lines()) == 50


def test_what_is_remembered_is_bounded(clock):
    throttle = Throttle(clock)
    for number in range(5 * KEPT):
        clock.now = float(number)
        throttle.admit(number, "kind")
    assert len(throttle._said) == KEPT
