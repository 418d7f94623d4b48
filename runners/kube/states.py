"""What the objects of the server say of a job. Pure: objects in, a report out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runners.base import JobReport, JobState
from runners.kube import manifest
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


@dataclass(frozen=True, slots=True)
class View:
    """A job as its objects show it."""

    report: JobReport
    tasks: tuple[TaskView, ...]
    stuck: str = ""
    lost_node: str = ""
    """The node that does not confirm the end of a Pod for so long that it must be given up."""

    @property
    def pods_missing(self) -> bool:
        """Whether a task has no Pod that could be asked for its output."""
        return any(task.pod is None for task in self.tasks)


def read(job: Manifest, pods: Sequence[Manifest], now: float) -> View:
    """Return what a Job and its Pods say at the server's time ``now``."""
    count = int(job["spec"].get("completions") or 1)
    tasks = tuple(_task(pod) for pod in _by_index(pods, count))
    stuck = next((task.stuck for task in tasks if task.stuck), "")
    lost = next((_node(t.pod) for t in tasks if t.pod and _is_overdue(t, now)), "")
    report = replace(_report(job, tasks), job_id=uid(job))
    return View(report, tasks, stuck, lost)


def uid(obj: Manifest) -> str:
    """Return the identity that no other object ever has."""
    return str(obj["metadata"]["uid"])


def seconds(text: object) -> float | None:
    """Return a time of the server's as seconds since the epoch."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def is_over(job: Manifest) -> bool:
    """Whether the Job is complete or failed; Pods of it may be ending still."""
    return bool(_condition(job, "Complete") or _condition(job, "Failed"))


def waits_without_pods(view: View, job: Manifest) -> bool:
    """Whether a started Job has no Pod: quota, most likely."""
    started = not job["spec"].get("suspend")
    queued = view.report.state is JobState.QUEUED
    return started and queued and all(task.pod is None for task in view.tasks)


# -- the Job


def _report(job: Manifest, tasks: Sequence[TaskView]) -> JobReport:
    start, end = _times(job, tasks)
    running = JobReport(JobState.RUNNING, started_at=start)
    if is_over(job):
        if not all(task.has_ended for task in tasks):
            return replace(running, message="its last Pods are ending")
        return replace(_ended(job, tasks), started_at=start, ended_at=end)
    suspended = bool(job["spec"].get("suspend"))
    begun = any(task.report.state is not JobState.QUEUED for task in tasks)
    if begun and not (suspended and all(task.has_ended for task in tasks)):
        return running
    if suspended:
        return _suspended(job)
    messages = [task.report.message for task in tasks if task.pod is not None]
    return JobReport(JobState.QUEUED, message=next(filter(None, messages), "it waits for a Pod"))


def _times(job: Manifest, tasks: Sequence[TaskView]) -> tuple[float | None, float | None]:
    """Return when it started and when it ended, as far as the server tells."""
    status = job.get("status") or {}
    starts = [task.report.started_at for task in tasks if task.report.started_at]
    ends = [task.report.ended_at for task in tasks if task.report.ended_at]
    failed = (_condition(job, "Failed") or {}).get("lastTransitionTime")
    start = min(starts, default=seconds(status.get("startTime")))
    end = max(ends, default=seconds(status.get("completionTime") or failed))
    return start, end


def _suspended(job: Manifest) -> JobReport:
    metadata = job["metadata"]
    state = (metadata.get("annotations") or {}).get(manifest.STATE)
    if state == manifest.HELD:
        return JobReport(JobState.HELD, message="it is held until it is released")
    if state == manifest.CREATED:
        return JobReport(JobState.QUEUED, message="it starts as soon as its id is stored")
    queue = (metadata.get("labels") or {}).get(manifest.QUEUE)
    if queue:
        message = f"it waits for Kueue to admit it from the queue {queue!r}"
        return JobReport(JobState.QUEUED, message=message)
    return JobReport(JobState.QUEUED, message="somebody has suspended it")


def _ended(job: Manifest, tasks: Sequence[TaskView]) -> JobReport:
    if _condition(job, "Complete"):
        return JobReport(JobState.SUCCEEDED, exit_code=0)
    failed = _condition(job, "Failed") or {}
    if failed.get("reason") == "DeadlineExceeded":
        message = "it ran for longer than its activeDeadlineSeconds allows"
        return JobReport(JobState.FAILED, reason="TIMEOUT", message=message)
    ended = [task.report for task in tasks if task.pod is not None]
    bad = [report for report in ended if report.state is not JobState.SUCCEEDED]
    worst = min(bad, key=_rank, default=None)
    if worst is None or worst.state is JobState.QUEUED:
        return _from_condition(failed)
    return worst


def _rank(report: JobReport) -> int:
    """Return which of several tasks tells why the job ended: what came from outside goes first."""
    if report.state is JobState.INTERRUPTED:
        return 1 if report.reason == "LOST" else 0
    return 2


def _from_condition(failed: Mapping[str, Any]) -> JobReport:
    """Return what is left to say when the Pods are gone: what the Job's controller noted."""
    text = str(failed.get("message") or "")
    if failed.get("reason") == "PodFailurePolicy" and "DisruptionTarget" in text:
        return _interrupted("PREEMPTED", "its Pod was evicted, and is gone")
    code = re.search(r"failed with exit code (\d+)", text)
    if code:
        return _exited(int(code[1]), "", "")
    words = ": ".join(filter(None, (str(failed.get("reason") or ""), text)))
    message = f"its Pod is gone, with its exit status; the Job says {words or 'that it failed'}"
    return JobReport(JobState.FAILED, reason="EXIT_CODE", message=message)


