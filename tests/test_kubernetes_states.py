"""What a Job and its Pods say, as pure reading of the server's objects."""

from datetime import UTC, datetime

import pytest

from runners.base import JobState
from runners.kube import manifest, states

NOW = 1_800_000_000.0


def stamp(offset: float = 0.0) -> str:
    return datetime.fromtimestamp(NOW + offset, UTC).isoformat().replace("+00:00", "Z")


def job(*conditions: dict, state: str = "started", suspend: bool = False, **more: object) -> dict:
    metadata = {"name": "j", "uid": "u", "annotations": {manifest.STATE: state}, "labels": {}}
    spec = {"suspend": suspend, "completions": more.pop("count", 1)}
    status = {"startTime": stamp(-100), "conditions": list(conditions), **more}
    return {"metadata": metadata, "spec": spec, "status": status}


def condition(kind: str, reason: str = "", message: str = "") -> dict:
    times = {"lastTransitionTime": stamp(-10)}
    return {"type": kind, "status": "True", "reason": reason, "message": message, **times}


FAILED = condition("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
COMPLETE = condition("Complete")


def pod(phase: str, state: dict | None = None, index: int = 0, **status: object) -> dict:
    metadata = {
        "name": f"j-{index}",
        "uid": f"p{index}",
        "creationTimestamp": stamp(-90),
        "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
    }
    metadata |= {k: status.pop(k) for k in ("deletionTimestamp",) if k in status}
    statuses = [{"name": "sidecar", "state": {"running": {}}}]
    statuses += [{"name": "trial", "state": state}] if state else []
    told = {"phase": phase, "containerStatuses": statuses, **status}
    return {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": told}


def ended(code: int, reason: str = "Error", message: str = "") -> dict:
    times = {"startedAt": stamp(-80), "finishedAt": stamp(-20)}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}


def waiting(reason: str, message: str = "") -> dict:
    return {"waiting": {"reason": reason, "message": message}}


def disrupted(reason: str) -> list[dict]:
    return [condition("DisruptionTarget", reason, "the words of the cluster")]


RUNNING = {"running": {"startedAt": stamp(-80)}}

WAITS = {
    "as soon as its id is stored": (job(state="created", suspend=True), []),
    "until it is released": (job(state="held", suspend=True), []),
    "somebody has suspended it": (job(suspend=True), []),
    "waits for a Pod": (job(), []),
    "no node takes its Pod: 0/3 nodes are available": (
        job(),
        [
            pod(
                "Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    }
                ],
            )
        ],
    ),
    "is being made on node n1": (job(), [pod("Pending", waiting("ContainerCreating"))]),
    "cannot start: ImagePullBackOff: no such image": (
        job(),
        [pod("Pending", waiting("ImagePullBackOff", "no such\n image"))],
    ),
    "write kubernetes: {run_as_user: 1000}": (
        job(),
        [pod("Pending", waiting("CreateContainerConfigError", "container has runAsNonRoot"))],
    ),
    "cannot start: ErrImagePull": (
        job(),
        [
            pod(
                "Pending",
                waiting("PodInitializing"),
                initContainerStatuses=[{"name": "i", "state": waiting("ErrImagePull")}],
            )
        ],
    ),
}


@pytest.mark.parametrize("words", WAITS)
def test_a_waiting_job_says_why(words: str) -> None:
    view = states.read(*WAITS[words], NOW)
    held = "released" in words
    assert view.report.state is (JobState.HELD if held else JobState.QUEUED)
    assert words in view.report.message
    stuck = {"ImagePullBackOff", "ErrImagePull", "run_as_user"}
    assert bool(view.stuck) == any(word in words for word in stuck)
    assert view.report.job_id == "u"


def test_a_job_in_a_queue_of_kueue_waits_for_it() -> None:
    one = job(suspend=True)
    one["metadata"]["labels"] = {manifest.QUEUE: "team"}
    assert "from the queue 'team'" in states.read(one, [], NOW).report.message


