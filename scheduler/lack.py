"""Why no trial can be handed out: said of one state, the one by which none was."""

from dataclasses import dataclass
from enum import Enum

from scheduler.model.experiment import ExperimentState, ExperimentStatus
from scheduler.model.trial import TrialStatus


class Lack(Enum):
    """What no trial is a sign of."""

    ENDED = "there will be none any more"
    FULL = "one that is pending must end first"
    OTHER = "there may be one later"


@dataclass(frozen=True, slots=True)
class NoTrial:
    """No trial is to be had, in words for people."""

    lack: Lack
    why: str


def no_trial(state: ExperimentState, trouble: str = "") -> NoTrial:
    """Return why none is to be had; ``trouble``: what hinders its driver, where that is known."""
    name, trials = state.definition.name, state.definition.trials
    if state.status is not ExperimentStatus.RUNNING or state.stop:
        stop = state.stop
        why = f"{stop.criterion}: {stop.message}" if stop else state.status
        return NoTrial(Lack.ENDED, f"{name} has stopped, {why}")
    if all_handed_out(state):
        still = f"{state.pending} of them still run" if state.pending else "all have ended"
        return NoTrial(Lack.ENDED, f"all {state.tally.created} trials of {name} are made; {still}")
    if state.pending >= trials.max_pending_trials:
        return NoTrial(
            Lack.FULL,
            f"{state.pending} trials of {name} are pending, as many as max_pending_trials "
            "allows: complete or abandon one first",
        )
    if state.paused:
        return NoTrial(Lack.OTHER, f"{name} is paused")
    why = trouble or "another process drives it and has none to give"
    return NoTrial(Lack.OTHER, f"no trial of {name} is to be had: {why}")


def nothing_comes(state: ExperimentState) -> bool:
    """Whether the driver makes no trial, or deploys none, before somebody has ended another."""
    if state.status is not ExperimentStatus.RUNNING or state.paused:
        return True
    unfinished = state.active.values()
    if any(t.status is TrialStatus.STAGED and t.job_id is None for t in unfinished):
        return False
    return state.pending >= state.definition.trials.max_pending_trials or all_handed_out(state)


def all_handed_out(state: ExperimentState) -> bool:
    """Whether all trials that there may be are made, and none of them waits to be deployed."""
    waits = any(t.status is TrialStatus.CANDIDATE for t in state.active.values())
    return state.tally.created >= state.definition.trials.total_trials and not waits
