"""What the trials of an experiment of Ax's have measured. Pure."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]
"""``arm_name``, ``metric_name``, ``mean``, ``sem`` and perhaps a step."""
_COLUMNS = frozenset({"arm_name", "metric_name", "mean", "sem", "trial_index"})


def status_of(trial: Mapping[str, Any]) -> str:
    """Return a trial's status."""
    return str(trial["status"]["name"])


def arms_of(trial: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Yield the arms of a trial or batch trial; those that were abandoned in it are left out."""
    left = trial.get("abandoned_arms_metadata") or {}  # by the name of each arm
    runs = [trial.get("generator_run")]
    runs += trial.get("generator_runs") or []  # of a batch trial; earlier with a weight each
    runs += [each["generator_run"] for each in trial.get("generator_run_structs") or ()]
    quo = trial.get("status_quo")
    arms = [arm for run in runs if run for arm in run["arms"]] + ([quo] if quo else [])
    return list({arm["name"]: arm for arm in arms if arm["name"] not in left}.values())


class Curves:
    """The data of each trial, row by row."""

    def __init__(self, data_by_trial: Mapping[str, Any]) -> None:
        self._data = data_by_trial
        self.steps = False
        """Whether any of the data that was looked at had steps."""

    def of(self, trial: str) -> list[Row]:
        """Return the rows of a trial, later ones last."""
        given = self._data.get(trial) or {}
        versions = given["value"] if "value" in given else list(given.items())
        rows: list[Row] = []
        for _, data in sorted(versions, key=lambda version: int(version[0])):
            rows += _rows(data)
        self.steps = self.steps or any(row["step"] is not None for row in rows)
        return rows


def finals(rows: Iterable[Row], arm: str) -> dict[str, tuple[float, float | None]]:
    """Return (mean, standard error) of each metric of an arm: the last there is, by step."""
    last: dict[str, Row] = {}
    for row in rows:
        name = row["metric_name"]
        if row["arm_name"] == arm and _order(row) >= _order(last.get(name)):
            last[name] = row
    return {
        name: (float(row["mean"]), _sem(row.get("sem")))
        for name, row in last.items()
        if row["mean"] is not None and math.isfinite(row["mean"])
    }


def _order(row: Row | None) -> float:
    """Return where a row stands on its curve; a value without a step is the final one."""
    if row is None:
        return -math.inf
    return math.inf if row["step"] is None else float(row["step"])


def _sem(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
    return float(value) if known else None


def _rows(data: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a table that is JSON of columns, in text; 0.5 names its steps itself."""
    table = json.loads(data["df"]["value"])
    keys = [info["key"] for info in data.get("map_key_infos") or ()]
    step = next((key for key in ("step", *keys) if key in table), None)
    wanted = _COLUMNS & table.keys()
    return [
        {name: table[name][i] for name in wanted} | {"step": table[step].get(i) if step else None}
        for i in table.get("mean") or {}
    ]
