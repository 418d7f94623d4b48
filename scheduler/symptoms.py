"""Search the output of a failed attempt for the patterns of ``failures.log_policies``."""

import re
from collections.abc import Iterator
from pathlib import Path

from runners.base import STDERR, STDOUT
from scheduler.advance import Symptom
from scheduler.jobs import tasks_of
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.trial import Trial
from scheduler.output import tail

TAIL = 256 * 1024
"""Bytes of each file that are searched, its last ones."""
TOGETHER = 8 * 1024 * 1024
"""Bytes that are searched of a trial with many tasks."""
LONGEST = 4000
"""Characters of a line that are searched, which bounds what a pattern costs."""
SHOWN, BEFORE = 200, 60
"""Characters of a line that are kept, of these before the match."""


def symptom(definition: ExperimentDefinition, trial: Trial, root: Path) -> Symptom | None:
    """Return the first log policy that a line of the present attempt meets, or None.

    Policies are tried in the order of the definition, each over all files from their beginning.
    """
    policies = definition.failures.log_policies
    lines = list(_lines(definition, trial, root)) if policies else []
    for policy in policies:
        pattern = re.compile(policy.pattern)
        for file, line in lines:
            if match := pattern.search(line):
                return Symptom(policy, _cut(line, match.start()), file)
    return None


def _lines(
    definition: ExperimentDefinition, trial: Trial, root: Path
) -> Iterator[tuple[str, str]]:
    """Yield (file, line) of the ends of all output; both kinds of line ends count."""
    places = tasks_of(definition, trial, root)
    size = min(TAIL, TOGETHER // (2 * len(places)))
    for place in places:
        for name in (STDERR, STDOUT):
            file = name if len(places) == 1 else f"{place.directory.name}/{name}"
            text = tail(place.directory / name, size).decode(errors="replace")
            for line in re.split(r"[\r\n]+", text):
                yield file, line[:LONGEST]


def _cut(line: str, start: int) -> str:
    """Return what a sentence has room for around the match, in one line."""
    begin = max(0, start - BEFORE)
    text = "".join(c if c.isprintable() else " " for c in line[begin : begin + SHOWN])
    return f"{'...' if begin else ''}{text.strip()}{'...' if len(line) > begin + SHOWN else ''}"
