"""Rows of results, relative to the status quo."""

from collections.abc import Sequence

from scheduler.model.experiment import STATUS_QUO
from scheduler.model.pooling import pool
from scheduler.model.relative import relativized
from scheduler.python.metric import Row


def relative_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of all other arms, in percent of change, where there is a control."""
    controls: dict[tuple[str, int | None], list[tuple[float, float | None]]] = {}
    for row in rows:
        if row["arm_name"] == STATUS_QUO:
            for trial in (row["trial_index"], None):
                key = (row["metric_name"], trial)
                controls.setdefault(key, []).append((row["mean"], row["sem"]))
    found = []
    for row in rows:
        metric, trial = row["metric_name"], row["trial_index"]
        control = controls.get((metric, trial)) or controls.get((metric, None))
        if row["arm_name"] == STATUS_QUO or not control:
            continue
        if change := relativized((row["mean"], row["sem"]), pool(control)):
            found.append({**row, "mean": change[0], "sem": change[1]})
    return found
