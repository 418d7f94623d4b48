"""What one Pod says of one task. Pure: an object in, a report out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runners.base import JobReport, JobState
from runners.kube import objects
from runners.kube.template import CONTAINER, Manifest

OVERDUE = 120.0
"""Seconds after the time at which a deleted Pod should be gone: then its node does not answer."""
_INDEX = "batch.kubernetes.io/job-completion-index"
_STUCK = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "CreateContainerConfigError",
        "CreateContainerError",
    }
)
"""Why a container waits that will hardly ever start."""
_LOST_NODE = frozenset(
    {
        "NodeLost",
        "OutOfcpu",
        "OutOfmemory",
        "OutOfpods",
        "NodeAffinity",
        "UnexpectedAdmissionError",
    }
)
_SHUT_DOWN = frozenset({"Shutdown", "NodeShutdown", "Terminated", "Preempting", "Preempted"})
"""Reasons of a Pod that its node did not take, or gave up."""
_BY_NODE = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
"""Reasons of a disruption that speak of a node that is gone."""
_SIGNALS = 64


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task's Pod, and what it says."""

    pod: Manifest | None
    report: JobReport
    stuck: str = ""
    """Why its container will hardly ever start, where that is so."""

    @property
    def has_ended(self) -> bool:
        """Whether the Pod runs nothing and never will."""
        return self.pod is None or self.report.state.is_final


def by_task(pods: Sequence[Manifest], count: int) -> list[Manifest | None]:
    """Return the Pod of each task, none where none is.

    Of several, which Kubernetes promises to be rare, the youngest that succeeded, or the youngest.
    """
    chosen: dict[int, Manifest] = {}
    for pod in sorted(pods, key=_precedence):
        notes = pod["metadata"].get("annotations") or {}
        labels = pod["metadata"].get("labels") or {}
        text = str(notes.get(_INDEX) or labels.get(_INDEX) or "0")
        chosen[int(text) if text.isdigit() and count > 1 else 0] = pod
    return [chosen.get(index) for index in range(count)]


def _precedence(pod: Manifest) -> tuple[bool, str, str]:
    succeeded = (pod.get("status") or {}).get("phase") == "Succeeded"
    return succeeded, str(pod["metadata"].get("creationTimestamp") or ""), objects.uid(pod)


def view_of(pod: Manifest | None) -> TaskView:
    """Return what a task's Pod says; it waits where there is none."""
    if pod is None:
        return TaskView(None, JobReport(JobState.QUEUED, message="it waits for a Pod"))
    status = pod.get("status") or {}
    container = _container(pod)
    phase = status.get("phase")
    if phase in ("Succeeded", "Failed"):
        return TaskView(pod, _ended_pod(pod))
    state = container.get("state") or {}
    if "running" in state or "terminated" in state:
        begun = (state.get("running") or state.get("terminated") or {}).get("startedAt")
        return TaskView(pod, JobReport(JobState.RUNNING, started_at=objects.seconds(begun)))
    return _waiting(pod, state.get("waiting") or {})


def _container(pod: Manifest) -> Manifest:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    found: Manifest = next((c for c in statuses if c.get("name") == CONTAINER), {})
    return found


def terminated(pod: Manifest) -> Manifest:
    """Return how the trial's container ended: exit code, reason, times, message; or nothing."""
    state = _container(pod).get("state") or {}
    found: Manifest = state.get("terminated") or {}
    return found


def has_begun(pod: Manifest) -> bool:
    """Whether the trial's container has ever run, so that it may have written something."""
    return bool((_container(pod).get("state") or {}).keys() & {"running", "terminated"})


def _waiting(pod: Manifest, waiting: Manifest) -> TaskView:
    reason, text = str(waiting.get("reason") or ""), objects.sentence(waiting.get("message"))
    others = (pod.get("status") or {}).get("initContainerStatuses") or []
    held_up = next((w for w in map(_why_it_waits, others) if w.get("reason") in _STUCK), None)
    if held_up:
        reason, text = str(held_up["reason"]), objects.sentence(held_up.get("message"))
    if reason in _STUCK:
        message = f"its container cannot start: {reason}" + (f": {text}" if text else "")
        message += "; write kubernetes: {run_as_user: 1000}" if "runAsNonRoot" in text else ""
        return TaskView(pod, JobReport(JobState.QUEUED, message=message), stuck=message)
    scheduled = _unscheduled(pod)
    if scheduled:
        return TaskView(pod, JobReport(JobState.QUEUED, message=scheduled))
    place = f" on node {node_of(pod)}" if node_of(pod) else ""
    message = f"its container is being made{place}"
    return TaskView(pod, JobReport(JobState.QUEUED, message=message))


def _why_it_waits(status: Manifest) -> Manifest:
    found: Manifest = (status.get("state") or {}).get("waiting") or {}
    return found


