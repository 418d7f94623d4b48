"""What tests of the runner stand on: a cluster of the fake server, and a runner that asks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from services.kubernetes.cluster import FakeCluster
from services.kubernetes.containers import Script
from services.kubernetes.runner import make

from runners.base import RunnerError
from runners.kube import api
from runners.kubernetes import KubernetesRunner
from runners.testing import deploy


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    monkeypatch.setattr(api, "_AGAIN", (0.0, 0.0))
    with FakeCluster(tmp_path / "cluster", Script()) as cluster:
        yield cluster
        assert cluster.api.warnings == []


@pytest.fixture
def runner(cluster: FakeCluster) -> Iterator[KubernetesRunner]:
    runner = make(cluster)
    yield runner
    runner.close()


def start(runner: KubernetesRunner, what) -> str:
    return deploy(runner, what)[what.name]


def submitted(runner: KubernetesRunner, what) -> str | RunnerError:
    return runner.submit([what])[what.name]


def asked(cluster: FakeCluster, verb: str, resource: str = "jobs") -> int:
    return sum((r.verb, r.resource) == (verb, resource) for r in cluster.front.requests)
