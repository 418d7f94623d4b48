"""What the controllers would do of a cluster that has none: an API server on etcd, and no more.

All is asked for over the API, by an administrator, in the words of the Job controller, the garbage
collector and the namespace controller. A status is written as servers since 1.31 check it.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from services.kubernetes.patch import MERGE_PATCH
from services.kubernetes.probe import Probe

INDEX = "batch.kubernetes.io/job-completion-index"


class StandIn:
    """Moves the Jobs of one namespace when it is told to."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe

    def step(self) -> None:
        """Do what is due for every Job, and for the Pods of those that are gone."""
        jobs = self._items("jobs")
        for job in jobs:
            self._step(job)
        alive = {job["metadata"]["uid"] for job in jobs}
        for pod in self._items("pods"):
            if alive.isdisjoint(_owners(pod)):
                self._delete_pod(pod)

    def _items(self, resource: str) -> list[dict]:
        found: list[dict] = self.probe.get(resource).body["items"]
        return found

    def _pods_of(self, job: dict) -> list[dict]:
        return [pod for pod in self._items("pods") if job["metadata"]["uid"] in _owners(pod)]

    def _step(self, job: dict) -> None:
        pods = self._pods_of(job)
        if job["metadata"].get("deletionTimestamp"):
            self._go_on_deleting(job, pods)
        elif job["spec"].get("suspend"):
            for pod in pods:
                self._delete_pod(pod)
        elif not _is_over(job):
            self._run(job, pods)

    def _go_on_deleting(self, job: dict, pods: list[dict]) -> None:
        """Let a Job go whose Pods are gone: it was deleted in the foreground."""
        for pod in pods:
            self._delete_pod(pod)
        if not pods:
            patch = {"metadata": {"finalizers": None}}
            self.probe.patch("jobs", job["metadata"]["name"], patch, MERGE_PATCH)

    def _delete_pod(self, pod: dict) -> None:
        self.probe.delete("pods", pod["metadata"]["name"], gracePeriodSeconds=0)

    def _run(self, job: dict, pods: list[dict]) -> None:
        wanted = job["spec"]["completions"]
        if not (job.get("status") or {}).get("startTime"):
            self._write(job, {"startTime": _now(), "active": wanted})
        there = {pod["metadata"]["annotations"].get(INDEX, "0") for pod in pods}
        for index in map(str, range(wanted)):
            if index not in there:
                self._make_pod(job, index)
        ends = [pod["status"].get("phase") for pod in pods]
        if len(ends) == wanted and {"Succeeded", "Failed"}.issuperset(ends):
            self._end(job, succeeded=ends.count("Succeeded"), failed=ends.count("Failed"))

    def _make_pod(self, job: dict, index: str) -> None:
        meta, template = job["metadata"], job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
        owner |= {"name": meta["name"], "uid": meta["uid"], "blockOwnerDeletion": True}
        notes = template["metadata"].get("annotations") or {}
        head = {"generateName": f"{meta['name']}-", "labels": template["metadata"]["labels"]}
        head |= {"ownerReferences": [owner], "annotations": notes | {INDEX: index}}
        made = self.probe.create("pods", {"metadata": head, "spec": template["spec"]})
        if made.code != 201:
            self._tell(job, f"Error creating: {made.message}")

    def _tell(self, job: dict, message: str) -> None:
        """Write the event of a Pod that is refused; a second one of it is a conflict."""
        meta = job["metadata"]
        about = {"kind": "Job", "apiVersion": "batch/v1", "namespace": self.probe.namespace}
        about |= {"name": meta["name"], "uid": meta["uid"]}
        event = {"metadata": {"name": f"{meta['name']}.refused"}, "involvedObject": about}
        event |= {"type": "Warning", "reason": "FailedCreate", "message": message, "count": 1}
        event |= {"firstTimestamp": _now(), "lastTimestamp": _now()}
        self.probe.create("events", event | {"source": {"component": "job-controller"}})

    def _end(self, job: dict, *, succeeded: int, failed: int) -> None:
        counts = {"active": 0, "ready": 0, "succeeded": succeeded, "failed": failed}
        counts |= {"uncountedTerminatedPods": None}
        if failed:
            words = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
            self._write(job, counts | _conditions(("FailureTarget", "Failed"), *words))
            return
        words = "CompletionsReached", "Reached expected number of succeeded pods"
        counts |= {"completionTime": _now()}
        kinds = "SuccessCriteriaMet", "Complete"
        if not self._try(job, counts | _conditions(kinds, *words)):  # 1.30 knows only the last
            self._write(job, counts | _conditions(kinds[1:], *words))

    def _try(self, job: dict, status: dict) -> bool:
        name = f"{job['metadata']['name']}/status"
        return self.probe.patch("jobs", name, {"status": status}, MERGE_PATCH).code == 200

    def _write(self, job: dict, status: dict) -> None:
        reply = self.probe.patch(
            "jobs", f"{job['metadata']['name']}/status", {"status": status}, MERGE_PATCH
        )
        assert reply.code == 200, reply


def _owners(item: dict) -> Iterator[str]:
    for owner in item["metadata"].get("ownerReferences") or ():
        yield owner["uid"]


def _is_over(job: dict) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(each["type"] in ("Complete", "Failed") for each in conditions)


def _conditions(kinds: tuple[str, ...], reason: str, message: str) -> dict:
    common = {"status": "True", "reason": reason, "message": message}
    common |= {"lastProbeTime": _now(), "lastTransitionTime": _now()}
    return {"conditions": [{"type": kind, **common} for kind in kinds]}


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
