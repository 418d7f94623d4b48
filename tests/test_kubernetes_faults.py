"""Submissions to a server that fails: never a loss, never a second run."""

import pytest
from services.kubernetes import schema
from services.kubernetes.bench import asked, cluster, runner, submitted
from services.kubernetes.cluster import FakeCluster
from services.kubernetes.errors import ApiError
from services.kubernetes.faults import PASSING, drop, error
from services.kubernetes.runner import job, look, make

from runners.base import JobState, Rejected, Unavailable
from runners.testing import deploy, ref_to

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
RUNNING = JobState.RUNNING
__all__ = ["cluster", "runner"]


# -- submission


@pytest.mark.parametrize("what", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_submission_without_a_clear_answer_is_adopted_or_made_later(
    cluster, runner, tmp_path, what, when
):
    one = job(tmp_path)
    struck = cluster.fault(verb="create", **{when: what})
    assert isinstance(submitted(runner, one), Unavailable)
    assert struck.struck == 1
    found = look(make(cluster), one)
    exists = when == "after"
    assert (found.state, found.may_have_run) == (
        (JobState.QUEUED, True) if exists else (JobState.LOST, False)
    )
    uid = submitted(make(cluster), one)
    assert uid == cluster.job(one.name)["metadata"]["uid"]
    assert found.job_id == (uid if exists else None)
    assert cluster.pods() == []


def test_a_server_that_says_nothing_is_unavailable_in_time(cluster, tmp_path):
    runner = make(cluster, request_timeout=0.2)
    cluster.fault(verb="create", after=cluster.hang())
    assert isinstance(submitted(runner, job(tmp_path)), Unavailable)
    assert isinstance(submitted(make(cluster), job(tmp_path)), str)


def test_after_the_first_silence_no_more_are_tried(cluster, runner, tmp_path):
    cluster.fault(verb="create", before=drop)
    answers = runner.submit([job(tmp_path, name=name) for name in ("one", "two", "three")])
    assert {type(answer) for answer in answers.values()} == {Unavailable}
    assert asked(cluster, "create") == 1


@pytest.mark.parametrize(
    "refusal",
    [
        error(403, 'jobs.batch is forbidden: User "x" cannot create resource "jobs"'),
        error(422, 'Job.batch "x" is invalid: spec: no'),
        error(400, "strict decoding error"),
        error(404, 'namespaces "trials" not found', "NotFound"),
    ],
)
def test_a_clear_refusal_is_final_and_says_why(cluster, runner, tmp_path, refusal):
    cluster.fault(verb="create", before=refusal)
    answer = submitted(runner, job(tmp_path))
    assert isinstance(answer, Rejected)
    with pytest.raises(ApiError) as said:
        refusal()
    assert said.value.message in str(answer)


def test_anothers_job_of_the_same_name_is_left_alone(cluster, runner, tmp_path):
    one = job(tmp_path)
    mine = job(tmp_path / "other", name=one.name)
    deploy(make(cluster), mine)
    before = cluster.job(one.name)
    assert isinstance(submitted(runner, one), Rejected)
    refs = [ref_to(one), ref_to(one, "another-uid")]
    for ref in refs:
        assert runner.poll([ref])[one.name].state is JobState.LOST
        runner.cancel([ref])
    runner.stored(refs)
    runner.release(refs[1:])
    assert cluster.job(one.name) == before


def test_a_job_whose_id_is_not_stored_has_no_pods(cluster, runner, tmp_path):
    one = job(tmp_path)
    assert isinstance(submitted(runner, one), str)
    for _ in range(3):
        assert look(runner, one).state is JobState.QUEUED
    assert cluster.pods() == []


def test_a_server_that_starts_the_job_at_once_is_refused(cluster, runner, tmp_path):
    """It does not know ``suspend``: a job might run that nobody has stored."""
    cluster.api.drops_suspend = True
    answer = submitted(runner, job(tmp_path))
    assert isinstance(answer, Rejected)
    cluster.settle()
    assert not [pod for pod in cluster.pods() if pod["status"]["phase"] != "Failed"]


def test_a_job_that_such_a_server_was_not_rid_of_is_not_adopted(cluster, runner, tmp_path):
    one = job(tmp_path)
    cluster.api.drops_suspend = True
    cluster.fault(verb="delete", before=drop)
    assert isinstance(submitted(runner, one), Unavailable)
    assert isinstance(submitted(make(cluster), one), Rejected)
    cluster.settle()
    assert not [pod for pod in cluster.pods() if pod["status"]["phase"] != "Failed"]


def test_a_job_that_runs_already_is_adopted_and_left_alone(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    assert submitted(make(cluster), one) == uid
    assert look(runner, one, uid).state is RUNNING


# -- starting


@pytest.mark.parametrize("what", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_start_without_a_clear_answer_is_asked_again(cluster, runner, tmp_path, what, when):
    one = job(tmp_path)
    uid = submitted(runner, one)
    cluster.fault(verb="patch", **{when: what})
    ref = ref_to(one, uid)
    for _ in range(3):
        try:
            runner.stored([ref])
        except Unavailable:
            continue
        break
    assert len(cluster.pods()) == 1
    assert look(runner, one, uid).state is RUNNING


@pytest.mark.parametrize("verb", ["stored", "release", "cancel"])
@pytest.mark.parametrize("code", [403, 422, 500])
def test_one_job_that_is_refused_holds_up_no_other(cluster, runner, tmp_path, verb, code):
    jobs = [job(tmp_path, name=name, hold=verb == "release") for name in ("one", "two")]
    uids = runner.submit(jobs)
    refs = [ref_to(one, uids[one.name]) for one in jobs]
    if verb == "cancel":
        runner.stored(refs)
    what = "delete" if verb == "cancel" else "patch"
    cluster.fault(verb=what, name="one", before=error(code, "a webhook denied it"), times=9)
    with pytest.raises(Unavailable, match="denied"):
        getattr(runner, verb)(refs)
    state = JobState.CANCELLED if verb == "cancel" else RUNNING
    assert look(runner, jobs[1], uids["two"]).state is state


def test_a_job_without_its_annotations_is_known_by_its_uid(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    with cluster.lock:
        found = cluster.job(one.name)
        found["metadata"] |= {"annotations": {}, "labels": {}}
        cluster.store.update("jobs", found)
    assert look(runner, one, uid).state is RUNNING
    runner.cancel([ref_to(one, uid)])
    assert look(runner, one, uid).state is JobState.CANCELLED


def test_what_is_started_once_and_suspended_by_others_stays_so(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = deploy(runner, one)[one.name]
    suspend(cluster, one.name)
    make(cluster).stored([ref_to(one, uid)])
    assert cluster.job(one.name)["spec"]["suspend"] is True
    report = look(runner, one, uid)
    assert (report.state, "suspended" in report.message) == (JobState.QUEUED, True)


def suspend(cluster: FakeCluster, name: str, *, value: bool = True) -> None:
    with cluster.lock:
        found = cluster.job(name)
        found["spec"]["suspend"] = value
        cluster.store.update("jobs", found)
        cluster.settle()


@pytest.mark.parametrize(
    ("avoid", "node"), [((), "node-1"), (("node-1",), "node-2"), (("node-2", "node-1"), "node-1")]
)
def test_a_node_that_failed_is_taken_again_only_where_there_is_no_other(
    cluster, runner, tmp_path, avoid, node
):
    one = job(tmp_path, avoid=avoid)
    deploy(runner, one)
    assert cluster.pods(one.name)[0]["spec"]["nodeName"] == node
    assert look(runner, one).state is JobState.RUNNING
