"""What the Kubernetes runner sees, keeps and ends while the server fails now and then."""

import json

import pytest
from services.kubernetes import schema
from services.kubernetes.bench import asked, cluster, runner, submitted
from services.kubernetes.cluster import NAMESPACE
from services.kubernetes.errors import ApiError
from services.kubernetes.faults import PASSING, call, error, say
from services.kubernetes.runner import host_path, job, look, make, shell, text

from runners.base import JobState, Unavailable
from runners.kube import observe, snapshot
from runners.kubernetes import KubernetesRunner
from runners.testing import deploy, ref_to

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
RUNNING, SUCCEEDED = JobState.RUNNING, JobState.SUCCEEDED


__all__ = ["cluster", "runner"]


def polled(runner: KubernetesRunner, what, job_id=None):
    try:
        return look(runner, what, job_id)
    except Unavailable:
        return None


# -- polling


def test_many_jobs_cost_one_list_of_jobs_and_one_of_pods(cluster, runner, tmp_path):
    jobs = [job(tmp_path, name=f"job-{i}") for i in range(6)]
    refs = [
        ref_to(one, uid) for one, uid in zip(jobs, deploy(runner, *jobs).values(), strict=True)
    ]
    cluster.front.requests.clear()
    assert len(runner.poll(refs)) == 6
    assert (asked(cluster, "list"), asked(cluster, "list", "pods")) == (1, 1)
    assert (asked(cluster, "get"), asked(cluster, "get", "pods")) == (0, 0)


