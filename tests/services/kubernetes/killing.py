"""Kills of schedd at the requests that it makes of a fake cluster, each named for ever.

A request is counted by what it asks and of which attempt of which trial, so that a step is the
same one in every run, however the trials of several experiments mix.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from subprocess import Popen

from services.kubernetes.cluster import FakeCluster
from services.kubernetes.faults import Answer, Effect, Fault, Request, drop

CHANGING = frozenset({"create", "patch", "update", "delete"})


@dataclass(frozen=True, order=True)
class Step:
    """A request, and whether it takes effect before the kill."""

    verb: str
    resource: str
    of: str
    """Whose Job: ``plain 1 a2``; empty for a list."""
    nth: int
    takes_effect: bool

    def __str__(self) -> str:
        when = "after" if self.takes_effect else "before"
        return f"{when} {self.verb} {self.resource} of {self.of or 'all'}, number {self.nth}"

    @property
    def changes(self) -> bool:
        return self.verb in CHANGING


class Names:
    """Which attempt a request is about: told by the labels with which its Job was made."""

    def __init__(self) -> None:
        self._experiments: dict[str, str] = {}
        """By the token in the names of its Jobs."""

    def of(self, request: Request) -> str:
        """Return the attempt, empty for a request about none."""
        name = request.name
        if request.verb == "create" and isinstance(request.body, dict):
            labels = request.body["metadata"].get("labels") or {}
            name = str(request.body["metadata"].get("name", ""))
            if name.startswith("schedd-"):
                token = name.split("-")[1]
                self._experiments[token] = labels["schedd.io/experiment"]
        elif request.verb == "list":
            selector = request.query.get("labelSelector", "")
            name = selector.partition("=")[2]
        parts = name.split("-")
        if len(parts) < 4 or parts[1] not in self._experiments:
            return ""
        return f"{self._experiments[parts[1]]} {parts[2].removeprefix('t')} {parts[3]}"


@dataclass
class Kill(Fault):
    """Ends a process at a step, with its request or without."""

    of: str = ""
    names: Names = field(default_factory=Names)

    def strikes(self, request: Request) -> bool:
        return self.names.of(request) == self.of and super().strikes(request)


def arm(cluster: FakeCluster, names: Names, step: Step, process: Popen[str]) -> None:
    """Let ``process`` be killed at ``step``, counted from now, and nothing else happen."""
    effect = _killed(process.pid)
    fault = Kill(
        before=None if step.takes_effect else _instead(effect),
        after=effect if step.takes_effect else None,
        verb=step.verb,
        resource=step.resource,
        nth=step.nth,
        of=step.of,
        names=names,
    )
    cluster.front.faults[:] = [fault]


def _killed(pid: int) -> Effect:
    def kill() -> Answer | None:
        os.kill(pid, signal.SIGKILL)
        return None

    return kill


def _instead(effect: Effect) -> Effect:
    """Return an effect after which the request is as if it had never been sent."""

    def act() -> Answer | None:
        effect()
        return drop()

    return act


def steps(requests: Iterable[Request]) -> list[Step]:
    """Return every step of a run."""
    names, seen = Names(), Counter[tuple[str, str, str]]()
    found = []
    for request in requests:
        key = request.verb, request.resource, names.of(request)
        seen[key] += 1
        found += [Step(*key, seen[key], takes_effect) for takes_effect in (False, True)]
    return found


def representative(found: Iterable[Step]) -> Iterator[Step]:
    """Yield every step that changes something, and of each kind of read the first and others."""
    for step in found:
        if step.changes or step.nth in (1, 2, 5, 10, 20):
            yield step
