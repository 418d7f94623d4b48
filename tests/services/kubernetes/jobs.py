"""The Job controller, as it behaves since Kubernetes 1.31."""

from typing import Any

from services.kubernetes import admission
from services.kubernetes.deletion import Deletion
from services.kubernetes.errors import ApiError
from services.kubernetes.facts import (
    FAILURES,
    INDEX,
    TRACKING,
    add_index,
    condition,
    ended,
    finished,
    indexes,
    is_ready,
    pod_of,
    policy_message,
    rule_of,
    succeeded,
)
from services.kubernetes.pods import Kubelet, with_condition
from services.kubernetes.store import Store, seconds_of, stamp

BACKOFF = 10.0
"""Seconds before a failed pod is replaced; doubled for each further one."""


class JobController:
    """Makes pods of jobs and follows them. Whoever calls holds the cluster's lock."""

    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self.store, self.kubelet = store, kubelet
        self.deletion = Deletion(store, kubelet)
        self.paused = False
        """Whether the controller manager is down."""
        self.pod_admission: list[Any] = []
        """Called with each pod that is to be made; may raise ApiError."""

    def step(self) -> bool:
        """Do what is due for every job; return whether anything changed."""
        if self.paused:
            return False
        before = self.store.version
        for job in self.store.all("jobs"):
            self._step(job)
        self.deletion.orphans()
        return self.store.version != before

    def _step(self, job: dict) -> None:
        if job["metadata"].get("deletionTimestamp"):
            self.deletion.go_on(job)
            return
        pods = list(self.deletion.pods_of(job))
        if finished(job):
            for pod in pods:
                self.deletion.untrack(pod)
                if not ended(pod):
                    self.deletion.delete_pod(pod)
            self.deletion.expire(job)
            return
        spec, status = job["spec"], job["status"]
        if not spec["suspend"] and not status.get("startTime"):
            status["startTime"] = stamp(self.store.now())
        self._count(job, pods)
        cause = condition(job, "FailureTarget") or self._failure(job, pods)
        if cause is not None:
            self._fail(job, cause)
        elif succeeded(job):
            self._succeed(job)
        elif spec["suspend"]:
            self._suspend(job)
        else:
            self._resume(job)
            self._make_pods(job)
        self._summarize(job)
        self.store.update("jobs", job)

    # -- counting

    def _count(self, job: dict, pods: list[dict]) -> None:
        """Take ended pods into the status, each once; then let go of them."""
        status, indexed = job["status"], job["spec"]["completionMode"] == "Indexed"
        for pod in pods:
            if TRACKING not in (pod["metadata"].get("finalizers") or ()):
                continue
            if pod["status"]["phase"] == "Succeeded":
                if indexed:
                    add_index(status, "completedIndexes", pod)
                    status["succeeded"] = len(indexes(status.get("completedIndexes", "")))
                else:
                    status["succeeded"] = status.get("succeeded", 0) + 1
            elif self._is_failed(job, pod):
                if self._is_ignored(job, pod):
                    self.deletion.untrack(pod)
                    continue
                status["failed"] = status.get("failed", 0) + 1
                job.setdefault("_last_failure", self.store.now())
                self._count_index(job, pod)
            else:
                continue
            self.deletion.untrack(pod)

    def _is_failed(self, job: dict, pod: dict) -> bool:
        if pod["status"]["phase"] == "Failed":
            return True
        replaces_failed_only = job["spec"]["podReplacementPolicy"] == "Failed"
        return bool(pod["metadata"].get("deletionTimestamp")) and not replaces_failed_only

    def _is_ignored(self, job: dict, pod: dict) -> bool:
        rule = rule_of(job, pod)
        return rule is not None and rule["action"] == "Ignore"

    def _count_index(self, job: dict, pod: dict) -> None:
        limit = job["spec"].get("backoffLimitPerIndex")
        if limit is None:
            return
        rule = rule_of(job, pod)
        failures = int(pod["metadata"]["annotations"].get(FAILURES, "0")) + 1
        if failures > limit or (rule and rule["action"] == "FailIndex"):
            add_index(job["status"], "failedIndexes", pod)

    def _failure(self, job: dict, pods: list[dict]) -> tuple[str, str] | None:
        """Return why the job is to fail: reason and message."""
        spec, status = job["spec"], job["status"]
        for pod in pods:
            rule = rule_of(job, pod)
            if rule is not None and rule["action"] == "FailJob":
                return "PodFailurePolicy", policy_message(job, pod)
        limit, start = spec.get("activeDeadlineSeconds"), status.get("startTime")
        ends = seconds_of(start) + limit if start and limit is not None else float("inf")
        if not spec["suspend"] and self.store.now() >= ends:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        if status.get("failed", 0) > spec["backoffLimit"]:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        lost = indexes(status.get("failedIndexes", ""))
        if spec.get("maxFailedIndexes") is not None and len(lost) > spec["maxFailedIndexes"]:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return "MaxFailedIndexesExceeded", message
        done = indexes(status.get("completedIndexes", ""))
        if lost and len(lost | done) >= spec["completions"]:
            return "FailedIndexes", "Job has failed indexes"
        return None

    # -- ends

    def _fail(self, job: dict, cause: tuple[str, str]) -> None:
        now = self.store.now()
        job["status"]["conditions"] = with_condition(
            job["status"].get("conditions") or [], "FailureTarget", "True", *cause, now
        )
        for pod in self.deletion.pods_of(job):
            if not ended(pod) and not pod["metadata"].get("deletionTimestamp"):
                self.deletion.delete_pod(pod)
        if any(not ended(pod) for pod in self.deletion.pods_of(job)):
            return
        self._count(job, list(self.deletion.pods_of(job)))
        job["status"]["conditions"] = with_condition(
            job["status"]["conditions"], "Failed", "True", *cause, now
        )

    def _succeed(self, job: dict) -> None:
        now, message = self.store.now(), "Reached expected number of succeeded pods"
        conditions = job["status"].get("conditions") or []
        for kind in ("SuccessCriteriaMet", "Complete"):
            conditions = with_condition(
                conditions, kind, "True", "CompletionsReached", message, now
            )
        job["status"] |= {"conditions": conditions, "completionTime": stamp(now)}

    def _suspend(self, job: dict) -> None:
        for pod in self.deletion.pods_of(job):
            if not ended(pod) and not pod["metadata"].get("deletionTimestamp"):
                self.deletion.untrack(pod)
                self.deletion.delete_pod(pod)
        job["status"].pop("startTime", None)
        job["status"]["conditions"] = with_condition(
            job["status"].get("conditions") or [],
            *("Suspended", "True", "JobSuspended", "Job suspended", self.store.now()),
        )

    def _resume(self, job: dict) -> None:
        if condition(job, "Suspended"):
            job["status"]["startTime"] = stamp(self.store.now())
            job["status"]["conditions"] = with_condition(
                job["status"]["conditions"],
                *("Suspended", "False", "JobResumed", "Job resumed", self.store.now()),
            )

    # -- pods

    def _make_pods(self, job: dict) -> None:
        spec, status = job["spec"], job["status"]
        living = [p for p in self.deletion.pods_of(job) if self._holds_place(job, p)]
        waits = (
            min(BACKOFF * 2 ** (status.get("failed", 0) - 1), 600) if status.get("failed") else 0
        )
        if waits and self.store.now() < self._last_end(job) + waits:
            return
        left = spec["completions"] - status.get("succeeded", 0)
        missing = min(spec["parallelism"], left) - len(living)
        for index in self._free_indexes(job, living)[: max(0, missing)]:
            try:
                self._make_pod(job, index)
            except ApiError as error:
                self._event(job, "FailedCreate", f"Error creating: {error.message}")
                return

    def _holds_place(self, job: dict, pod: dict) -> bool:
        if ended(pod):
            return False
        waits_for_end = job["spec"]["podReplacementPolicy"] == "Failed"
        return waits_for_end or not pod["metadata"].get("deletionTimestamp")

    def _last_end(self, job: dict) -> float:
        ends = [
            seconds_of(s["state"]["terminated"]["finishedAt"])
            for pod in self.deletion.pods_of(job)
            for s in pod["status"].get("containerStatuses") or ()
            if "terminated" in s["state"]
        ]
        return max(ends, default=-1e18)

    def _free_indexes(self, job: dict, living: list[dict]) -> list[int | None]:
        spec, status = job["spec"], job["status"]
        if spec["completionMode"] != "Indexed":
            return [None] * spec["parallelism"]
        taken = {int(pod["metadata"]["annotations"][INDEX]) for pod in living}
        taken |= indexes(status.get("completedIndexes", ""))
        taken |= indexes(status.get("failedIndexes", ""))
        return [i for i in range(spec["completions"]) if i not in taken]

    def _make_pod(self, job: dict, index: int | None) -> None:
        pod = pod_of(job, index, self.store.unique()[:5])
        if index is not None and job["spec"].get("backoffLimitPerIndex") is not None:
            before = [
                p
                for p in self.deletion.pods_of(job)
                if p["metadata"]["annotations"].get(INDEX) == str(index)
            ]
            pod["metadata"]["annotations"][FAILURES] = str(len(before))
        for check in self.pod_admission:
            check(pod)
        made = self.store.create(
            "pods", job["metadata"]["namespace"], admission.defaulted("pods", pod)
        )
        self._event(job, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    # -- status

    def _summarize(self, job: dict) -> None:
        job.pop("_last_failure", None)
        status, pods = job["status"], list(self.deletion.pods_of(job))
        going = [p for p in pods if not ended(p)]
        leaving = [p for p in going if p["metadata"].get("deletionTimestamp")]
        counts = {
            "active": len(going) - len(leaving),
            "terminating": len(leaving),
            "ready": sum(is_ready(p) for p in going),
        }
        for name, number in counts.items():
            status.pop(name, None)
            if number or name != "active":
                status[name] = number
        status["uncountedTerminatedPods"] = {}

    def _event(self, job: dict, reason: str, message: str) -> None:
        meta = job["metadata"]
        for event in self.store.all("events", meta["namespace"]):
            same = event["message"] == message or reason == event["reason"] == "FailedCreate"
            if same and event["involvedObject"]["uid"] == meta["uid"]:
                return
        about = {"kind": "Job", "apiVersion": "batch/v1", "name": meta["name"], "uid": meta["uid"]}
        kind = "Warning" if reason == "FailedCreate" else "Normal"
        event = {
            "metadata": {"name": f"{meta['name']}.{self.store.unique()[:16]}"},
            "involvedObject": about | {"namespace": meta["namespace"]},
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "lastTimestamp": stamp(self.store.now()),
            "source": {"component": "job-controller"},
        }
        self.store.create("events", meta["namespace"], event)