@pytest.mark.parametrize("what", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_a_list_that_fails_is_no_news(cluster, runner, tmp_path, resource, what):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.fault(verb="list", resource=resource, before=what, times=9)
    report = polled(runner, one, uid)
    assert report is None or report.state in (RUNNING, JobState.QUEUED)


BY_NAME = {
    "a gateway's 404": say('{"error": "not found"}', 404),
    "no such API": error(404, "the server could not find the requested resource", "NotFound"),
    "forbidden": error(403, "no"),
    "gone": error(410, "too old", "Expired"),
    **PASSING,
}


@pytest.mark.parametrize("what", BY_NAME.values(), ids=BY_NAME)
def test_a_job_that_lists_lack_is_lost_only_where_the_server_says_so(
    cluster, runner, tmp_path, what
):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.fault(verb="list", resource="jobs", before=EMPTY, times=9)
    assert look(runner, one, uid).state is RUNNING
    cluster.fault(verb="get", resource="jobs", before=what, times=9)
    report = polled(runner, one, uid)
    assert report is None or report.state is RUNNING


EMPTY = say('{"kind": "JobList", "apiVersion": "batch/v1", "metadata": {}, "items": []}')


def test_lists_in_pages_that_expire_are_begun_anew(cluster, runner, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "PAGE", "2")
    jobs = [job(tmp_path, name=f"job-{i}") for i in range(5)]
    refs = [
        ref_to(one, uid) for one, uid in zip(jobs, deploy(runner, *jobs).values(), strict=True)
    ]
    cluster.fault(verb="list", resource="jobs", nth=2, before=call(cluster.store.compact))
    cluster.front.requests.clear()
    assert {report.state for report in runner.poll(refs).values()} == {RUNNING}
    assert asked(cluster, "list") == 2 + 3
    cluster.fault(verb="list", resource="jobs", before=error(410, "expired", "Expired"), times=99)
    with pytest.raises(Unavailable):
        runner.poll(refs)


def test_a_job_that_somebody_deleted_is_lost_and_may_have_run(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    assert look(runner, one, uid).state is RUNNING
    cluster.delete_job(one.name)
    report = look(runner, one, uid)
    assert (report.state, report.may_have_run) == (JobState.LOST, True)
    assert isinstance(submitted(runner, job(tmp_path, name="another")), str)


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made-again-by-somebody"])
def test_a_job_that_is_gone_is_lost_only_when_its_pods_have_ended(
    cluster, runner, tmp_path, again
):
    cluster.runtime.stubborn = True
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    container = cluster.container(one.name)
    copy = cluster.job(one.name)
    cluster.delete_job(one.name)
    if again:
        copy["spec"]["suspend"] = True
        cluster.store.create("jobs", NAMESPACE, copy)
    assert look(runner, one, uid).state is RUNNING
    with cluster.lock:
        container.ended(143, cluster.now())
        cluster.settle()
    assert look(runner, one, uid).state is JobState.LOST


def test_one_job_that_cannot_be_read_hides_no_other(cluster, runner, tmp_path):
    jobs = [job(tmp_path, name=name) for name in ("one", "two")]
    uids = deploy(runner, *jobs)
    with cluster.lock:
        broken = cluster.job("one")
        broken["metadata"]["creationTimestamp"] = None
        broken["status"] = {"conditions": [{"type": "Failed", "status": "True"}], "startTime": 3}
        broken["spec"]["completions"] = None
        cluster.jobs.paused = True
        cluster.store.update("jobs", broken)
    found = runner.poll([ref_to(one, uids[one.name]) for one in jobs])
    assert found["two"].state is RUNNING


# -- credentials


def test_a_token_that_rotates_is_read_again(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.rotate_token("token-2")
    assert look(runner, one, uid).state is RUNNING
    cluster.rotate_token("token-3")
    runner.cancel([ref_to(one, uid)])
    cluster.rotate_token("token-4")
    assert isinstance(submitted(runner, job(tmp_path, name="another")), str)


def test_a_token_that_is_not_valid_any_more_is_no_refusal_of_the_job(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.rotate_token("token-2", tell=False)
    assert isinstance(submitted(runner, job(tmp_path, name="another")), Unavailable)
    for act in (runner.cancel, runner.stored, runner.poll):
        with pytest.raises(Unavailable, match=r"^((?!token-1).)*$"):
            act([ref_to(one, uid)])
    assert cluster.job(one.name)["spec"]["suspend"] is False
    cluster.rotate_token("token-1")
    assert look(runner, one, uid).state is RUNNING


def test_no_secret_is_written_anywhere(cluster, runner, tmp_path):
    cluster.rotate_token("canary-secret")
    one = shell(tmp_path, "true")
    uid = deploy(runner, one)[one.name]
    look(runner, one, uid)
    assert "canary" not in json.dumps(cluster.job(one.name))
    cluster.end(one.name)
    assert look(runner, one, uid).state is SUCCEEDED
    assert "canary" not in runner.render(one)
    files = [path for path in (tmp_path / one.name).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"canary" in path.read_bytes()]


# -- ending


@pytest.mark.parametrize("what", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancellation_without_a_clear_answer_is_asked_again(
    cluster, runner, tmp_path, what, when
):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.fault(verb="delete", **{when: what})
    for _ in range(3):
        try:
            runner.cancel([ref_to(one, uid)])
        except Unavailable:
            continue
        break
    assert look(make(cluster), one, uid).state is JobState.CANCELLED
    assert cluster.pods() == []


def test_a_success_just_before_the_cancellation_is_kept(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.fault(verb="delete", before=lambda: cluster.end(one.name))
    runner.cancel([ref_to(one, uid)])
    assert look(runner, one, uid).state is SUCCEEDED


def test_a_job_is_cancelled_only_when_its_pods_have_ended(cluster, runner, tmp_path):
    cluster.runtime.stubborn = True
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    runner.cancel([ref_to(one, uid)])
    assert look(runner, one, uid).state is RUNNING
    assert look(make(cluster), one, uid).state is RUNNING
    cluster.end(one.name, 0)
    assert look(runner, one, uid).state is JobState.CANCELLED


def test_what_is_cancelled_before_its_start_never_starts(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = submitted(runner, one)
    runner.cancel([ref_to(one)])
    runner.stored([ref_to(one, uid)])
    assert look(runner, one, uid).state is JobState.CANCELLED
    assert cluster.pods() == []


def test_the_next_job_of_a_name_is_never_cancelled(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.delete_job(one.name)
    again = deploy(make(cluster), one)[one.name]
    assert again != uid
    runner.cancel([ref_to(one, uid)])
    assert "deletionTimestamp" not in cluster.job(one.name)["metadata"]


def test_a_node_that_never_answers_does_not_hold_a_trial_for_ever(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    node = cluster.pods()[0]["spec"]["nodeName"]
    cluster.nodes.dead.add(node)
    cluster.disrupt(cluster.pods()[0], "DeletionByTaintManager", "deleting due to NoExecute taint")
    assert look(runner, one, uid).state is RUNNING
    cluster.skip(600)
    states = [look(runner, one, uid) for _ in range(3)]
    assert states[-1].state is JobState.INTERRUPTED
    assert (states[-1].reason, states[-1].node) == ("NODE_FAIL", node)


def test_what_is_not_safe_here_is_not_deleted(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.end(one.name)
    cluster.fault(verb="get", resource="pods/log", before=error(500), times=3)
    assert look(runner, one, uid) is None
    assert cluster.job(one.name)["status"]["succeeded"] == 1
    assert look(runner, one, uid).state is SUCCEEDED
    with pytest.raises(ApiError):
        cluster.job(one.name)
    assert look(make(cluster), one, uid).state is SUCCEEDED


@pytest.mark.parametrize("what", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_end_is_told_when_its_job_is_deleted(cluster, runner, tmp_path, what, when):
    """Nobody asks about it afterwards, so that it would stay for ever."""
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.end(one.name)
    cluster.fault(verb="delete", **{when: what})
    polled(runner, one, uid)
    assert look(runner, one, uid).state is SUCCEEDED
    with pytest.raises(ApiError):
        cluster.job(one.name)


def test_who_may_not_delete_hears_of_the_end_all_the_same(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.end(one.name)
    cluster.fault(verb="delete", before=error(403, "you may not"), times=99)
    assert look(runner, one, uid).state is SUCCEEDED


def test_time_spent_on_missing_output_is_not_time_spent_on_the_deletion(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.end(one.name)
    cluster.fault(verb="get", resource="pods/log", before=error(500), times=3)
    assert look(runner, one, uid) is None
    cluster.skip(observe.OUTPUT_PATIENCE + 1)
    cluster.fault(verb="delete", before=error(500))
    assert polled(runner, one, uid) is None
    assert look(runner, one, uid).state is SUCCEEDED
    assert cluster.store.find("jobs", NAMESPACE, one.name) is None


def test_a_job_that_cannot_be_deleted_does_not_hold_its_trial_for_ever(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.end(one.name)
    cluster.fault(verb="delete", before=error(500), times=99)
    assert polled(runner, one, uid) is None
    cluster.skip(observe.OUTPUT_PATIENCE + 1)
    assert look(runner, one, uid).state is SUCCEEDED


def test_a_failed_job_may_be_kept(cluster, tmp_path):
    runner = make(cluster, keep_failed=True)
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.end(one.name, 3)
    assert look(runner, one, uid).state is JobState.FAILED
    assert cluster.job(one.name)["status"]["failed"] == 1


def test_a_task_cannot_end_its_trial_by_a_forged_record(cluster, tmp_path):
    runner = make(cluster, template=host_path(tmp_path))
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    place = one.tasks[0].directory / ".schedd/kubernetes.json"
    record = json.loads(place.read_text())
    outcome = {"state": "SUCCEEDED", "job_id": uid, "exit_code": 0}
    place.write_text(json.dumps(record | {"outcome": outcome}))
    assert look(runner, one, uid).state is RUNNING
    cluster.end(one.name)
    assert look(runner, one, uid).state is SUCCEEDED


def test_the_server_deletes_an_ended_job_later_where_that_is_wanted(cluster, tmp_path):
    runner = make(cluster, ttl_after_finished=3600)
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.end(one.name)
    assert cluster.job(one.name)["spec"].get("ttlSecondsAfterFinished") is None
    cluster.fault(verb="get", resource="pods/log", before=error(500), times=3)
    assert look(runner, one, uid) is None
    assert cluster.job(one.name)["spec"].get("ttlSecondsAfterFinished") is None
    assert look(runner, one, uid).state is SUCCEEDED
    assert cluster.job(one.name)["spec"]["ttlSecondsAfterFinished"] == 3600
    cluster.skip(4000)
    assert look(make(cluster), one, uid).state is SUCCEEDED
    with pytest.raises(ApiError):
        cluster.job(one.name)


def test_a_shared_disk_needs_no_copy_of_what_the_task_wrote(cluster, tmp_path):
    runner = make(cluster, template=host_path(tmp_path))
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    cluster.say(one.name, '{"loss": 1}')
    cluster.end(one.name)
    assert look(runner, one, uid).state is SUCCEEDED
    assert text(one) == '{"loss": 1}\n'
