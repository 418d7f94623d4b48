"""How the ends and the waits of Jobs, as controllers bring them about, reach the scheduler."""

from dataclasses import replace

import pytest
from services.kubernetes import schema
from services.kubernetes.bench import cluster, runner, start
from services.kubernetes.errors import ApiError
from services.kubernetes.faults import error
from services.kubernetes.runner import batch, job, look, make, text

from runners.base import JobState, Resources

pytestmark = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())
FAILED, INTERRUPTED = JobState.FAILED, JobState.INTERRUPTED
__all__ = ["cluster", "runner"]


# -- ends


@pytest.mark.parametrize(
    ("code", "why", "expected"),
    [
        (0, "", (JobState.SUCCEEDED, None, 0)),
        (3, "", (FAILED, "EXIT_CODE", 3)),
        (255, "", (FAILED, "EXIT_CODE", 255)),
        (139, "", (FAILED, "SIGNAL", -11)),
        (137, "OOMKilled", (FAILED, "OOM", -9)),
        (128, "StartError", (FAILED, "EXIT_CODE", 128)),
    ],
)
def test_how_a_container_ends(cluster, runner, tmp_path, code, why, expected):
    one = job(tmp_path)
    uid = start(runner, one)
    cluster.say(one.name, "the last words")
    cluster.end(one.name, code, why)
    report = look(runner, one, uid)
    assert (report.state, report.reason, report.exit_code) == expected
    assert bool(report.message) is (code != 0)
    assert text(one) == "the last words\n"
    assert report.started_at <= report.ended_at
    with pytest.raises(ApiError):
        cluster.job(one.name)
    assert look(make(cluster), one, uid) == report


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("PreemptionByScheduler", "PREEMPTED"),
        ("EvictionByEvictionAPI", "PREEMPTED"),
        ("TerminationByKubelet", "PREEMPTED"),
        ("DeletionByTaintManager", "NODE_FAIL"),
    ],
)
def test_what_the_infrastructure_ends_was_interrupted(cluster, runner, tmp_path, why, reason):
    """The Pod says why while it is being ended, and is gone then."""
    cluster.runtime.stubborn = True
    one = job(tmp_path)
    uid = start(runner, one)
    cluster.say(one.name, "half done")
    pod = cluster.pods()[0]
    cluster.disrupt(pod, why, "the node was low on resource")
    if why != "TerminationByKubelet":
        assert look(runner, one, uid).state is JobState.RUNNING
        cluster.end(one.name, 143)
        assert cluster.pods() == []
    report = look(make(cluster), one, uid)
    assert (report.state, report.reason) == (INTERRUPTED, reason)
    assert report.node == pod["spec"]["nodeName"]
    assert "the node was low on resource" in report.message
    assert text(one) == "half done\n"


