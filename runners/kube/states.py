"""What the objects of the server say of a job. Pure: objects in, a report out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runners.base import JobReport, JobState
from runners.kube import manifest, objects
from runners.kube.pods import (
    TaskView,
    by_task,
    disruption,
    exited,
    interrupted,
    is_overdue,
    node_of,
    view_of,
)
from runners.kube.template import Manifest


@dataclass(frozen=True, slots=True)
class View:
    """A job as its objects show it."""

    report: JobReport
    tasks: tuple[TaskView, ...]
    stuck: str = ""
    lost_node: str = ""
    """The node that does not confirm the end of a Pod for so long that it must be given up."""
    disruption: JobReport | None = None
    """Why the infrastructure ends a Pod, while there is one that says so."""

    @property
    def node(self) -> str | None:
        """The node of the first task that has one."""
        return next((name for t in self.tasks if (name := node_of(t.pod))), None)

    @property
    def pods_missing(self) -> bool:
        """Whether a task has no Pod that could be asked for its output."""
        return any(task.pod is None for task in self.tasks)


def read(job: Manifest, pods: Sequence[Manifest], now: float) -> View:
    """Return what a Job and its Pods say at the server's time ``now``."""
    count = int(job["spec"].get("completions") or 1)
    tasks = tuple(view_of(pod) for pod in by_task(pods, count))
    stuck = next((task.stuck for task in tasks if task.stuck), "")
    lost = next((node_of(t.pod) for t in tasks if is_overdue(t, now)), "")
    if is_over(job):
        tasks = tuple(_given_up(t) if is_overdue(t, now) else t for t in tasks)
    report = replace(_report(job, tasks), job_id=objects.uid(job))
    disrupted = next(filter(None, (disruption(t.pod) for t in tasks if t.pod is not None)), None)
    return View(report, tasks, stuck, lost, disrupted)


def _given_up(task: TaskView) -> TaskView:
    node = node_of(task.pod)
    report = interrupted("NODE_FAIL", f"node {node} does not answer", node)
    return replace(task, report=report)


def is_over(job: Manifest) -> bool:
    """Whether the Job is complete or failed; Pods of it may be ending still."""
    return bool(objects.condition(job, "Complete") or objects.condition(job, "Failed"))


def has_living(pods: Sequence[Manifest], now: float) -> bool:
    """Whether one of these Pods may still run something, on a node that answers."""
    return any(not (task.has_ended or is_overdue(task, now)) for task in map(view_of, pods))


def waits_without_pods(view: View, job: Manifest) -> bool:
    """Whether a started Job has no Pod: quota, most likely."""
    started = not job["spec"].get("suspend")
    queued = view.report.state is JobState.QUEUED
    return started and queued and all(task.pod is None for task in view.tasks)


def _report(job: Manifest, tasks: Sequence[TaskView]) -> JobReport:
    start, end = _times(job, tasks)
    running = JobReport(JobState.RUNNING, started_at=start)
    if is_over(job):
        if not all(task.has_ended for task in tasks):
            return replace(running, message="its last Pods are ending")
        ended = _ended(job, tasks)
        names = (node_of(task.pod) for task in tasks)
        node = ended.node or next(filter(None, names), None)
        return replace(ended, started_at=start, ended_at=end, node=node)
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
    failed = (objects.condition(job, "Failed") or {}).get("lastTransitionTime")
    start = min(starts, default=objects.seconds(status.get("startTime")))
    end = max(ends, default=objects.seconds(status.get("completionTime") or failed))
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
    if objects.condition(job, "Complete"):
        return JobReport(JobState.SUCCEEDED, exit_code=0)
    failed = objects.condition(job, "Failed") or {}
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
        return interrupted("PREEMPTED", "its Pod was evicted, and is gone")
    code = re.search(r"failed with exit code (\d+)", text)
    if code:
        return exited(int(code[1]), "", "")
    words = ": ".join(filter(None, (str(failed.get("reason") or ""), text)))
    message = f"its Pod is gone, with its exit status; the Job says {words or 'that it failed'}"
    return JobReport(JobState.FAILED, reason="EXIT_CODE", message=message)
