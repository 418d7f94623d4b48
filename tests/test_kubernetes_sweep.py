"""Kill the real ``schedd run`` around every request it makes of a cluster, then go on.

No trial is lost, none is stuck, no body runs twice and no Job is made twice. A sample runs by
default; ``make sweep`` runs every point, and pairs of points.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from services.kubernetes import schema
from services.kubernetes.bed import GIVEN, ClusterBed
from services.kubernetes.cluster import FakeCluster
from services.kubernetes.faults import call

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
AT_ONCE = 2 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class Point:
    """A request, counted by its kind; and whether it has taken effect."""

    verb: str
    resource: str
    nth: int
    when: str

    def __str__(self) -> str:
        return f"{self.when} {self.verb} {self.resource} {self.nth}"


SAMPLE = [
    Point("create", "jobs", 2, "after"),
    Point("patch", "jobs", 1, "before"),
    Point("patch", "jobs", 2, "after"),
    Point("get", "pods/log", 1, "after"),
    Point("delete", "jobs", 1, "after"),
]
"""Between Job and id, id and start, start and its answer, output and outcome, outcome and its
being told."""


def points(folder: Path) -> list[Point]:
    """Return every point of an undisturbed run."""
    with FakeCluster(folder / "cluster") as cluster:
        bed = ClusterBed(folder / "bed", cluster)
        assert bed.drive().status == 0, bed.faults
        made = Counter((r.verb, r.resource) for r in cluster.front.requests)
    kinds = [(verb, on, i) for (verb, on), n in made.items() for i in range(1, n + 1)]
    return [Point(*kind, when) for kind, when in product(kinds, ("before", "after"))]


def swept(folder: Path, kills: Sequence[Point]) -> list[str]:
    """Return what is wrong in the end with a run that is killed so, one process after another."""
    folder.mkdir()
    with FakeCluster(folder / "cluster") as cluster:
        bed, died = ClusterBed(folder / "bed", cluster), 0
        for number, point in enumerate(kills):
            cluster.front.faults.clear()
            process = bed.start("run" if number == 0 else "resume")
            kill = call(lambda pid=process.pid: os.kill(pid, signal.SIGKILL))
            on = {"verb": point.verb, "resource": point.resource, "nth": point.nth}
            cluster.fault(**{point.when: kill}, **on)
            died += bed.wait(process).killed
        cluster.front.faults.clear()
        bed.finish("resume" if bed.folder.joinpath("schedd.db").exists() else "run")
        found = bed.check([(i, n, f'{{"x": {x}}}') for i, (n, x) in enumerate(ARMS)])
        made = Counter(r.name or body_name(r.body) for r in cluster.front.requests if created(r))
        twice = [name for name, times in made.items() if times > 1]
        killed = [] if died or number else [f"nothing was killed {kills}"]
        bodies = Counter(pod["metadata"]["labels"]["job-name"] for pod in cluster.pods())
        return [*found, *twice, *killed, *(n for n, times in bodies.items() if times > 1)]


ARMS = (("a", 0.25), ("b", 0.5), ("c", 0.75))


def created(request) -> bool:
    return (request.verb, request.resource, request.code) == ("create", "jobs", 201)


def body_name(body) -> str:
    return str(body["metadata"]["name"])


def all_swept(folder: Path, cases: Sequence[Sequence[Point]]) -> dict[str, list[str]]:
    """Return what is wrong with each case; nothing of those with which all is well."""

    def one(numbered: tuple[int, Sequence[Point]]) -> tuple[str, list[str]]:
        number, kills = numbered
        return ", ".join(map(str, kills)), swept(folder / str(number), kills)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(pool.map(one, enumerate(cases)))
    return {case: faults for case, faults in found.items() if faults}


def test_a_kill_at_any_step_of_a_submission_costs_nothing(tmp_path):
    assert all_swept(tmp_path, [[point] for point in SAMPLE]) == {}


@pytest.mark.sweep
@pytest.mark.timeout(1800)
def test_a_kill_around_any_request_costs_nothing(tmp_path):
    found = points(tmp_path)
    assert len(found) >= 30
    assert all_swept(tmp_path, [[point] for point in found]) == {}


@pytest.mark.sweep
@pytest.mark.timeout(1800)
def test_nor_do_two_kills(tmp_path):
    found, draw = points(tmp_path), random.Random(1)
    assert all_swept(tmp_path, [draw.sample(found, 2) for _ in range(100)]) == {}


TOO_LONG = {
    "total_trials: 3, max_pending_trials: 2": "total_trials: 1, ttl: 1s",
    "NOTES;": "NOTES; sleep 3600;",
    "  - {name: b, parameters: {x: 0.5}}\n": "",
    "  - {name: c, parameters: {x: 0.75}}\n": "",
}


@pytest.mark.sweep
@pytest.mark.parametrize("when", ["before", "after"])
def test_nor_does_one_around_a_cancellation(tmp_path, when):
    text = GIVEN
    for before, instead in TOO_LONG.items():
        assert before in text
        text = text.replace(before, instead)
    with FakeCluster(tmp_path / "cluster") as cluster:
        bed = ClusterBed(tmp_path / "bed", cluster, text)
        process = bed.start("run")
        cluster.fault(**{when: call(lambda: os.kill(process.pid, signal.SIGKILL))}, verb="delete")
        assert bed.wait(process).killed
        bed.go_on("resume")
        found = bed.rows("SELECT status, reason, attempt FROM trial")
        assert (found, bed.faults) == ([("FAILED", "TIMEOUT", 1)], [])
        assert (bed.ran(), cluster.pods()) == ({"0 1": 1}, [])
