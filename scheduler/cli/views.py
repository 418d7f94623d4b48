"""Nouns as JSON: the words of the model, times in ISO 8601 and UTC, no number that is not one."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from scheduler.model.experiment import Event, ExperimentState
from scheduler.model.observation import GeneratorRun, Observation
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.storage.overview import Standing
from scheduler.storage.read import Surroundings, TrialRecord

View = dict[str, Any]


def moment(seconds: float | None) -> str | None:
    """Return a time as ``2025-01-31T12:00:00.000Z``."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def trial_view(record: TrialRecord) -> View:
    """Return a trial as an item of a list."""
    trial = record.trial
    return {
        "index": trial.index,
        "status": trial.status.value,
        "reason": trial.reason,
        "message": trial.message,
        "attempt": trial.attempt,
        "arms": [arm_view(arm, record.metrics.get(arm.name, {})) for arm in trial.arms],
        "generator": record.generator,
        "job_id": trial.job_id,
        "job_state": trial.job_state,
        "exit_code": trial.exit_code,
        **_times(trial),
    }


def arm_view(arm: Arm, metrics: Mapping[str, Observation]) -> View:
    """Return an arm and what was measured of it."""
    return {
        "name": arm.name,
        "parameters": dict(arm.parameters),
        "weight": arm.weight,
        "metrics": {name: observation_view(o) for name, o in sorted(metrics.items())},
    }


def observation_view(o: Observation) -> View:
    """Return a mean and its standard error."""
    return {"mean": finite(o.mean), "sem": finite(o.sem)}


def curve_view(points: tuple[Observation, ...]) -> list[View]:
    """Return the curves of a trial: one object for each arm and metric."""
    curves: dict[tuple[str, str], list[View]] = {}
    for o in points:
        point = {"step": finite(o.step), **observation_view(o)}
        curves.setdefault((o.arm_name, o.metric), []).append(point)
    return [{"arm": arm, "metric": m, "points": found} for (arm, m), found in curves.items()]


def generator_run_view(run: GeneratorRun) -> View:
    """Return how arms were chosen."""
    return {
        "index": run.index,
        "node": run.node,
        "generator": run.generator,
        "seed": run.seed,
        "seconds": finite(run.seconds),
        "created_at": moment(run.created_at),
        "predictions": [dict(prediction) for prediction in run.predictions],
        "insights": [dict(insight) for insight in run.insights],
        "note": run.note,
    }


def event_view(event: Event) -> View:
    """Return an event."""
    return {
        "time": moment(event.time),
        "kind": event.kind,
        "message": event.message,
        "trial_index": event.trial_index,
        "attempt": event.attempt,
    }


def experiment_view(state: ExperimentState, around: Surroundings, driven: bool) -> View:
    """Return where an experiment stands."""
    stop, options = state.stop, state.definition.trials
    return {
        "name": state.definition.name,
        "status": state.status.value,
        "paused": state.paused,
        "stop": {"criterion": stop.criterion.value, "message": stop.message} if stop else None,
        "driver": around.driver if driven else None,
        "created_at": moment(around.created_at),
        "seconds": finite(state.seconds),
        "total_trials": options.total_trials,
        "max_pending_trials": options.max_pending_trials,
        "trials": counts(state),
        "trouble": event_view(around.trouble) if around.trouble else None,
        "last_event": event_view(around.last) if around.last else None,
        "commands": list(around.asked),
    }


def standing_view(standing: Standing) -> View:
    """Return in short where one of many experiments stands."""
    stop, trials = standing.stop, standing.trials
    return {
        "name": standing.name,
        "status": standing.status.value,
        "paused": standing.paused,
        "stop": {"criterion": stop.criterion.value, "message": stop.message} if stop else None,
        "driver": standing.driver or None,
        "created_at": moment(standing.created_at),
        "total_trials": standing.total_trials,
        "trials": {status.value: trials.get(status, 0) for status in TrialStatus},
        "trouble": event_view(standing.trouble) if standing.trouble else None,
    }


def counts(state: ExperimentState) -> dict[str, int]:
    """Return how many trials there are of each status."""
    active = [trial.status for trial in state.active.values()]
    return {s.value: state.tally.count(s) + active.count(s) for s in TrialStatus}


def finite(number: float | None) -> float | None:
    """Return ``None`` for what JSON has no number for."""
    return number if number is not None and math.isfinite(number) else None


def _times(trial: Trial) -> View:
    names = ("created_at", "staged_at", "started_at", "ended_at", "completed_at")
    return {name: moment(getattr(trial, name)) for name in names}