def test_an_eviction_that_nobody_saw_is_an_interruption(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = start(runner, one)
    cluster.disrupt(cluster.pods()[0], "DeletionByPodGC")
    assert cluster.pods() == []
    assert look(runner, one, uid).state is INTERRUPTED
    assert len(cluster.kubelet.containers) == 1


def test_a_pod_that_somebody_deleted_is_not_made_again(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = start(runner, one)
    with cluster.lock:
        cluster.jobs.deletion.delete_pod(cluster.pods()[0])
        cluster.settle()
    report = look(runner, one, uid)
    assert report.state.is_final
    assert report.state is not JobState.SUCCEEDED
    assert len(cluster.kubelet.containers) == 1


def test_a_pod_that_runs_too_long_ends_for_that(cluster, runner, tmp_path):
    one = replace(job(tmp_path), resources=Resources(time=60))
    uid = start(runner, one)
    assert cluster.pods()[0]["spec"]["activeDeadlineSeconds"] == 60
    cluster.skip(61)
    report = look(runner, one, uid)
    assert (report.state, report.reason) == (FAILED, "TIMEOUT")


def test_a_success_without_its_output_is_not_measured_by_half_of_it(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = start(runner, one)
    cluster.end(one.name)
    cluster.vanish(cluster.pods()[0])
    report = look(runner, one, uid)
    assert (report.state, report.reason) == (INTERRUPTED, "LOST")
    assert report.message == "it succeeded, but not all of its output is here: a Pod is gone"


def test_output_is_waited_for_but_not_for_ever(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = start(runner, one)
    cluster.end(one.name)
    cluster.fault(verb="get", resource="pods/log", before=error(500), times=10**6)
    assert look(runner, one, uid) is None
    cluster.skip(3600)
    report = look(runner, one, uid)
    assert (report.state, report.reason) == (INTERRUPTED, "LOST")
    assert "it succeeded, but not all of its output is here" in report.message


def test_a_result_in_the_termination_message_needs_no_output(cluster, runner, tmp_path):
    one = job(tmp_path)
    uid = start(runner, one)
    cluster.container(one.name).message_file.write_text('{"loss": 0.5}')
    cluster.end(one.name)
    cluster.fault(verb="get", resource="pods/log", before=error(500), times=10**6)
    assert look(runner, one, uid) is None
    cluster.skip(3600)
    report = look(runner, one, uid)
    assert report.state is JobState.SUCCEEDED
    assert "not all of its output is here" in report.message
    assert text(one, "metrics.jsonl") == '{"loss": 0.5}\n'


# -- waits


def test_why_no_node_takes_a_pod(cluster, runner, tmp_path):
    cluster.nodes.full = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    one = job(tmp_path)
    uid = start(runner, one)
    report = look(runner, one, uid)
    assert report.state is JobState.QUEUED
    assert "2 Insufficient nvidia.com/gpu" in report.message
    cluster.nodes.full = ""
    assert look(runner, one, uid).state is JobState.RUNNING


def test_an_image_that_is_not_there_is_given_up_after_a_grace(cluster, runner, tmp_path):
    cluster.nodes.missing_images.add("busybox:1")
    one = job(tmp_path)
    uid = start(runner, one)
    report = look(runner, one, uid)
    assert report.state is JobState.QUEUED
    assert "ImagePullBackOff" in report.message
    cluster.skip(121)
    reports = [look(runner, one, uid) for _ in range(3)]
    assert reports[-1].state is FAILED
    assert "busybox:1" in reports[-1].message
    assert cluster.pods() == []


def test_an_image_that_comes_within_the_grace_is_used(cluster, runner, tmp_path):
    cluster.nodes.missing_images.add("busybox:1")
    one = job(tmp_path)
    uid = start(runner, one)
    look(runner, one, uid)
    cluster.skip(100)
    cluster.nodes.missing_images.clear()
    assert look(runner, one, uid).state is JobState.RUNNING
    cluster.skip(100)
    assert look(runner, one, uid).state is JobState.RUNNING


def test_a_pod_that_a_quota_refuses_waits_and_says_so(cluster, runner, tmp_path):
    cluster.add_quota(pods=0)
    one = job(tmp_path)
    uid = start(runner, one)
    report = look(runner, one, uid)
    assert report.state is JobState.QUEUED
    assert "exceeded quota" in report.message


def test_a_job_that_a_quota_refuses_is_asked_for_later(cluster, runner, tmp_path):
    cluster.add_quota(count__jobs_batch=1)
    answers = runner.submit([job(tmp_path, name="one"), job(tmp_path, name="two")])
    assert isinstance(answers["one"], str)
    assert "exceeded quota" in str(answers["two"])
    assert type(answers["two"]).__name__ == "Unavailable"


def test_a_job_that_kueue_holds_back_and_evicts_is_queued_again(cluster, tmp_path):
    runner = make(cluster, queue="gpus")
    one = job(tmp_path)
    uid = start(runner, one)
    found = cluster.job(one.name)
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert found["spec"]["suspend"] is True
    report = look(runner, one, uid)
    assert (report.state, "gpus" in report.message) == (JobState.QUEUED, True)
    admit(cluster, one.name, suspended=False)
    assert look(runner, one, uid).state is JobState.RUNNING
    admit(cluster, one.name, suspended=True)
    assert look(runner, one, uid).state is JobState.QUEUED
    admit(cluster, one.name, suspended=False)
    cluster.end(one.name)
    assert look(runner, one, uid).state is JobState.SUCCEEDED


def admit(cluster, name, *, suspended):
    with cluster.lock:
        found = cluster.job(name)
        found["spec"]["suspend"] = suspended
        cluster.store.update("jobs", found)
        cluster.settle()


# -- batches


def test_a_batch_starts_together_and_each_arm_has_its_own_output(cluster, runner, tmp_path):
    two = batch(tmp_path, "true", "true")
    uid = start(runner, two)
    assert [pod["metadata"]["name"].rsplit("-", 2)[1] for pod in cluster.pods()] == ["0", "1"]
    for index in (0, 1):
        cluster.say(two.name, f"arm {index}", at=index)
    assert look(runner, two, uid).state is JobState.RUNNING
    cluster.end(two.name, at=0)
    assert look(runner, two, uid).state is JobState.RUNNING
    cluster.end(two.name, at=1)
    assert look(runner, two, uid).state is JobState.SUCCEEDED
    assert [text(two, task=i) for i in (0, 1)] == ["arm 0\n", "arm 1\n"]


def test_an_arm_that_fails_does_not_end_the_others(cluster, runner, tmp_path):
    two = batch(tmp_path, "true", "true")
    uid = start(runner, two)
    cluster.end(two.name, 5, at=0)
    cluster.skip(3600)
    assert look(runner, two, uid).state is JobState.RUNNING
    assert len(cluster.pods()) == 2
    cluster.end(two.name, at=1)
    report = look(runner, two, uid)
    assert (report.state, report.exit_code) == (FAILED, 5)


def test_a_batch_of_which_one_pod_is_evicted_was_interrupted(cluster, runner, tmp_path):
    two = batch(tmp_path, "true", "true")
    uid = start(runner, two)
    cluster.disrupt(cluster.pods()[1], "PreemptionByScheduler", "for a more important pod")
    report = look(runner, two, uid)
    assert (report.state, report.reason) == (INTERRUPTED, "PREEMPTED")
    assert len(cluster.kubelet.containers) == 2
