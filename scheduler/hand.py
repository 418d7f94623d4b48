"""Trials that a program moves by hand, along the table of transitions that the loop follows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scheduler.advance import conclude
from scheduler.clock import Anchor, Clock
from scheduler.jobs import job_name
from scheduler.model.experiment import Changes, Event, ExperimentState
from scheduler.model.observation import GeneratorRun, Observation
from scheduler.model.trial import Reason, Trial, TrialStatus
from scheduler.outside import looks
from scheduler.storage.errors import Held
from scheduler.storage.lease import Lease
from scheduler.storage.store import Experiment, Store

_REASONS = {TrialStatus.COMPLETED: None, TrialStatus.FAILED: Reason.REPORTED}
"""Why a trial has ended so; any other end is a wish."""


@dataclass(frozen=True, slots=True)
class Hand:
    """Writes an experiment under its lease, one transaction a call."""

    store: Store
    experiment: Experiment
    wait: float
    """Seconds to wait for another process that drives it."""

    def write(self, make: Callable[[ExperimentState, float], Changes]) -> None:
        """Write what ``make`` says, from the state and the time, all or nothing.

        Raises Held, LeaseLost, StorageError, and what ``make`` raises.
        """
        lease = self._acquired()
        try:
            clock = Clock(Anchor.from_json(self.store.clock(self.experiment)))
            state = self.store.load(lease)
            changes = make(state, clock.now())
            self.store.commit(lease, state, changes, clock.anchor().to_json())
        finally:
            lease.release()

    def _acquired(self) -> Lease:
        for last in looks(self.wait):
            try:
                return self.store.acquire(self.experiment, time.time())
            except Held:
                if last:
                    raise
        raise AssertionError("it is looked at least once")


def added(trials: Sequence[Trial], runs: Sequence[GeneratorRun], now: float) -> Changes:
    """Return the changes that add new trials, and the generator runs that made their arms."""
    event = Event(now, "trials_added", f"{len(trials)} by a program")
    return Changes(time=now, trials=tuple(trials), generator_runs=tuple(runs), events=(event,))


def moved(trial: Trial, to: TrialStatus, message: str, token: str, now: float) -> Trial:
    """Return the trial in another status, through those between. Raises InvalidTransition.

    From CANDIDATE to RUNNING leads by STAGED, as the loop goes.
    """
    if to is TrialStatus.STAGED:
        return trial.move(to, staged_at=now)
    if to is TrialStatus.RUNNING:
        if trial.status is TrialStatus.CANDIDATE:
            trial = trial.move(TrialStatus.STAGED, staged_at=now)
        job = trial.job_id or job_name(trial, token)
        return trial.move(to, started_at=now, job_id=job, job_state=to.value)
    done = conclude(trial, to, _REASONS.get(to, Reason.USER), message, now)
    return done.having(ended_at=now) if to is TrialStatus.COMPLETED else done


def change(
    trial: Trial, observations: Sequence[Observation], now: float, *, was: TrialStatus
) -> Changes:
    """Return the changes that replace a trial, with its final observations, and say so."""
    kind, message = f"trial_{trial.status.lower()}", trial.message
    event = Event(now, kind, message, trial.index, trial.attempt)
    return Changes(
        time=now,
        trials=(trial,),
        observations=tuple(observations),
        events=(event,) if trial.status is not was else (),
    )


def appended(first: Changes, then: Changes) -> Changes:
    """Return both as one transaction; a trial in both is written as it is in the second."""
    trials = {trial.index: trial for trial in (*first.trials, *then.trials)}
    return replace(
        then,
        trials=tuple(trials.values()),
        generator_runs=(*first.generator_runs, *then.generator_runs),
        events=(*first.events, *then.events),
    )
