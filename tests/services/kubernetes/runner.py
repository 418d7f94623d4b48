"""The runner under test, and jobs for it, as tests need them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from services.kubernetes.cluster import FakeCluster

from runners.base import Job, JobReport, Task
from runners.kube.options import KubernetesOptions
from runners.kubernetes import KubernetesRunner
from runners.testing import ref_to

TIMEOUT = 5.0
"""Seconds after which a request has failed; a test of silence sets fewer."""


def options(cluster: FakeCluster, **given: Any) -> KubernetesOptions:
    """Return the section of the YAML."""
    values = {"image": "busybox:1", "request_timeout": TIMEOUT}
    return KubernetesOptions.model_validate(
        {"kubeconfig": str(cluster.kubeconfig), **values, **given}
    )


def make(cluster: FakeCluster, **given: Any) -> KubernetesRunner:
    """Return a new runner that polls, and brings output, as often as it is asked to."""
    runner = KubernetesRunner(options(cluster, **given), lambda: None)
    runner.poll_floor = runner._observer.courier.longest_rest = 0.0
    return runner


def host_path(path: Path) -> dict:
    """Return a template whose pods see a folder of this machine under its own name."""
    volume = {"name": "shared", "hostPath": {"path": str(path)}}
    mount = {"name": "shared", "mountPath": str(path)}
    container = {"name": "trial", "volumeMounts": [mount]}
    return {"kind": "Pod", "spec": {"volumes": [volume], "containers": [container]}}


def job(folder: Path, *argv: str, name: str = "schedd-1f2e3d4c-t1-a1", **fields: Any) -> Job:
    """Return a job of one task with one parameter."""
    task = Task(
        "1_0",
        argv or ("true",),
        folder / name,
        env={"SCHEDD_TRIAL_INDEX": "1", "SCHEDD_ATTEMPT": "1", "SCHEDD_EXPERIMENT": "tests"},
        files={"parameters.json": '{"x": 0.5}'},
    )
    return Job(name, (task,), **fields)


def shell(folder: Path, script: str, **fields: Any) -> Job:
    return job(folder, "sh", "-c", script, **fields)


def batch(folder: Path, *scripts: str, name: str = "schedd-1f2e3d4c-t1-a1") -> Job:
    """Return a job with a task for each shell script."""
    one = job(folder, name=name)
    return replace(
        one,
        tasks=tuple(
            replace(
                one.tasks[0],
                name=f"1_{i}",
                directory=folder / name / f"1_{i}",
                argv=("sh", "-c", s),
            )
            for i, s in enumerate(scripts)
        ),
    )


def look(runner: KubernetesRunner, job: Job, job_id: str | None = None) -> JobReport | None:
    """Return what one poll says of a job."""
    return runner.poll([ref_to(job, job_id)]).get(job.name)


def text(job: Job, name: str = "stdout.log", task: int = 0) -> str:
    """Return a file of a task's folder."""
    return (job.tasks[task].directory / name).read_text()
