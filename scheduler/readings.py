"""What trials have written, read once per tick: metrics, curves, and the output of failures."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from metrics.base import Fetcher
from runners.base import JobReport, JobState
from scheduler.advance import Measurement, Symptom
from scheduler.measure import curves, measure
from scheduler.model.experiment import ExperimentState
from scheduler.model.observation import Observation
from scheduler.model.trial import Trial, TrialStatus
from scheduler.symptoms import symptom

Reports = Mapping[int, JobReport]
Key = tuple[int, int, str, str, float | None]


class Readings:
    """One experiment's trials, as their folders tell of them. What it remembers can be lost."""

    def __init__(
        self, root: Path, fetchers: Mapping[str, Fetcher], alive: Callable[[], None]
    ) -> None:
        """``root``: of the trials' folders; ``alive``: called before what may take long."""
        self._root = root
        self._fetchers = fetchers
        self._alive = alive
        self._last_curves = -1e18
        self._curves_stored: dict[Key, float] = {}

    def measurements(self, state: ExperimentState, reports: Reports) -> dict[int, Measurement]:
        """Fetch the metrics of trials whose job has succeeded, now or earlier."""
        due = [
            trial
            for index, trial in state.active.items()
            if trial.ended_at is not None
            or ((report := reports.get(index)) and report.state is JobState.SUCCEEDED)
        ]
        return {
            t.index: measure(state.definition, t, self._root, self._fetchers, self._alive)
            for t in due
            if t.status.is_pending
        }

    def symptoms(
        self,
        state: ExperimentState,
        reports: Reports,
        measurements: Mapping[int, Measurement],
    ) -> dict[int, Symptom]:
        """Search the output of attempts that have failed, or lack metrics, by log policies."""
        if not state.definition.failures.log_policies:
            return {}
        ended = {i for i, r in reports.items() if r.state.is_final}
        ended -= {i for i, r in reports.items() if r.state is JobState.SUCCEEDED}
        lacking = {i for i, m in measurements.items() if m.missing or m.invalid}
        found = {
            trial.index: symptom(state.definition, trial, self._root)
            for trial in self._one_by_one(state.active[i] for i in ended | lacking)
        }
        return {index: each for index, each in found.items() if each}

    def curves(
        self, state: ExperimentState, reports: Reports, now: float
    ) -> tuple[Observation, ...]:
        """Read the curves of running trials, once per polling interval and at their end."""
        definition = state.definition
        if not any(m.available_while_running for m in definition.metric_specs.values()):
            return ()
        due = [i for i, report in reports.items() if report.state is JobState.SUCCEEDED]
        if now - self._last_curves >= definition.polling.interval:
            self._last_curves = now
            due += [
                i
                for i, t in state.active.items()
                if t.status is TrialStatus.RUNNING and t.ended_at is None and i not in due
            ]
        trials = [state.active[i] for i in due]
        found = (curves(definition, t, self._root, self._fetchers, self._alive) for t in trials)
        new = {
            _key(point): point
            for point in chain.from_iterable(found)
            if self._curves_stored.get(_key(point)) != point.mean
        }
        return tuple(new.values())

    def stored(self, points: Iterable[Observation], active: Mapping[int, Trial]) -> None:
        """Note that points are stored; forget those of trials that are not active any more."""
        self._curves_stored = {
            key: mean for key, mean in self._curves_stored.items() if key[0] in active
        } | {_key(point): point.mean for point in points}

    def _one_by_one(self, trials: Iterable[Trial]) -> Iterator[Trial]:
        for trial in trials:
            self._alive()
            yield trial


def _key(o: Observation) -> Key:
    return (o.trial_index, o.attempt, o.arm_name, o.metric, o.step)
