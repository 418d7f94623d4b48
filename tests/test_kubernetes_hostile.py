"""A server whose objects are not what they should be: one that is spoilt hides no other."""

import copy
import json
import random
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services.kubernetes import schema
from services.kubernetes.cluster import NAMESPACE, FakeCluster
from services.kubernetes.containers import Script
from services.kubernetes.faults import Answer
from services.kubernetes.runner import batch, job, make

from runners.base import JobReport, Unavailable
from runners.kube import api
from runners.kubernetes import KubernetesRunner
from runners.testing import deploy, ref_to

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
VALUES: tuple[Any, ...] = (None, {}, [], "", "x", -1, 10**30, True, [None], {"x": None})
SAMPLE = 60
Path_ = tuple[Any, ...]
Case = tuple[str, int, Path_, object]
"""Of which resource's list which object is spoilt where, and by what."""


def paths(item: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Yield where something is in an object."""
    children = item.items() if isinstance(item, dict) else enumerate(item)
    for key, value in children:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*at, key))


def spoilt(item: dict, at: Path_, value: object) -> dict:
    found = copy.deepcopy(item)
    place: Any = found
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    return found


class Spoiler:
    """Serves lists in which one object is not what it should be."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.put: dict[str, dict] = {}
        """By resource, the list that is answered."""
        for resource in ("jobs", "pods"):
            cluster.fault(
                before=lambda resource=resource: self._answer(resource),
                verb="list",
                resource=resource,
                times=10**9,
            )

    def _answer(self, resource: str) -> Answer | None:
        found = self.put.get(resource)
        return None if found is None else Answer(200, json.dumps(found).encode())

    def cases(self, names: set[str]) -> list[Case]:
        """Return every way to spoil one of the objects of some jobs."""
        return [
            (resource, number, at, value)
            for resource in ("jobs", "pods")
            for number, item in enumerate(self._whole(resource)["items"])
            if {item["metadata"]["name"], (item["metadata"].get("labels") or {}).get("job-name")}
            & names
            for at in paths(item)
            for value in VALUES
        ]

    def spoil(self, case: Case) -> None:
        resource, number, at, value = case
        found = self._whole(resource)
        found["items"][number] = spoilt(found["items"][number], at, value)
        self.put = {resource: found}

    def _whole(self, resource: str) -> dict:
        return self.cluster.store.page(resource, NAMESPACE, lambda _: True, {})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    monkeypatch.setattr(api, "_AGAIN", (0.0, 0.0))
    with FakeCluster(tmp_path / "cluster", Script()) as cluster:
        yield cluster


def check(runner: KubernetesRunner, refs: list, whole: JobReport) -> str:
    """Return what is wrong with one look at a spoilt and a whole job."""
    try:
        found = runner.poll(refs)
    except Unavailable:
        return ""
    except Exception as broken:
        return "".join(traceback.format_exception(broken)[-2:])
    if found.get("whole") != whole:
        return f"the other job is hidden: {found.get('whole')}"
    return ""


def trouble(cluster: FakeCluster, runner: KubernetesRunner, folder: Path, sample: int) -> set[str]:
    one, two = batch(folder, "true", "true", name="spoilt"), job(folder, name="whole")
    uids = deploy(runner, one, two)
    refs = [ref_to(what, uids[what.name]) for what in (one, two)]
    cluster.end("spoilt", 3, at=0)
    whole = runner.poll(refs)["whole"]
    spoiler = Spoiler(cluster)
    cases = spoiler.cases({"spoilt"})
    if sample:
        cases = random.Random(5).sample(cases, sample)
    found = set()
    for case in cases:
        spoiler.spoil(case)
        for record in (folder / "spoilt").rglob("kubernetes.json"):
            record.unlink()
        if wrong := check(runner, refs, whole):
            found.add(f"{case[0]}: {wrong}")
    return found


def test_one_spoilt_object_hides_no_other(cluster, tmp_path):
    assert trouble(cluster, make(cluster), tmp_path, SAMPLE) == set()


@pytest.mark.sweep
def test_nor_does_any_other(cluster, tmp_path):
    assert trouble(cluster, make(cluster), tmp_path, 0) == set()
