"""The runner contract for Kubernetes: with a disk that the pods share, and without one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from services.kubernetes import schema
from services.kubernetes.cluster import FakeCluster
from services.kubernetes.runner import host_path, make

from runners.base import Job, Runner
from runners.testing import RunnerContract

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path / "cluster") as cluster:
        yield cluster
        assert cluster.api.warnings == []


class TestWithASharedDisk(RunnerContract):
    @pytest.fixture
    def make_runner(self, cluster: FakeCluster, tmp_path: Path) -> Callable[[], Runner]:
        return lambda: make(cluster, template=host_path(tmp_path))


class TestWithoutASharedDisk(RunnerContract):
    """What a task wrote is told by its output alone."""

    @pytest.fixture
    def make_runner(self, cluster: FakeCluster) -> Callable[[], Runner]:
        cluster.api.restricted = True
        return lambda: make(cluster)

    def job(self, folder: Path, script: str = "exit 0", name: str = "contract", n: int = 1) -> Job:
        made = super().job(folder, script, name, n)
        told = tuple(
            replace(task, argv=(*task.argv[:2], f"echo ran; {task.argv[2]}", *task.argv[3:]))
            for task in made.tasks
        )
        return replace(made, tasks=told)

    def runs(self, job: Job) -> list[int]:
        logs = [task.directory / "stdout.log" for task in job.tasks]
        return [log.read_text().split().count("ran") if log.exists() else 0 for log in logs]
