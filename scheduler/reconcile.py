"""The decisions: what is stored, what was seen and what time it is, to what must be done. Pure.

Every tick may be the first after a crash: decisions follow from levels, never from events that
would have had to be witnessed. "No news" changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from runners.base import JobReport, JobState, RunnerError
from scheduler.advance import About, Measurement, Symptom, advance, is_sent_back
from scheduler.model.experiment import (
    Changes,
    Command,
    Event,
    ExperimentState,
    ExperimentStatus,
    Verdict,
    evolve,
)
from scheduler.model.observation import Observation
from scheduler.model.strategy import Turn, is_exhausted, nodes_of, turn
from scheduler.model.trial import Reason, Trial, TrialStatus
from scheduler.obey import due, ended, obey
from scheduler.stalled import NO_SIGNS, Signs, news
from scheduler.stopping.criteria import verdict


@dataclass(frozen=True, slots=True)
class Seen:
    """What was observed in one tick, by index of the trial."""

    reports: Mapping[int, JobReport] = field(default_factory=dict)
    """Positive statements of the backend; a trial without one stays as it is."""
    submissions: Mapping[int, str | RunnerError] = field(default_factory=dict)
    """How the last submissions went: a job id or an error."""
    cancelled: frozenset[int] = frozenset()
    """Trials whose cancellation got through to the backend since the last tick."""
    measurements: Mapping[int, Measurement] = field(default_factory=dict)
    symptoms: Mapping[int, Symptom] = field(default_factory=dict)
    """What log policies found in the output of attempts that have failed."""
    curves: tuple[Observation, ...] = ()
    """New points of trials that run."""
    commands: tuple[Command, ...] = ()
    max_jobs: int | None = None
    """How many unfinished jobs the runner takes."""
    submit_at_most: int = 1000
    """Slow start after a rejection."""
    signs: Signs = NO_SIGNS


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write and then, in this order, what to do."""

    changes: Changes
    cancel: tuple[Trial, ...] = ()
    release: tuple[Trial, ...] = ()
    submit: tuple[Trial, ...] = ()
    generate: int = 0
    """How many more candidates are wanted."""


def decide(state: ExperimentState, seen: Seen, now: float) -> Decision:
    """Return what one tick does: move trials on, stop or go on, fill the free slots."""
    seen = replace(seen, commands=due(state, seen.commands))
    orders = obey(state, seen.commands, now)
    before, trials = state, orders.trials
    seen = replace(
        seen,
        reports={**seen.reports, **orders.reports},
        measurements={**seen.measurements, **orders.measurements},
        curves=(*seen.curves, *orders.curves),
    )
    stop = orders.stop
    state = replace(before, definition=orders.definition, paused=orders.paused and not stop)
    for index, trial in trials.items():
        trials[index] = advance(trial, state.definition, _about(seen, index), now)
    if stop is None:
        changes = _changes(state, trials, seen, now)
        stop = verdict(evolve(state, changes), changes)
    if stop:
        _wind_down(trials, stop, now)
    submit = []
    if not state.paused:
        submit = _resubmitted(trials, seen, now) + _staged(trials, state, seen, now)
    changes = _with_orders(_changes(state, trials, seen, now), before, state, orders.events)
    changes = _with_stop(changes, state, trials, stop, now)
    return Decision(
        changes=_with_progress(changes, state, trials, seen.signs, now),
        cancel=tuple(
            t for t in trials.values() if t.wish and t.status.is_pending and not t.ended_at
        ),
        release=tuple(t for t in trials.values() if is_to_release(t)),
        submit=tuple(submit),
        generate=0 if stop or state.paused else _wanted(state, trials),
    )


def _about(seen: Seen, index: int) -> About:
    return About(
        report=seen.reports.get(index),
        submission=seen.submissions.get(index),
        cancelled=index in seen.cancelled,
        measurement=seen.measurements.get(index),
        symptom=seen.symptoms.get(index),
    )


def is_to_release(trial: Trial) -> bool:
    """Whether its job is held by the backend although a person lets it start."""
    held = trial.status is TrialStatus.STAGED and trial.job_state == JobState.HELD.value
    return held and trial.released and trial.wish is None


def _wind_down(trials: dict[int, Trial], stop: Verdict, now: float) -> None:
    """Give up candidates; cancel what runs unless the verdict lets it end by itself.

    A trial that a person sent back after the stop is done all the same.
    """
    for index, trial in trials.items():
        waits = trial.status is TrialStatus.CANDIDATE and not is_sent_back(trial)
        if waits or (not trial.status.is_final and not stop.drain):
            message = f"the experiment stopped: {stop.criterion}"
            trials[index] = ended(trial, Reason.EXPERIMENT_STOPPED, message, now)


def _resubmitted(trials: Mapping[int, Trial], seen: Seen, now: float) -> list[Trial]:
    """Return STAGED trials of which the backend states that no job has ever started."""
    return [
        trial
        for index, trial in trials.items()
        if trial.status is TrialStatus.STAGED and not trial.wish and trial.not_before <= now
        if (report := seen.reports.get(index)) and report.state is JobState.LOST
    ][: seen.submit_at_most]


def _staged(
    trials: dict[int, Trial], state: ExperimentState, seen: Seen, now: float
) -> list[Trial]:
    """Move candidates into free slots, retries first; return them."""
    slots = _Slots(trials, state, seen)
    staged = []
    candidates = [t for t in trials.values() if t.status is TrialStatus.CANDIDATE]
    for trial in sorted(candidates, key=lambda t: (t.attempt == 1, t.index)):
        if trial.not_before <= now and slots.take(trial):
            trials[trial.index] = trial.move(
                TrialStatus.STAGED, staged_at=now, reason=None, message=""
            )
            staged.append(trials[trial.index])
    return staged