ENDS = {
    "success": (job(COMPLETE), [pod("Succeeded", ended(0))], "SUCCEEDED", None, 0),
    "success without a pod": (job(COMPLETE), [], "SUCCEEDED", None, 0),
    "exit status": (job(FAILED), [pod("Failed", ended(3))], "FAILED", "EXIT_CODE", 3),
    "signal": (job(FAILED), [pod("Failed", ended(139))], "FAILED", "SIGNAL", -11),
    "no signal": (job(FAILED), [pod("Failed", ended(200))], "FAILED", "EXIT_CODE", 200),
    "memory": (job(FAILED), [pod("Failed", ended(137, "OOMKilled"))], "FAILED", "OOM", -9),
    "no such command": (
        job(FAILED),
        [pod("Failed", ended(128, "StartError", "exec: no such file"))],
        *("FAILED", "EXIT_CODE", 128),
    ),
    "pod deadline": (
        job(FAILED),
        [pod("Failed", ended(143), reason="DeadlineExceeded")],
        *("FAILED", "TIMEOUT", None),
    ),
    "job deadline": (
        job(condition("Failed", "DeadlineExceeded")),
        [],
        *("FAILED", "TIMEOUT", None),
    ),
    "another container": (
        job(FAILED),
        [pod("Failed", ended(0, "Completed"))],
        *("FAILED", "EXIT_CODE", None),
    ),
    "never ran": (
        job(FAILED),
        [pod("Failed", message="init failed")],
        *("FAILED", "EXIT_CODE", None),
    ),
    "preempted": (
        job(FAILED),
        [pod("Failed", ended(143), conditions=disrupted("PreemptionByScheduler"))],
        *("INTERRUPTED", "PREEMPTED", None),
    ),
    "drained": (
        job(FAILED),
        [pod("Failed", ended(137), conditions=disrupted("EvictionByEvictionAPI"))],
        *("INTERRUPTED", "PREEMPTED", None),
    ),
    "node gone": (
        job(FAILED),
        [pod("Failed", conditions=disrupted("DeletionByPodGC"))],
        *("INTERRUPTED", "NODE_FAIL", None),
    ),
    "memory before disruption": (
        job(FAILED),
        [pod("Failed", ended(137, "OOMKilled"), conditions=disrupted("TerminationByKubelet"))],
        *("FAILED", "OOM", -9),
    ),
    "node did not take it": (
        job(FAILED),
        [pod("Failed", reason="OutOfmemory", message="too full")],
        *("INTERRUPTED", "NODE_FAIL", None),
    ),
    "node shut down": (
        job(FAILED),
        [pod("Failed", ended(143), reason="Terminated", message="imminent node shutdown")],
        *("INTERRUPTED", "PREEMPTED", None),
    ),
    "evicted for its own doing": (
        job(FAILED),
        [pod("Failed", reason="Evicted", message="exceeds the total limit")],
        *("FAILED", "EXIT_CODE", None),
    ),
    "pod deleted": (
        job(FAILED),
        [pod("Failed", ended(143), deletionTimestamp=stamp(-30))],
        *("INTERRUPTED", "LOST", None),
    ),
    "pod gone, exit status noted": (
        job(condition("Failed", "PodFailurePolicy", "Container trial for pod n/p failed with exit "
                      "code 7 matching FailJob rule at index 1")),
        [],
        *("FAILED", "EXIT_CODE", 7),
    ),
    "pod gone, disruption noted": (
        job(condition("Failed", "PodFailurePolicy", "Pod n/p has condition DisruptionTarget "
                      "matching FailJob rule at index 0")),
        [],
        *("INTERRUPTED", "PREEMPTED", None),
    ),
    "pod gone": (job(FAILED), [], "FAILED", "EXIT_CODE", None),
    "node does not answer": (
        job(FAILED),
        [pod("Running", RUNNING, deletionTimestamp=stamp(-500))],
        *("INTERRUPTED", "NODE_FAIL", None),
    ),
    "one of two": (
        job(FAILED, count=2),
        [pod("Succeeded", ended(0)), pod("Failed", ended(4), index=1)],
        *("FAILED", "EXIT_CODE", 4),
    ),
    "the cause, not its consequence": (
        job(FAILED, count=3),
        [
            pod("Failed", ended(143), deletionTimestamp=stamp(-30)),
            pod("Failed", ended(5), index=1),
            pod("Failed", ended(143), index=2, conditions=disrupted("PreemptionByScheduler")),
        ],
        *("INTERRUPTED", "PREEMPTED", None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_an_ended_job_says_how(name: str) -> None:
    one, pods, state, reason, code = ENDS[name]
    report = states.read(one, pods, NOW).report
    assert (report.state.value, report.reason, report.exit_code) == (state, reason, code)
    assert bool(report.message) == (state != "SUCCEEDED")
    assert report.node == ("n1" if any(each["spec"].get("nodeName") for each in pods) else None)
    assert not states.read(one, pods, NOW).stuck


def test_a_job_is_final_only_when_its_last_pod_has_ended() -> None:
    one = job(FAILED, count=2)
    pods = [pod("Failed", ended(1)), pod("Running", RUNNING, index=1)]
    assert states.read(one, pods, NOW).report.state is JobState.RUNNING
    assert states.read(one, pods[:1], NOW).report.state is JobState.FAILED


def test_a_running_job_knows_when_it_started() -> None:
    pods = [pod("Running", RUNNING), pod("Pending", waiting("ContainerCreating"), index=1)]
    report = states.read(job(count=2), pods, NOW).report
    assert (report.state, report.started_at) == (JobState.RUNNING, NOW - 80)
    assert states.read(job(count=2), [pods[1]], NOW).report.state is JobState.QUEUED


def test_an_evicted_job_waits_again_once_its_pod_has_ended() -> None:
    suspended = job(suspend=True)
    running = pod("Running", RUNNING, deletionTimestamp=stamp(20))
    assert states.read(suspended, [running], NOW).report.state is JobState.RUNNING
    assert states.read(suspended, [pod("Failed", ended(143))], NOW).report.state is JobState.QUEUED


def test_the_youngest_of_several_pods_counts() -> None:
    old, new = pod("Failed", ended(1)), pod("Running", RUNNING)
    new["metadata"] |= {"uid": "a", "creationTimestamp": stamp(-5)}
    for pods in ([old, new], [new, old]):
        assert states.read(job(), pods, NOW).tasks[0].pod is new
    done = pod("Succeeded", ended(0))
    assert states.read(job(COMPLETE), [done, new], NOW).tasks[0].pod is done


@pytest.mark.parametrize(("since", "lost"), [(-60.0, ""), (-121.0, "n1")])
def test_a_node_that_does_not_confirm_an_end_is_given_up_after_a_while(since, lost) -> None:
    one = pod("Running", RUNNING, deletionTimestamp=stamp(since))
    view = states.read(job(), [one], NOW)
    assert (view.lost_node, view.report.state) == (lost, JobState.RUNNING)


@pytest.mark.parametrize("spoilt", [{}, {"status": None}, {"status": {"conditions": None}}])
def test_objects_with_little_in_them_are_read(spoilt: dict) -> None:
    bare = {"metadata": {"uid": "u"}, "spec": {}} | spoilt
    assert states.read(bare, [], NOW).report.state is JobState.QUEUED
    empty = {"metadata": {"name": "p", "uid": "p"}} | spoilt
    assert states.read(bare, [empty], NOW).report.state is JobState.QUEUED
