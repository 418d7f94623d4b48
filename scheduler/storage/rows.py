"""Rows to nouns and back. One place knows how each is kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from scheduler.model.experiment import Criterion, Event, Verdict
from scheduler.model.observation import GeneratorRun, Observation
from scheduler.model.trial import Arm, Trial, TrialStatus, Wish
from scheduler.model.warm_start import Transferred

Row = Mapping[Any, Any]

_PLAIN = (
    "index",
    "generator_run",
    "node",
    "attempt",
    "job_id",
    "job_state",
    "exit_code",
    "reason",
    "message",
    "not_before",
    "released",
    "created_at",
    "staged_at",
    "started_at",
    "ended_at",
    "completed_at",
)


def to_json(value: object) -> str:
    """Return canonical JSON; NaN and infinities are a bug of the caller."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(text: str) -> str:
    """Return text that every database can keep: without NUL, without halves of surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


def trial_row(experiment_id: int, trial: Trial) -> dict[str, Any]:
    """Return a trial's row, arms apart."""
    row = {name: getattr(trial, name) for name in _PLAIN}
    wish = trial.wish
    row["experiment_id"] = experiment_id
    row["status"] = trial.status.value
    row["reason"] = plain(str(trial.reason)) if trial.reason else None
    row["message"] = plain(trial.message)
    row["retries"] = to_json(dict(trial.retries)) if trial.retries else "{}"
    row["avoid"] = to_json(list(trial.avoid)) if trial.avoid else "[]"
    row["wish"] = to_json(astuple(wish)) if wish else None
    return row


def trial_of(row: Row, arms: Sequence[Arm]) -> Trial:
    """Return the trial of a row."""
    wish = json.loads(row["wish"]) if row["wish"] else None
    return Trial(
        arms=tuple(arms),
        status=TrialStatus(row["status"]),
        retries=json.loads(row["retries"]),
        avoid=tuple(json.loads(row["avoid"])),
        wish=Wish(TrialStatus(wish[0]), *wish[1:]) if wish else None,
        **{name: row[name] for name in _PLAIN},
    )


def arm_rows(experiment_id: int, trial: Trial) -> list[dict[str, Any]]:
    """Return the rows of a new trial's arms."""
    return [
        {
            "experiment_id": experiment_id,
            "trial_index": trial.index,
            "position": position,
            "name": arm.name,
            "parameters": json.dumps(dict(arm.parameters), allow_nan=False),
            "weight": arm.weight,
        }
        for position, arm in enumerate(trial.arms)
    ]


def arm_of(row: Row) -> Arm:
    """Return the arm of a row."""
    return Arm(row["name"], json.loads(row["parameters"]), row["weight"])


def transferred_row(experiment_id: int, position: int, arm: Transferred) -> dict[str, Any]:
    """Return the row of an arm that was measured elsewhere."""
    return {
        "experiment_id": experiment_id,
        "position": position,
        "source": arm.source,
        "parameters": json.dumps(dict(arm.parameters), allow_nan=False),
        "metrics": to_json(dict(arm.metrics)),
    }


def transferred_of(row: Row) -> Transferred:
    """Return the arm of a row."""
    metrics = {name: (mean, sem) for name, (mean, sem) in json.loads(row["metrics"]).items()}
    return Transferred(row["source"], json.loads(row["parameters"]), metrics)


def generator_run_row(experiment_id: int, run: GeneratorRun) -> dict[str, Any]:
    """Return a generator run's row."""
    return {
        "experiment_id": experiment_id,
        "index": run.index,
        "node": run.node,
        "generator": run.generator,
        "seed": run.seed,
        "cursor": run.cursor,
        "seconds": run.seconds,
        "created_at": run.created_at,
        "predictions": to_json([dict(p) for p in run.predictions]),
        "note": plain(run.note),
        "insights": to_json([dict(insight) for insight in run.insights]),
    }


def generator_run_of(row: Row) -> GeneratorRun:
    """Return the generator run of a row."""
    lists = {name: tuple(json.loads(row[name])) for name in ("predictions", "insights")}
    return GeneratorRun(**{k: v for k, v in row.items() if k != "experiment_id"} | lists)


def observation_row(experiment_id: int, o: Observation) -> dict[str, Any]:
    """Return an observation's row; with its step only where it is a point of a curve.

    Raises ValueError for a NaN: that is a bug of the caller.
    """
    if o.mean != o.mean or o.step != o.step:
        raise ValueError(f"trial {o.trial_index}: {o.metric} is not a number")
    row = {
        "experiment_id": experiment_id,
        "trial_index": o.trial_index,
        "attempt": o.attempt,
        "arm_name": o.arm_name,
        "metric": o.metric,
        "mean": o.mean,
        "sem": o.sem,
    }
    return row if o.step is None else {**row, "step": o.step}


def observation_of(row: Row) -> Observation:
    """Return the observation of a row of either table."""
    return Observation(**{k: v for k, v in row.items() if k != "experiment_id"})


def event_row(experiment_id: int, event: Event) -> dict[str, Any]:
    """Return an event's row."""
    return {
        "experiment_id": experiment_id,
        "time": event.time,
        "kind": event.kind,
        "message": plain(event.message),
        "trial_index": event.trial_index,
        "attempt": event.attempt,
    }


def event_of(row: Row) -> Event:
    """Return the event of a row."""
    return Event(**{k: v for k, v in row.items() if k not in ("experiment_id", "id")})


def verdict_json(verdict: Verdict) -> str:
    """Return a verdict as the store keeps it."""
    return to_json([verdict.criterion, verdict.message, verdict.failed, verdict.drain])


def verdict_of(text: str | None) -> Verdict | None:
    """Return a stored verdict."""
    if text is None:
        return None
    criterion, message, failed, drain = json.loads(text)
    return Verdict(Criterion(criterion), message, failed, drain)