class _Slots:
    """Free slots: of the experiment, of the runner, of each node, and of a slow start."""

    def __init__(self, trials: Mapping[int, Trial], state: ExperimentState, seen: Seen) -> None:
        pending = [t for t in trials.values() if t.status.is_pending]
        self._free = state.definition.trials.max_pending_trials - len(pending)
        if seen.max_jobs is not None:
            unfinished = sum(t.ended_at is None for t in pending)
            self._free = min(self._free, seen.max_jobs - unfinished)
        self._free = min(self._free, seen.submit_at_most)
        self._of_node = {
            i: node.max_parallelism - sum(t.node == i for t in pending)
            for i, node in enumerate(nodes_of(state.definition))
            if node.max_parallelism is not None
        }

    def take(self, trial: Trial) -> bool:
        """Take a slot for ``trial``; return False where none is free."""
        node = trial.node if trial.node is not None else -1
        if self._free < 1 or self._of_node.get(node, 1) < 1:
            return False
        self._free -= 1
        if node in self._of_node:
            self._of_node[node] -= 1
        return True


def _wanted(state: ExperimentState, trials: Mapping[int, Trial]) -> int:
    """Return how many candidates to ask for, so that a free slot finds one waiting."""
    if is_exhausted(state):
        return 0
    mine = turn(state)
    options = state.definition.trials
    waiting = [t for t in trials.values() if t.status is TrialStatus.CANDIDATE and t.attempt == 1]
    pending = [t for t in trials.values() if t.status.is_pending]
    ahead = _ahead(mine, options.max_pending_trials)
    limits = [
        options.max_pending_trials - len(pending) + ahead - len(waiting),
        options.total_trials - state.tally.created,
    ]
    if mine.node.max_parallelism is not None:
        own = sum(t.node == mine.index for t in (*waiting, *pending))
        limits.append(mine.node.max_parallelism + ahead - own)
    if mine.missing:
        limits.append(mine.missing)
    return max(0, min(limits))


def _ahead(mine: Turn, slots: int) -> int:
    """Return how many candidates wait for a slot.

    Those of a model wait one at a time, and not at all where trials run one by one or too little
    is measured yet: each would know less than it could. Neither do those that a node makes only
    because what ends it has not come yet.
    """
    if mine.missing == 0:
        return 0
    if mine.traits.learns:
        return int(slots > 1 and not mine.replaced)
    return slots


def _changes(
    state: ExperimentState, trials: Mapping[int, Trial], seen: Seen, now: float
) -> Changes:
    """Return what differs from ``state``, with an event for every change of status."""
    changed = tuple(t for i, t in trials.items() if state.active.get(i) is not t)
    moved = [t for t in changed if _status_before(state, t) is not t.status]
    completed = {t.index for t in moved if t.status is TrialStatus.COMPLETED}
    return Changes(
        time=now,
        trials=changed,
        observations=tuple(
            o for i, m in seen.measurements.items() if i in completed for o in m.observations
        ),
        curves=seen.curves,
        events=tuple(_event(t, now) for t in moved),
        commands=tuple(command.id for command in seen.commands),
    )


def _status_before(state: ExperimentState, trial: Trial) -> TrialStatus | None:
    before = state.active.get(trial.index)
    return before.status if before else None


def _event(trial: Trial, now: float) -> Event:
    reason = f"{trial.reason}: " if trial.reason and trial.message else trial.reason or ""
    return Event(
        time=now,
        kind=f"trial_{trial.status.lower()}",
        message=f"{reason}{trial.message}",
        trial_index=trial.index,
        attempt=trial.attempt,
    )


def _with_orders(
    changes: Changes, before: ExperimentState, after: ExperimentState, events: list[Event]
) -> Changes:
    """Return ``changes`` with what people changed of the experiment as a whole."""
    return replace(
        changes,
        paused=after.paused if after.paused is not before.paused else None,
        definition=after.definition if after.definition is not before.definition else None,
        events=(*events, *changes.events),
    )


def _with_progress(
    changes: Changes,
    state: ExperimentState,
    trials: Mapping[int, Trial],
    signs: Signs,
    now: float,
) -> Changes:
    """Return ``changes`` with the alarm that nothing moves, or its end."""
    unfinished = {i: t for i, t in trials.items() if not t.status.is_final}
    event = news(state, unfinished, signs, changes.events, now)
    return replace(changes, events=(*changes.events, event)) if event else changes


def _with_stop(
    changes: Changes,
    state: ExperimentState,
    trials: Mapping[int, Trial],
    stop: Verdict | None,
    now: float,
) -> Changes:
    """Return ``changes`` with the verdict, and the experiment's end once no trial is left."""
    if stop is None or state.status is not ExperimentStatus.RUNNING:
        return changes
    if stop is not state.stop:
        event = Event(now, "experiment_stopping", f"{stop.criterion}: {stop.message}")
        changes = replace(changes, stop=stop, events=(*changes.events, event))
    if all(trial.status.is_final for trial in trials.values()):
        status = ExperimentStatus.FAILED if stop.failed else ExperimentStatus.COMPLETED
        event = Event(now, f"experiment_{status.lower()}", f"{stop.criterion}: {stop.message}")
        changes = replace(changes, status=status, events=(*changes.events, event))
    return changes
