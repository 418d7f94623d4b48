"""The Kubernetes runner on a real API server, where ``KUBECONFIG`` names one.

By default the same tests run on the fake, with nodes that run pods, without any, and without any
controller, so that they are known to work on each kind of cluster: a whole one, a control plane,
an API server on etcd alone. What needs a node says so and is skipped.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from services.kubernetes import place as places
from services.kubernetes import real, schema
from services.kubernetes.place import Place
from services.kubernetes.runner import batch, job, look, shell, text

from runners.base import JobReport, JobState, Rejected, Resources, Unavailable
from runners.kube import jobs, observe
from runners.kube.api import Api
from runners.testing import deploy, ref_to

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
ROLE = Path(__file__).parent.parent / "configs/kubernetes/role.yaml"
PATIENCE = 180.0
"""Seconds that a real cluster may take for a pod."""


FAKES = {
    "nodes": {},
    "no nodes": {"nodes": False},
    "no controllers": {"nodes": False, "controllers": False},
}
"""What a fake cluster lacks."""


@pytest.fixture(params=[*FAKES, pytest.param("real", marks=pytest.mark.kubernetes)])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    if request.param == "real" and (why := real.why_not()):
        pytest.skip(why)
    lacks = FAKES.get(request.param)
    made = places.on_cluster(tmp_path) if lacks is None else places.fake(tmp_path, **lacks)
    with made as found:
        if not found.runs_pods:  # nor is there any output
            monkeypatch.setattr(observe, "OUTPUT_PATIENCE", 0.0)
        yield found


def until(
    place: Place, runner, what, *states: JobState, job_id=None, holds=lambda _report: True
) -> JobReport:
    """Poll until a report is as it should be, and return it."""
    seen: list[JobReport | None] = []

    def reached() -> bool:
        seen.append(look(runner, what, job_id))
        report = seen[-1]
        return report is not None and report.state in states and holds(report)

    place.wait(PATIENCE, reached)
    assert seen[-1] is not None
    return seen[-1]


def pods_appear(place: Place, what, number: int = 1) -> list[dict]:
    place.wait(PATIENCE, lambda: len(place.pods(what.name)) == number)
    return place.pods(what.name)


def end(place: Place, what, code: int, reason: str = "") -> None:
    """Let the pods of a job end as they should, where no node does it."""
    if place.runs_pods:
        return
    for pod in pods_appear(place, what, len(what.tasks)):
        word = reason or ("Error" if code else "Completed")
        ended = {"exitCode": code, "reason": word, "message": '{"x": {"x": 0.5}}'}
        state = {"terminated": ended}
        place.set_container(pod, state, "Failed" if code else "Succeeded")


def test_a_job_is_created_suspended_and_runs_once_its_id_is_stored(place, tmp_path):
    one = shell(tmp_path, 'echo "{\\"x\\": $(cat "$SCHEDD_TRIAL_DIR"/parameters.json)}"; pwd')
    directory = str(one.tasks[0].directory)
    task = replace(one.tasks[0], env={**one.tasks[0].env, "SCHEDD_TRIAL_DIR": directory})
    one = replace(one, tasks=(task,))
    with closing(place.runner()) as runner:
        uid = runner.submit([one])[one.name]
        assert isinstance(uid, str), uid
        report = look(runner, one, uid)
        assert (report.state, report.job_id) == (JobState.QUEUED, uid)
        assert place.probe.get("jobs", one.name).body["spec"]["suspend"] is True
        assert place.pods(one.name) == []
    with closing(place.runner()) as runner:
        assert runner.submit([one]) == {one.name: uid}
        runner.stored([ref_to(one, uid)])
        pods_appear(place, one)
        end(place, one, 0)
        report = until(place, runner, one, JobState.SUCCEEDED, JobState.FAILED)
    assert (report.state, report.exit_code) == (JobState.SUCCEEDED, 0), report
    assert text(one, "metrics.jsonl") == '{"x": {"x": 0.5}}\n'
    place.wait(PATIENCE, lambda: place.probe.get("jobs", one.name).code == 404)


@pytest.mark.parametrize(
    ("code", "word", "state", "reason"),
    [(3, "", JobState.FAILED, "EXIT_CODE"), (137, "OOMKilled", JobState.FAILED, "OOM")],
)
def test_how_a_job_fails(place, tmp_path, code, word, state, reason):
    if place.runs_pods and word:
        pytest.skip("memory is not exhausted on purpose")
    one = shell(tmp_path, f"echo broken; exit {code}")
    with closing(place.runner(keep_failed=True)) as runner:
        deploy(runner, one)
        end(place, one, code, word)
        report = until(place, runner, one, JobState.SUCCEEDED, JobState.FAILED)
        assert (report.state, report.reason) == (state, reason)
    assert len({pod["metadata"]["uid"] for pod in place.pods(one.name)}) == 1
    if place.runs_pods:
        assert text(one) == "broken\n"


def test_what_a_pod_writes_is_brought_as_it_runs(place, tmp_path):
    if not place.runs_pods:
        pytest.skip("no node here runs Pods, so they write nothing")
    one = shell(tmp_path, "echo first; trap 'echo last; exit' TERM; sleep 3600 & wait")
    with closing(place.runner()) as runner:
        uid = deploy(runner, one)[one.name]
        until(place, runner, one, JobState.RUNNING, holds=lambda _report: "first" in output(one))
        runner.cancel([ref_to(one, uid)])
        until(place, runner, one, JobState.CANCELLED)
    assert output(one).startswith("first\n")


def output(what) -> str:
    log = what.tasks[0].directory / "stdout.log"
    return log.read_text() if log.exists() else ""


def test_a_held_job_starts_when_it_is_released(place, tmp_path):
    one = shell(tmp_path, "true", hold=True)
    with closing(place.runner()) as runner:
        uid = deploy(runner, one)[one.name]
        until(place, runner, one, JobState.HELD)
        assert place.pods(one.name) == []
        runner.release([ref_to(one, uid)])
        pods_appear(place, one)
        end(place, one, 0)
        until(place, runner, one, JobState.SUCCEEDED, JobState.INTERRUPTED)


def test_what_others_suspend_and_resume_is_followed(place, tmp_path):
    one = shell(tmp_path, "sleep 3600")
    with closing(place.runner()) as runner:
        deploy(runner, one)
        pods_appear(place, one)
        place.set_suspended(one.name, True)
        pods_appear(place, one, 0)
        assert until(place, runner, one, JobState.QUEUED).message
        place.set_suspended(one.name, False)
        pods_appear(place, one)
        if place.runs_pods:
            until(place, runner, one, JobState.RUNNING)


def test_a_cancelled_job_is_deleted_and_no_other_one(place, tmp_path):
    one, two = (shell(tmp_path, "sleep 3600", name=name) for name in ("one", "two"))
    with closing(place.runner()) as runner:
        ids = deploy(runner, one, two)
        pods_appear(place, one)
        runner.cancel([ref_to(one, ids["one"]), ref_to(two, ids["one"])])
        assert until(place, runner, one, JobState.CANCELLED).state is JobState.CANCELLED
        assert place.pods("one") == []
        assert place.probe.get("jobs", "one").code == 404
        assert "deletionTimestamp" not in place.probe.get("jobs", "two").body["metadata"]


@pytest.mark.parametrize("seconds", [0, 3600])
def test_what_is_over_is_deleted_if_it_is_the_one_that_is_meant(place, tmp_path, seconds):
    another = "5f3c8c5e-0000-0000-0000-000000000000"
    one = job(tmp_path)
    api = Api(kubeconfig=place.probe.kubeconfig, namespace=place.probe.namespace)
    with closing(place.runner()) as runner, closing(api):
        uid = runner.submit([one])[one.name]
        jobs.dispose(api, one.name, another, seconds)
        found = place.probe.get("jobs", one.name)
        assert (found.code, found.body["spec"].get("ttlSecondsAfterFinished")) == (200, None)
        jobs.dispose(api, one.name, uid, seconds)
        found = place.probe.get("jobs", one.name)
        assert found.code == 404 or found.body["spec"]["ttlSecondsAfterFinished"] == seconds


def test_a_job_that_somebody_deletes_is_lost(place, tmp_path):
    one = shell(tmp_path, "sleep 3600")
    with closing(place.runner()) as runner:
        uid = deploy(runner, one)[one.name]
        place.probe.delete("jobs", one.name, propagationPolicy="Background")
        until(place, runner, one, JobState.LOST, job_id=uid)


def test_the_arms_of_a_batch_are_the_indexes_of_one_job(place, tmp_path):
    two = batch(tmp_path, "echo first", "echo second")
    with closing(place.runner()) as runner:
        deploy(runner, two)
        pods_appear(place, two, 2)
        end(place, two, 0)
        assert until(place, runner, two, JobState.SUCCEEDED, JobState.FAILED).exit_code == 0
    if place.runs_pods:
        assert [text(two, task=i) for i in (0, 1)] == ["first\n", "second\n"]


def test_a_quota_of_jobs_is_no_failure(place, tmp_path):
    place.set_quota(count__jobs_batch="1")
    with closing(place.runner()) as runner:
        answers = runner.submit([job(tmp_path, name=name) for name in ("one", "two")])
    assert isinstance(answers["one"], str)
    assert isinstance(answers["two"], Unavailable)
    assert "exceeded quota" in str(answers["two"])


def test_a_quota_of_pods_is_told(place, tmp_path):
    place.set_quota(pods="0")
    one = job(tmp_path)
    with closing(place.runner()) as runner:
        deploy(runner, one)
        until(place, runner, one, JobState.QUEUED, holds=lambda report: "quota" in report.message)


def test_the_documented_role_is_enough_and_no_more_than_is_needed(place, tmp_path):
    role = yaml.safe_load(ROLE.read_text())
    one = shell(tmp_path, "sleep 3600", name="one")
    with closing(place.runner(place.limited(role))) as runner:
        assert all(works for works, _ in runner.check()), runner.check()
        uid = deploy(runner, one)[one.name]
        assert look(runner, one, uid).state in (JobState.QUEUED, JobState.RUNNING)
        runner.cancel([ref_to(one, uid)])
        assert until(place, runner, one, JobState.CANCELLED).state is JobState.CANCELLED
        runner.examine(one)
        assert isinstance(runner.submit([one])[one.name], str)


FORBIDDEN = (
    ("create", "", "pods", ""),
    ("delete", "", "pods", ""),
    ("create", "", "pods", "exec"),
    ("get", "", "secrets", ""),
    ("list", "", "secrets", ""),
    ("list", "", "configmaps", ""),
    ("update", "batch", "jobs", ""),
    ("create", "apps", "deployments", ""),
    ("create", "rbac.authorization.k8s.io", "rolebindings", ""),
)


def test_the_documented_role_gives_nothing_else(place, tmp_path):
    config = place.limited(yaml.safe_load(ROLE.read_text()))
    limited = places.Probe(config, place.probe.namespace)
    for asked in FORBIDDEN:
        assert not places.allows(limited, *asked), asked


ALL = {
    "env_secrets": ["keys"],
    "volumes": [{"mount": "/data", "claim": "datasets", "read_only": True}],
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "gpu_resource": "example.org/gpu",
    "queue": "trials",
    "service_account": "trainer",
}
NEEDS = Resources(cpus=2, gpus=1, memory=1 << 30, time=3600)


def test_a_server_takes_whatever_can_be_asked_for(place, tmp_path):
    one = job(tmp_path, resources=NEEDS, avoid=("node-1", "node-2"), hold=True, workdir=tmp_path)
    with closing(place.runner(**ALL)) as runner:
        runner.examine(one)
        runner.examine(replace(batch(tmp_path, "true", "false"), resources=NEEDS))


def test_a_dry_run_leaves_nothing_and_finds_what_is_wrong(place, tmp_path):
    one = job(tmp_path)
    with closing(place.runner()) as runner:
        runner.examine(one)
        assert place.probe.get("jobs", one.name).code == 404
    with (
        closing(place.runner(node_selector={"no key!": "x"})) as runner,
        pytest.raises(Rejected, match="no key!"),
    ):
        runner.examine(one)
