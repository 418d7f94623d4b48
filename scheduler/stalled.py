"""Whether nothing moves although something should, and why. Pure.

A trial that runs is no stall, however long: ``trials.ttl`` is for that. Neither is one that waits
for a person, and nothing is expected of an experiment that is paused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runners.base import JobState
from scheduler.model.experiment import Event, ExperimentState, Progress, progress_after
from scheduler.model.trial import Trial, TrialStatus

TIMES = 5
"""So many times the longest way of a trial so far, from STAGED to its end, may pass in silence."""
ENOUGH = 3
"""Trials that must have completed before that says anything."""
AT_LEAST, AT_FIRST = 600.0, 3600.0
"""Seconds that may pass in any case, and while too few trials have completed."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What the loop knows of the others while nothing moves."""

    silent_since: float | None = None
    """Since when the backend has not answered."""
    silence: str = ""
    """What it said last instead."""
    generation: str = ""
    """Why the last generation failed; empty where it did not."""
    by_people: bool = False
    """Whether trials wait for people, not for machines."""
    disk: str = ""
    """What the disk lacks to start more trials; empty where it lacks nothing."""


NO_SIGNS = Signs()


def news(
    state: ExperimentState,
    trials: Mapping[int, Trial],
    signs: Signs,
    events: Iterable[Event],
    now: float,
) -> Event | None:
    """Return ``stalled`` or ``moving_again``, where that is new.

    ``state`` is as it was, ``trials`` are as they will be, ``events`` what else happened now.
    """
    before = state.progress or Progress(now)
    after = progress_after(before, events) or before
    expected = not state.paused and (trials or state.stop is None)
    why = hindrance(trials, signs, now) if expected else ""
    if before.stalled:
        moves = after is not before or not why
        words = f"{now - before.time:.0f} s after the alarm"
        return Event(now, "moving_again", words) if moves else None
    if not why or now - _quiet_since(after, trials, signs) < patience(state, signs):
        return None
    return Event(now, "stalled", why)


def hindrance(trials: Mapping[int, Trial], signs: Signs, now: float) -> str:
    """Return in words what keeps everything from moving; nothing where something moves."""
    pending = [t for t in trials.values() if t.status.is_pending]
    if signs.silent_since is not None and any(t.ended_at is None for t in pending):
        return f"the runner does not answer: {signs.silence}"
    if any(t.status is TrialStatus.RUNNING for t in pending):
        return ""
    queued = [t for t in pending if not _is_held(t)]
    if queued and not signs.by_people:
        return _queue(queued)
    if pending:
        return ""
    waiting = [t for t in trials.values() if t.status is TrialStatus.CANDIDATE]
    if waiting and signs.disk:
        return f"{_count(len(waiting))} room: {signs.disk}"
    if any(t.not_before <= now for t in waiting):
        return f"{_count(len(waiting))} a free slot of the runner: others use all of them"
    if waiting:
        return ""
    failed = f": {signs.generation}" if signs.generation else ""
    return f"no arm is proposed{failed}"


def patience(state: ExperimentState, signs: Signs) -> float:
    """Return the seconds in which nothing may move: a multiple of what is usual here.

    How long trials take says nothing of how long a backend may be silent.
    """
    if state.tally.count(TrialStatus.COMPLETED) < ENOUGH:
        return AT_FIRST
    usual = max(AT_LEAST, TIMES * state.tally.slowest)
    return usual if signs.silent_since is None else min(usual, AT_FIRST)


def _quiet_since(progress: Progress, trials: Mapping[int, Trial], signs: Signs) -> float:
    """Return since when nothing has moved that should have.

    Jobs may have gone on while their backend was still heard, and back-off is no stall.
    """
    waiting = [t for t in trials.values() if t.status is TrialStatus.CANDIDATE]
    return max(progress.time, signs.silent_since or 0.0, *(t.not_before for t in waiting), 0.0)


def _is_held(trial: Trial) -> bool:
    return trial.job_state == JobState.HELD.value and not trial.released


def _queue(queued: list[Trial]) -> str:
    refused = all(t.job_id is None for t in queued)
    what = "a job that the runner has not accepted" if refused else "its turn in the queue"
    said = next((f": {t.message}" for t in queued if t.message), "")
    return f"{_count(len(queued))} {what}{said}"


def _count(trials: int) -> str:
    return "1 trial waits for" if trials == 1 else f"{trials} trials wait for"
