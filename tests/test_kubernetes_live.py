"""The Kubernetes runner on a real API server, where ``KUBECONFIG`` names one.

By default the same tests run on the fake, with nodes that run pods and without any, so that they
are known to work. On a control plane without nodes they say themselves how pods end; without
the Job controller they fail.
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

from runners.base import JobState, Rejected, Unavailable
from runners.kube import observe
from runners.testing import deploy, ref_to, wait_for

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
ROLE = Path(__file__).parent.parent / "configs/kubernetes/role.yaml"
PATIENCE = 180.0
"""Seconds that a real cluster may take for a pod."""


@pytest.fixture(params=["nodes", "no nodes", pytest.param("real", marks=pytest.mark.kubernetes)])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    if request.param == "real":
        if why := real.why_not():
            pytest.skip(why)
        with places.on_cluster(tmp_path) as found:
            if not found.runs_pods:
                monkeypatch.setattr(observe, "OUTPUT_PATIENCE", 0.0)
            yield found
        return
    if request.param == "no nodes":
        monkeypatch.setattr(observe, "OUTPUT_PATIENCE", 0.0)
    with places.fake(tmp_path, nodes=request.param == "nodes") as found:
        yield found


def until(runner, what, *states: JobState):
    return wait_for(runner, what, lambda report: report.state in states, PATIENCE)


def pods_appear(place: Place, what, number: int = 1) -> list[dict]:
    real.wait(PATIENCE, lambda: len(place.pods(what.name)) == number)
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
        report = until(runner, one, JobState.SUCCEEDED, JobState.FAILED)
    assert (report.state, report.exit_code) == (JobState.SUCCEEDED, 0), report
    assert text(one, "metrics.jsonl") == '{"x": {"x": 0.5}}\n'
    real.wait(PATIENCE, lambda: place.probe.get("jobs", one.name).code == 404)


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
        report = until(runner, one, JobState.SUCCEEDED, JobState.FAILED)
        assert (report.state, report.reason) == (state, reason)
    assert len({pod["metadata"]["uid"] for pod in place.pods(one.name)}) == 1
    if place.runs_pods:
        assert text(one) == "broken\n"


def test_what_others_suspend_and_resume_is_followed(place, tmp_path):
    one = shell(tmp_path, "sleep 3600")
    with closing(place.runner()) as runner:
        deploy(runner, one)
        pods_appear(place, one)
        place.set_suspended(one.name, True)
        pods_appear(place, one, 0)
        assert until(runner, one, JobState.QUEUED).message
        place.set_suspended(one.name, False)
        pods_appear(place, one)
        if place.runs_pods:
            until(runner, one, JobState.RUNNING)


def test_a_cancelled_job_is_deleted_and_no_other_one(place, tmp_path):
    one, two = (shell(tmp_path, "sleep 3600", name=name) for name in ("one", "two"))
    with closing(place.runner()) as runner:
        ids = deploy(runner, one, two)
        pods_appear(place, one)
        runner.cancel([ref_to(one, ids["one"]), ref_to(two, ids["one"])])
        assert until(runner, one, JobState.CANCELLED).state is JobState.CANCELLED
        assert place.pods("one") == []
        assert place.probe.get("jobs", "one").code == 404
        assert "deletionTimestamp" not in place.probe.get("jobs", "two").body["metadata"]


def test_a_job_that_somebody_deletes_is_lost(place, tmp_path):
    one = shell(tmp_path, "sleep 3600")
    with closing(place.runner()) as runner:
        uid = deploy(runner, one)[one.name]
        place.probe.delete("jobs", one.name, propagationPolicy="Background")
        assert look(runner, one, uid).state is JobState.LOST


def test_the_arms_of_a_batch_are_the_indexes_of_one_job(place, tmp_path):
    two = batch(tmp_path, "echo first", "echo second")
    with closing(place.runner()) as runner:
        deploy(runner, two)
        pods_appear(place, two, 2)
        end(place, two, 0)
        assert until(runner, two, JobState.SUCCEEDED, JobState.FAILED).exit_code == 0
    if place.runs_pods:
        assert [text(two, task=i) for i in (0, 1)] == ["first\n", "second\n"]


def test_a_quota_of_jobs_is_no_failure(place, tmp_path):
    set_quota(place, {"count/jobs.batch": "1"})
    with closing(place.runner()) as runner:
        answers = runner.submit([job(tmp_path, name=name) for name in ("one", "two")])
    assert isinstance(answers["one"], str)
    assert isinstance(answers["two"], Unavailable)
    assert "exceeded quota" in str(answers["two"])


def test_a_quota_of_pods_is_told(place, tmp_path):
    set_quota(place, {"pods": "0"})
    one = job(tmp_path)
    with closing(place.runner()) as runner:
        deploy(runner, one)
        report = wait_for(runner, one, lambda report: "quota" in report.message, PATIENCE)
    assert report.state is JobState.QUEUED


def set_quota(place: Place, hard: dict[str, str]) -> None:
    quota = {"metadata": {"name": "few"}, "spec": {"hard": hard}}
    assert place.probe.create("resourcequotas", quota).code == 201
    if place.cluster is None:  # its controller counts first
        real.wait(60, lambda: place.probe.get("resourcequotas", "few").body["status"].get("used"))


def test_the_documented_role_is_enough_and_no_more_than_is_needed(place, tmp_path):
    role = yaml.safe_load(ROLE.read_text())
    one = shell(tmp_path, "sleep 3600", name="one")
    with closing(place.runner(place.limited(role))) as runner:
        assert all(works for works, _ in runner.check()), runner.check()
        uid = deploy(runner, one)[one.name]
        assert look(runner, one, uid).state in (JobState.QUEUED, JobState.RUNNING)
        runner.cancel([ref_to(one, uid)])
        assert until(runner, one, JobState.CANCELLED).state is JobState.CANCELLED
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
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for verb, group, resource, sub in FORBIDDEN:
        asked = {"verb": verb, "group": group, "resource": resource, "subresource": sub}
        review = {"spec": {"resourceAttributes": asked | {"namespace": limited.namespace}}}
        reply = limited.ask("POST", path, review)
        assert reply.body["status"]["allowed"] is False, asked


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
