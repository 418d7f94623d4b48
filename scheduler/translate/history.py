"""Writes what was measured as the table that ``warm_start`` reads."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from scheduler.config.table import LONGEST
from scheduler.jobs import text_of
from scheduler.model.base import Value
from scheduler.model.definition import ExperimentDefinition
from scheduler.translate.result import Losses, Measured


def table(
    history: Sequence[Measured], definition: ExperimentDefinition, losses: Losses
) -> tuple[str, int]:
    """Return the table, and how many of its arms the search space admits.

    Arms that lack only values stay in it, for ``defaults`` can bring those; others are left out,
    and noted.
    """
    kept, refused, lacking = [], Counter[str](), Counter[str]()
    for measured in history:
        why = _refusal(measured, definition)
        (refused if why else lacking)[why or _lack(measured, definition)] += 1
        if not why:
            kept.append(measured)
    for why, count in refused.most_common():
        losses.add(counted(count), why)
    admitted = lacking.pop("", 0)
    for why, count in lacking.most_common():
        text = f"{why}; warm_start: defaults: may give one, which would be a guess"
        losses.add(counted(count), text)
    if len(kept) > LONGEST:
        losses.add(f"all but the last {LONGEST} measured arms", f"there are {len(kept)}")
        kept = kept[-LONGEST:]
        admitted = sum(not _lack(measured, definition) for measured in kept)
    return _csv(kept, definition), admitted


def counted(arms: int) -> str:
    """Return a number of arms in words."""
    return f"{arms} measured {'arm' if arms == 1 else 'arms'}"


def _lack(measured: Measured, definition: ExperimentDefinition) -> str:
    """Return the sentence on a value that is missing; empty where the arm is admitted."""
    try:
        definition.admit(measured.parameters)
    except ValueError as error:
        return str(error)
    return ""


def _refusal(measured: Measured, definition: ExperimentDefinition) -> str:
    """Return why an arm is not taken at all; empty where at most values are missing."""
    required = definition.required_metrics
    if not required & measured.metrics.keys():
        return f"they have no {' or '.join(sorted(required))}"
    for name, value in measured.parameters.items():
        if isinstance(value, str) and value != value.strip():
            return f"{name} = {value!r} begins or ends with blanks, which a table drops"
        if value == "":
            return f"{name} is empty, which a table cannot tell from missing"
        if name not in definition.by_name:
            return f"{name!r} is not a parameter of the search space"
        try:
            if definition.by_name[name].type != "derived":
                definition.by_name[name].cast(value)
        except ValueError as error:
            return str(error)
    why = _lack(measured, definition)
    return "" if why.startswith("the arm has no value for") else why


def _csv(history: Iterable[Measured], definition: ExperimentDefinition) -> str:
    rows = list(history)
    metrics = [m for m in definition.metric_specs if any(m in row.metrics for row in rows)]
    known = {
        m for m in metrics if any(row.metrics.get(m, (0, None))[1] is not None for row in rows)
    }
    columns = [word for m in metrics for word in ([m, f"{m}_sem"] if m in known else [m])]
    names = [n for n, p in definition.by_name.items() if p.type != "derived"]
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow([*names, *columns])
    for row in rows:
        cells = [_cell(row.parameters.get(name)) for name in names]
        for metric in metrics:
            mean, sem = row.metrics.get(metric, (None, None))
            cells += [_cell(mean)] + ([_cell(sem)] if metric in known else [])
        out.writerow(cells)
    return file.getvalue()


def _cell(value: Value | None) -> str:
    return "" if value is None else text_of(value)
