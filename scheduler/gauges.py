"""Figures about a daemon at work, and their text in the format that Prometheus reads.

A tick costs a few additions here; texts are made when somebody asks for them.
"""

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from scheduler.model.experiment import Event, ExperimentState
from scheduler.model.trial import TrialStatus

LATENCIES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper ends of the buckets of tick latencies, in seconds."""
ERRORS = (
    *("runner_unavailable", "submission_delayed", "generation_failed", "notification_failed"),
    *("disk_low", "turn_hangs"),
)
"""Events that are counted as errors, by kind."""

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]
"""A suffix of the name, labels, and the value."""


@dataclass
class _Experiment:
    state: ExperimentState
    epoch: int
    generator_seconds: float


@dataclass
class Gauges:
    """What was counted since the process began, and how its experiments stand."""

    started: float = field(default_factory=time.time)
    hanging: Mapping[str, int] = field(default_factory=dict)
    """Turns that take far too long, by type of runner; replaced as a whole."""
    _experiments: dict[str, _Experiment] = field(default_factory=dict)
    _buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCIES) + 1))
    _seconds: float = 0.0
    _failed_ticks: int = 0
    _errors: dict[tuple[str, str], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ticked(
        self, name: str, state: ExperimentState, epoch: int, seconds: float, generated: float
    ) -> None:
        """Count a tick; ``generated``: seconds that generators have worked for it in all."""
        with self._lock:
            self._buckets[bisect_left(LATENCIES, seconds)] += 1
            self._seconds += seconds
            self._experiments[name] = _Experiment(state, epoch, generated)

    def failed(self) -> None:
        """Count a tick that the store did not let through."""
        with self._lock:
            self._failed_ticks += 1

    def happened(self, name: str, events: Iterable[Event]) -> None:
        """Count the errors among ``events``."""
        with self._lock:
            for event in events:
                if event.kind in ERRORS:
                    key = (name, event.kind)
                    self._errors[key] = self._errors.get(key, 0) + 1

    def forget(self, name: str) -> None:
        """Show an experiment no more: it has ended, or another process drives it."""
        with self._lock:
            self._experiments.pop(name, None)

    def text(self) -> str:
        """Return all figures in the text format 0.0.4."""
        with self._lock:
            families = [*self._of_ticks(), *self._of_experiments()]
        return "".join(_family(*each) for each in (*families, *_of_process(self.started)))

    def _of_ticks(self) -> Iterator[tuple[str, str, str, list[Sample]]]:
        cumulative, below = 0, []
        for bound, count in zip((*LATENCIES, None), self._buckets, strict=True):
            cumulative += count
            below.append(
                ("_bucket", {"le": "+Inf" if bound is None else f"{bound:g}"}, cumulative)
            )
        total: list[Sample] = [("_sum", {}, self._seconds), ("_count", {}, cumulative)]
        yield "schedd_tick_seconds", "histogram", "Duration of ticks.", [*below, *total]
        hanging: list[Sample] = [("", {"runner": r}, n) for r, n in sorted(self.hanging.items())]
        text = "Turns that take far too long: a runner or a metric hangs."
        yield "schedd_turns_hanging", "gauge", text, hanging
        text = "Ticks that the store did not let through."
        yield "schedd_ticks_failed_total", "counter", text, [("", {}, self._failed_ticks)]
        errors: list[Sample] = [
            ("", {"experiment": name, "kind": kind}, count)
            for (name, kind), count in sorted(self._errors.items())
        ]
        yield "schedd_errors_total", "counter", "Errors told of, by kind.", errors

    def _of_experiments(self) -> Iterator[tuple[str, str, str, list[Sample]]]:
        known = sorted(self._experiments.items())
        trials: list[Sample] = [
            ("", {"experiment": name, "status": status.value}, count)
            for name, each in known
            for status, count in _by_status(each.state).items()
        ]
        yield "schedd_trials", "gauge", "Trials by status.", trials
        values = {
            "schedd_slots": ("gauge", "Pending trials that there may be.", _slots),
            "schedd_slots_busy": ("gauge", "Trials STAGED or RUNNING.", _busy),
            "schedd_stalled": ("gauge", "Whether nothing moves.", _stalled),
            "schedd_lease_epoch": ("gauge", "Epoch of the lease.", _epoch),
            "schedd_generator_seconds_total": ("counter", "Time of generators.", _generated),
        }
        for name, (kind, words, value) in values.items():
            yield name, kind, words, [("", {"experiment": n}, value(e)) for n, e in known]


def _by_status(state: ExperimentState) -> dict[TrialStatus, int]:
    active = [trial.status for trial in state.active.values()]
    return {s: state.tally.count(s) + active.count(s) for s in TrialStatus}


def _slots(each: _Experiment) -> float:
    return each.state.definition.trials.max_pending_trials


def _busy(each: _Experiment) -> float:
    return each.state.pending


def _stalled(each: _Experiment) -> float:
    return each.state.progress is not None and each.state.progress.stalled


def _epoch(each: _Experiment) -> float:
    return each.epoch


def _generated(each: _Experiment) -> float:
    return each.generator_seconds


def _of_process(started: float) -> Iterator[tuple[str, str, str, list[Sample]]]:
    """Yield what Prometheus's own libraries tell of a process, by the same names."""
    times = os.times()
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    values = (
        ("process_start_time_seconds", "gauge", "Start, in seconds since the epoch.", started),
        ("process_cpu_seconds_total", "counter", "User and system time.", times[0] + times[1]),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", resident),
        ("process_open_fds", "gauge", "Open files.", len(os.listdir("/proc/self/fd"))),
        ("process_threads", "gauge", "Threads.", threading.active_count()),
    )
    for name, kind, words, value in values:
        yield name, kind, words, [("", {}, float(value))]


def _family(name: str, kind: str, words: str, samples: list[Sample]) -> str:
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    lines += [
        f"{name}{suffix}{_labels(labels)} {float(value)!r}" for suffix, labels, value in samples
    ]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
