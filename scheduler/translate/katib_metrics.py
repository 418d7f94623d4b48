"""How Katib collects metrics, as fetchers that read what a trial prints. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from scheduler.translate.node import Node
from scheduler.translate.result import Losses

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_REDUCE = {"min": "min", "max": "max", "latest": "last"}
_WHY = "schedd reads what a trial prints, such as NAME=0.1"


def add_metrics(spec: Node, definition: dict[str, Any], losses: Losses) -> Mapping[str, str]:
    """Add the metrics to a definition; return which value of each Katib takes.

    That is ``min``, ``max`` or ``latest``; by default it follows from the objective's type.
    """
    objective = spec["objective"]
    names = [objective["objectiveMetricName"].text()]
    names += [each.text() for each in objective["additionalMetricNames"].items()]
    default = "min" if objective["type"].text() == "minimize" else "max"
    given = {
        each["name"].text(): each["value"].text() for each in objective["metricStrategies"].items()
    }
    strategies = {name: given.get(name, default) for name in names}
    pattern = _format(spec["metricsCollectorSpec"], losses)
    definition["metrics"] = {
        name: {
            "fetcher": {"type": "regex", "pattern": _pattern(name, pattern)},
            "reduce": _REDUCE.get(strategies[name], "last"),
        }
        for name in names
    }
    return strategies


def _format(collector: Node, losses: Losses) -> str | None:
    """Return the format of the lines with metrics, if it is not ``NAME=0.1``."""
    kind = collector["collector"]["kind"]
    source = collector["source"]
    path = source["fileSystemPath"]["path"]
    if kind.text("StdOut") == "File":
        where = path.text("/var/log/katib/metrics.log")
        losses.add(f"metrics in the file {where}", _WHY, path.place or kind.place)
    elif kind.text("StdOut") not in ("StdOut", "None"):
        losses.add(f"the metrics collector {kind.text()}", _WHY, kind.place)
    formats = source["filter"]["metricsFormat"].items()
    for other in formats[1:]:
        losses.add(f"metricsFormat {other.text()!r}", "the first one is used", other.place)
    if not formats:
        json = source["fileSystemPath"]["format"].text("TEXT") == "JSON"
        return rf'"([\w|-]+)"\s*:\s*"?({_NUMBER})' if json else None
    text = formats[0].text()
    if _with_name(text, "x") is None:
        why = (
            "it is no pattern with a group for the name and one for the value, as Python has them"
        )
        losses.add(f"metricsFormat {text!r}", why, formats[0].place)
        return None
    return text


def _pattern(name: str, given: str | None) -> str:
    own = given and _with_name(given, name)
    return own or rf"(?:^|[^\w|-]){re.escape(name)}\s*=\s*(?P<value>{_NUMBER})"


def _with_name(pattern: str, name: str) -> str | None:
    """Return a pattern with its first group replaced by ``name``, its second called value."""
    groups = _groups(pattern)
    if len(groups) != 2:
        return None
    (start, end), (value, _) = groups
    made = (
        f"{pattern[:start]}{re.escape(name)}{pattern[end:value]}(?P<value>{pattern[value + 1 :]}"
    )
    try:
        re.compile(made)
    except (re.error, OverflowError, RecursionError):
        return None
    return made


def _groups(pattern: str) -> list[tuple[int, int]]:
    """Return where the capturing groups lie that are in no other one."""
    found: list[tuple[int, int]] = []
    opened: list[int] = []
    for token in re.finditer(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?[^)]?)?|\)", pattern):
        if token[0].startswith("("):
            opened.append(token.start() if token[0] == "(" else -1)
        elif token[0] == ")" and opened:
            start = opened.pop()
            if start >= 0 and not any(each >= 0 for each in opened):
                found.append((start, token.end()))
    return found