def _unscheduled(pod: Manifest) -> str:
    """Return why no node takes the Pod, or nothing."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    for each in conditions:
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            text = objects.sentence(each.get("message")) or str(
                each.get("reason") or "no reason is told"
            )
            return f"no node takes its Pod: {text}"
    return "" if node_of(pod) else "it waits for a node"


def _ended_pod(pod: Manifest) -> JobReport:
    """Return the report on a Pod that has ended."""
    status = pod.get("status") or {}
    ended = terminated(pod)
    start = objects.seconds(ended.get("startedAt") or status.get("startTime"))
    good = JobReport(JobState.SUCCEEDED, exit_code=0)
    report = good if status.get("phase") == "Succeeded" else _failed_pod(pod, status, ended)
    end = objects.seconds(ended.get("finishedAt"))
    return replace(report, started_at=start, ended_at=end, node=node_of(pod) or None)


def _failed_pod(pod: Manifest, status: Manifest, ended: Manifest) -> JobReport:
    reason, text = str(status.get("reason") or ""), objects.sentence(status.get("message"))
    if ended.get("reason") == "OOMKilled":
        code = int(ended.get("exitCode") or 137)
        message = "it used more memory than it may"
        return JobReport(JobState.FAILED, reason="OOM", message=message, exit_code=_signed(code))
    if reason == "DeadlineExceeded":
        message = "it ran for longer than resources: {time: ...} allows"
        return JobReport(JobState.FAILED, reason="TIMEOUT", message=message)
    disrupted = objects.condition(pod, "DisruptionTarget")
    if disrupted is not None:
        return _disrupted(pod, disrupted, text)
    if reason in _LOST_NODE:
        return interrupted("NODE_FAIL", f"its node gave it up: {reason}: {text}", node_of(pod))
    if reason in _SHUT_DOWN:
        return interrupted("PREEMPTED", f"its node gave it up: {text or reason}")
    if reason == "Evicted":  # without a disruption, for what it did itself
        message = f"its Pod was evicted: {text}"
        return JobReport(JobState.FAILED, reason="EXIT_CODE", message=message)
    if pod["metadata"].get("deletionTimestamp"):
        return interrupted("LOST", "somebody deleted its Pod")
    code = int(ended.get("exitCode") or 0)
    if code == 0:
        others = "another container of its Pod failed"
        message = f"its container never ran: {text or reason or others}" if not ended else others
        return JobReport(JobState.FAILED, reason="EXIT_CODE", message=message)
    return exited(code, str(ended.get("reason") or ""), objects.sentence(ended.get("message")))


def disruption(pod: Manifest) -> JobReport | None:
    """Return why the infrastructure ends a Pod, which may run still, where it does."""
    disrupted = objects.condition(pod, "DisruptionTarget")
    return None if disrupted is None else _disrupted(pod, disrupted, "")


def _disrupted(pod: Manifest, disrupted: Mapping[str, Any], text: str) -> JobReport:
    why = str(disrupted.get("reason") or "")
    words = objects.sentence(disrupted.get("message")) or text or why
    if why in _BY_NODE:
        return interrupted("NODE_FAIL", f"its node failed: {words}", node_of(pod))
    return interrupted("PREEMPTED", f"its Pod was evicted: {words}")


def interrupted(reason: str, message: str, node: str = "") -> JobReport:
    """Return the report on a task that was ended from outside."""
    return JobReport(JobState.INTERRUPTED, reason=reason, message=message, node=node or None)


def exited(code: int, reason: str, text: str) -> JobReport:
    """Return the report on a command that ended with ``code``; 128 + n stands for signal n."""
    signed = _signed(code)
    if reason in ("StartError", "ContainerCannotRun"):
        message = f"its command cannot be run: {text or reason}"
    elif signed < 0:
        message = f"it was ended by signal {-signed}"
    else:
        message = f"it ended with exit status {code}"
        message += f": {text}" if text and not text.startswith("{") else ""
    kind = "SIGNAL" if signed < 0 else "EXIT_CODE"
    return JobReport(JobState.FAILED, reason=kind, message=message, exit_code=signed)


def _signed(code: int) -> int:
    return 128 - code if 128 < code <= 128 + _SIGNALS else code


def is_overdue(task: TaskView, now: float) -> bool:
    """Whether a deleted Pod should have ended long ago."""
    if task.pod is None or task.has_ended:
        return False
    due = objects.seconds(task.pod["metadata"].get("deletionTimestamp"))
    return due is not None and now > due + OVERDUE


def node_of(pod: Manifest | None) -> str:
    """Return the name of the node that a Pod was given, or nothing."""
    return str(((pod or {}).get("spec") or {}).get("nodeName") or "")