def _condition(obj: Manifest, kind: str) -> Mapping[str, Any] | None:
    conditions = (obj.get("status") or {}).get("conditions") or []
    true = (c for c in conditions if c.get("type") == kind and c.get("status") == "True")
    return next(true, None)


# -- its Pods


def _by_index(pods: Sequence[Manifest], count: int) -> list[Manifest | None]:
    """Return the Pod of each task; the youngest where there are several, none where none is."""
    chosen: dict[int, Manifest] = {}
    for pod in sorted(pods, key=lambda p: (p["metadata"].get("creationTimestamp") or "", uid(p))):
        notes = pod["metadata"].get("annotations") or {}
        labels = pod["metadata"].get("labels") or {}
        text = str(notes.get(_INDEX) or labels.get(_INDEX) or "0")
        chosen[int(text) if text.isdigit() and count > 1 else 0] = pod
    return [chosen.get(index) for index in range(count)]


def _task(pod: Manifest | None) -> TaskView:
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
        return TaskView(pod, JobReport(JobState.RUNNING, started_at=seconds(begun)))
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
    reason, text = str(waiting.get("reason") or ""), _sentence(waiting.get("message"))
    others = (pod.get("status") or {}).get("initContainerStatuses") or []
    held_up = next((w for w in map(_why_it_waits, others) if w.get("reason") in _STUCK), None)
    if held_up:
        reason, text = str(held_up["reason"]), _sentence(held_up.get("message"))
    if reason in _STUCK:
        message = f"its container cannot start: {reason}" + (f": {text}" if text else "")
        return TaskView(pod, JobReport(JobState.QUEUED, message=message), stuck=message)
    scheduled = _unscheduled(pod)
    if scheduled:
        return TaskView(pod, JobReport(JobState.QUEUED, message=scheduled))
    place = f" on node {_node(pod)}" if _node(pod) else ""
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
            text = _sentence(each.get("message")) or str(each.get("reason") or "no reason is told")
            return f"no node takes its Pod: {text}"
    return "" if _node(pod) else "it waits for a node"


def _ended_pod(pod: Manifest) -> JobReport:
    """Return the report on a Pod that has ended."""
    status = pod.get("status") or {}
    ended = terminated(pod)
    start = seconds(ended.get("startedAt") or status.get("startTime"))
    good = JobReport(JobState.SUCCEEDED, exit_code=0)
    report = good if status.get("phase") == "Succeeded" else _failed_pod(pod, status, ended)
    return replace(report, started_at=start, ended_at=seconds(ended.get("finishedAt")))


def _failed_pod(pod: Manifest, status: Manifest, ended: Manifest) -> JobReport:
    reason, text = str(status.get("reason") or ""), _sentence(status.get("message"))
    if ended.get("reason") == "OOMKilled":
        code = int(ended.get("exitCode") or 137)
        message = "it used more memory than it may"
        return JobReport(JobState.FAILED, reason="OOM", message=message, exit_code=_signed(code))
    if reason == "DeadlineExceeded":
        message = "it ran for longer than resources: {time: ...} allows"
        return JobReport(JobState.FAILED, reason="TIMEOUT", message=message)
    disrupted = _condition(pod, "DisruptionTarget")
    if disrupted is not None:
        return _disrupted(pod, disrupted, text)
    if reason in _LOST_NODE:
        return _interrupted("NODE_FAIL", f"its node gave it up: {reason}: {text}", _node(pod))
    if reason in _SHUT_DOWN:
        return _interrupted("PREEMPTED", f"its node gave it up: {text or reason}")
    if reason == "Evicted":  # without a disruption, for what it did itself
        message = f"its Pod was evicted: {text}"
        return JobReport(JobState.FAILED, reason="EXIT_CODE", message=message)
    if pod["metadata"].get("deletionTimestamp"):
        return _interrupted("LOST", "somebody deleted its Pod")
    if not ended:
        message = f"its container never ran: {text or reason or 'no reason is told'}"
        return JobReport(JobState.FAILED, reason="EXIT_CODE", message=message)
    words = str(ended.get("reason") or "")
    return _exited(int(ended.get("exitCode") or 0), words, _sentence(ended.get("message")))


def _disrupted(pod: Manifest, disrupted: Mapping[str, Any], text: str) -> JobReport:
    why = str(disrupted.get("reason") or "")
    words = _sentence(disrupted.get("message")) or text or why
    if why in _BY_NODE:
        return _interrupted("NODE_FAIL", f"its node failed: {words}", _node(pod))
    return _interrupted("PREEMPTED", f"its Pod was evicted: {words}")


def _interrupted(reason: str, message: str, node: str = "") -> JobReport:
    return JobReport(JobState.INTERRUPTED, reason=reason, message=message, node=node or None)


def _exited(code: int, reason: str, text: str) -> JobReport:
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


def _is_overdue(task: TaskView, now: float) -> bool:
    """Whether a deleted Pod should have ended long ago."""
    if task.pod is None or task.has_ended:
        return False
    due = seconds(task.pod["metadata"].get("deletionTimestamp"))
    return due is not None and now > due + OVERDUE


def _node(pod: Manifest | None) -> str:
    return str(((pod or {}).get("spec") or {}).get("nodeName") or "")


def _sentence(text: object) -> str:
    """Return the server's words in one line, not too long."""
    words = " ".join(str(text or "").split())
    return words if len(words) <= 300 else words[:300] + "..."
