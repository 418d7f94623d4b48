"""What people ask for, carried into the decisions of one tick. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runners.base import JobReport, JobState
from scheduler.advance import Measurement, conclude, is_sent_back, retried
from scheduler.model import redefine
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Command, Criterion, Event, ExperimentState, Verdict
from scheduler.model.observation import Observation
from scheduler.model.trial import Arm, Reason, Trial, TrialStatus, Wish

RETRIABLE = (TrialStatus.FAILED, TrialStatus.ABANDONED)
"""What a person may send back for another attempt."""


@dataclass
class Orders:
    """Where an experiment stands after its commands."""

    definition: ExperimentDefinition
    trials: dict[int, Trial]
    """The active ones, those that were added, and those that were sent back."""
    created: int
    paused: bool = False
    stop: Verdict | None = None
    events: list[Event] = field(default_factory=list)
    reports: dict[int, JobReport] = field(default_factory=dict)
    """What people say of jobs that no backend runs."""
    measurements: dict[int, Measurement] = field(default_factory=dict)
    curves: list[Observation] = field(default_factory=list)
    """What people say was measured while a job runs."""


def due(state: ExperimentState, commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """Return the commands to carry out now: retries after a stop wait until it has ended."""
    stops = [command.id for command in commands if command.verb in ("stop", "drain")]
    stopping = state.stop is not None and not all(map(is_sent_back, state.active.values()))
    if not stopping and not stops:
        return commands
    since = 0 if stopping else min(stops)
    return tuple(c for c in commands if c.verb != "retry" or c.id < since)


def obey(state: ExperimentState, commands: Iterable[Command], now: float) -> Orders:
    """Return what ``commands`` make of the experiment, one after the other."""
    created, stop = state.tally.created, state.stop
    orders = Orders(state.definition, dict(state.active), created, state.paused, stop)
    for command in commands:
        if command.verb in _OF_EXPERIMENT:
            _OF_EXPERIMENT[command.verb](orders, command, now)
        elif command.verb in _OF_JOB and command.trial is not None:
            _report(orders, command, now)
        elif command.trial is not None and command.verb in _OF_TRIAL:
            trial = orders.trials.get(command.trial.index, command.trial)
            after = _OF_TRIAL[command.verb](trial, command, now)
            if after is not trial:
                orders.trials[trial.index] = after
    return orders


def ended(trial: Trial, reason: Reason, message: str, now: float) -> Trial:
    """Return the trial ABANDONED, or wished to be so as soon as its job has ended."""
    if trial.status is TrialStatus.CANDIDATE:
        return conclude(trial, TrialStatus.ABANDONED, reason, message, now)
    if trial.wish and trial.wish.status is TrialStatus.ABANDONED:
        return trial
    return trial.having(wish=Wish(TrialStatus.ABANDONED, reason, message))


def _stop(orders: Orders, command: Command, _now: float) -> None:
    message = command.reason or "stopped by a person"
    orders.stop = Verdict(Criterion.USER, message, drain=command.verb == "drain")


def _pause(orders: Orders, command: Command, now: float) -> None:
    orders.paused = command.verb == "pause"
    kind = "experiment_paused" if orders.paused else "experiment_unpaused"
    orders.events.append(Event(now, kind, command.reason))


def _set(orders: Orders, command: Command, now: float) -> None:
    """Take a new budget; one that fits no longer, since another came first, is refused."""
    before = orders.definition
    try:
        _is_open(orders)
        orders.definition = redefine.having(before, command.payload)
    except (redefine.DefinitionChanged, ValueError) as error:
        orders.events.append(Event(now, "command_refused", f"set: {error}"))
        return
    text = ", ".join(f"{k}: {a} -> {b}" for k, a, b in redefine.diff(before, orders.definition))
    orders.events.append(Event(now, "definition_changed", text or "nothing new"))


def _add_arm(orders: Orders, command: Command, now: float) -> None:
    index = orders.created
    try:
        _is_open(orders)
        if index >= orders.definition.trials.total_trials:
            raise ValueError(
                f"all of the {index} trials there may be are made; set a greater "
                "trials.total_trials first"
            )
        parameters = orders.definition.admit(_mapping(command.payload, "parameters"))
    except ValueError as error:
        orders.events.append(Event(now, "command_refused", f"add-arm: {error}"))
        return
    arm = Arm(str(command.payload.get("name") or f"{index}_0"), parameters)
    orders.trials[index] = Trial(index, (arm,), created_at=now)
    orders.created += 1


def _report(orders: Orders, command: Command, now: float) -> None:
    """Take what a person says of an external job for what a backend would say.

    It counts for the attempt that it was said of, while that is pending.
    """
    assert command.trial is not None
    trial = orders.trials.get(command.trial.index, command.trial)
    attempt = command.payload.get("attempt")
    said = orders.reports.get(trial.index)
    over = trial.ended_at is not None or (said is not None and said.state.is_final)
    if not trial.status.is_pending or trial.attempt != attempt or over:
        why = f"attempt {attempt} of trial {trial.index} is not pending any more"
        orders.events.append(
            Event(now, "command_refused", f"{command.verb}: {why}", trial.index, trial.attempt)
        )
        return
    observations = tuple(_observations(trial, _mapping(command.payload, "data")))
    if command.verb == "record":
        orders.curves += observations
        return
    orders.reports[trial.index] = _OF_JOB[command.verb](command)
    if observations:
        orders.measurements[trial.index] = Measurement(observations)


def _observations(trial: Trial, data: Mapping[str, Any]) -> Iterator[Observation]:
    """Yield arm -> metric -> [mean, standard error] as observations; with a step, as the third."""
    for arm, metrics in data.items():
        for metric, (mean, sem, *step) in metrics.items():
            yield Observation(trial.index, trial.attempt, arm, metric, mean, sem, *step)


def _is_open(orders: Orders) -> None:
    if orders.stop is not None:
        raise ValueError(f"the experiment is ending, stopped by {orders.stop.criterion}")


def _mapping(payload: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = payload.get(key)
    return found if isinstance(found, dict) else {}


def _abandon(trial: Trial, command: Command, now: float) -> Trial:
    if trial.status.is_final:
        return trial
    return ended(trial, Reason.USER, command.reason or "by a person", now)


def _stop_early(trial: Trial, command: Command, _now: float) -> Trial:
    """Wish for the end of what runs, which is no failure; any other is left alone."""
    if trial.status is not TrialStatus.RUNNING or trial.wish or trial.ended_at is not None:
        return trial
    message = command.reason or "by a person"
    return trial.having(wish=Wish(TrialStatus.EARLY_STOPPED, Reason.USER, message))


def _release(trial: Trial, _command: Command, _now: float) -> Trial:
    return trial if trial.status.is_final else trial.having(released=True)


def _retry(trial: Trial, _command: Command, now: float) -> Trial:
    return retried(trial, now) if trial.status in RETRIABLE else trial


_OF_EXPERIMENT: Mapping[str, Callable[[Orders, Command, float], None]] = {
    "stop": _stop,
    "drain": _stop,
    "pause": _pause,
    "unpause": _pause,
    "set": _set,
    "add-arm": _add_arm,
}
_OF_JOB: Mapping[str, Callable[[Command], JobReport]] = {
    "record": lambda _: JobReport(JobState.RUNNING),
    "begin": lambda _: JobReport(JobState.RUNNING),
    "complete": lambda _: JobReport(JobState.SUCCEEDED, exit_code=0),
    "fail": lambda command: JobReport(
        JobState.FAILED, reason=Reason.REPORTED, message=command.reason or "without a reason"
    ),
}
_OF_TRIAL: Mapping[str, Callable[[Trial, Command, float], Trial]] = {
    "abandon": _abandon,
    "stop-early": _stop_early,
    "release": _release,
    "retry": _retry,
}
