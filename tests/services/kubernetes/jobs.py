"""The Job controller, the garbage collector and the TTL controller, as they behave since 1.31."""

import copy
import uuid
from collections.abc import Iterator
from typing import Any

from services.kubernetes import admission
from services.kubernetes.errors import ApiError
from services.kubernetes.pods import Kubelet, with_condition
from services.kubernetes.store import Store, seconds_of, stamp

TRACKING = "batch.kubernetes.io/job-tracking"
FOREGROUND = "foregroundDeletion"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
BACKOFF = 10.0
"""Seconds before a failed pod is replaced; doubled for each further one."""


class JobController:
    """Makes pods of jobs and follows them. Whoever calls holds the cluster's lock."""

    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self.store, self.kubelet = store, kubelet
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
        self._collect_garbage()
        return self.store.version != before

    def _step(self, job: dict) -> None:
        if job["metadata"].get("deletionTimestamp"):
            self._delete(job)
            return
        pods = list(self.pods_of(job))
        if finished(job):
            for pod in pods:
                self._untrack(pod)
                if not _ended(pod):
                    self.delete_pod(pod)
            self._expire(job)
            return
        spec, status = job["spec"], job["status"]
        if not spec["suspend"] and not status.get("startTime"):
            status["startTime"] = stamp(self.store.now())
        self._count(job, pods)
        cause = _condition(job, "FailureTarget") or self._failure(job, pods)
        if cause is not None:
            self._fail(job, cause)
        elif _succeeded(job):
            self._succeed(job)
        elif spec["suspend"]:
            self._suspend(job)
        else:
            self._resume(job)
            self._make_pods(job)
        self._summarize(job)
        self.store.update("jobs", job)

    def pods_of(self, job: dict) -> Iterator[dict]:
        """Yield the pods that a job controls."""
        for pod in self.store.all("pods", job["metadata"]["namespace"]):
            owners = pod["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == job["metadata"]["uid"] for owner in owners):
                yield pod

    # -- counting

    def _count(self, job: dict, pods: list[dict]) -> None:
        """Take ended pods into the status, each once; then let go of them."""
        status, indexed = job["status"], job["spec"]["completionMode"] == "Indexed"
        for pod in pods:
            if TRACKING not in (pod["metadata"].get("finalizers") or ()):
                continue
            if pod["status"]["phase"] == "Succeeded":
                if indexed:
                    _add_index(status, "completedIndexes", pod)
                    status["succeeded"] = len(indexes(status.get("completedIndexes", "")))
                else:
                    status["succeeded"] = status.get("succeeded", 0) + 1
            elif self._is_failed(job, pod):
                if self._is_ignored(job, pod):
                    self._untrack(pod)
                    continue
                status["failed"] = status.get("failed", 0) + 1
                job.setdefault("_last_failure", self.store.now())
                self._count_index(job, pod)
            else:
                continue
            self._untrack(pod)

    def _is_failed(self, job: dict, pod: dict) -> bool:
        if pod["status"]["phase"] == "Failed":
            return True
        replaces_failed_only = job["spec"]["podReplacementPolicy"] == "Failed"
        return bool(pod["metadata"].get("deletionTimestamp")) and not replaces_failed_only

    def _is_ignored(self, job: dict, pod: dict) -> bool:
        rule = _rule(job, pod)
        return rule is not None and rule["action"] == "Ignore"

    def _count_index(self, job: dict, pod: dict) -> None:
        limit = job["spec"].get("backoffLimitPerIndex")
        if limit is None:
            return
        rule = _rule(job, pod)
        failures = int(pod["metadata"]["annotations"].get(FAILURES, "0")) + 1
        if failures > limit or (rule and rule["action"] == "FailIndex"):
            _add_index(job["status"], "failedIndexes", pod)

    def _failure(self, job: dict, pods: list[dict]) -> tuple[str, str] | None:
        """Return why the job is to fail: reason and message."""
        spec, status = job["spec"], job["status"]
        for pod in pods:
            rule = _rule(job, pod)
            if rule is not None and rule["action"] == "FailJob":
                return "PodFailurePolicy", _policy_message(job, pod)
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
        for pod in self.pods_of(job):
            if not _ended(pod) and not pod["metadata"].get("deletionTimestamp"):
                self.delete_pod(pod)
        if any(not _ended(pod) for pod in self.pods_of(job)):
            return
        self._count(job, list(self.pods_of(job)))
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
        for pod in self.pods_of(job):
            if not _ended(pod) and not pod["metadata"].get("deletionTimestamp"):
                self._untrack(pod)
                self.delete_pod(pod)
        job["status"].pop("startTime", None)
        job["status"]["conditions"] = with_condition(
            job["status"].get("conditions") or [],
            *("Suspended", "True", "JobSuspended", "Job suspended", self.store.now()),
        )

    def _resume(self, job: dict) -> None:
        if _condition(job, "Suspended"):
            job["status"]["startTime"] = stamp(self.store.now())
            job["status"]["conditions"] = with_condition(
                job["status"]["conditions"],
                *("Suspended", "False", "JobResumed", "Job resumed", self.store.now()),
            )

    def _expire(self, job: dict) -> None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return
        ends = [
            seconds_of(c["lastTransitionTime"])
            for c in job["status"]["conditions"]
            if c["type"] in ENDS
        ]
        if self.store.now() >= min(ends) + ttl:
            self.delete_job(job, "Foreground")

    # -- pods

    def _make_pods(self, job: dict) -> None:
        spec, status = job["spec"], job["status"]
        living = [p for p in self.pods_of(job) if self._holds_place(job, p)]
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
        if _ended(pod):
            return False
        waits_for_end = job["spec"]["podReplacementPolicy"] == "Failed"
        return waits_for_end or not pod["metadata"].get("deletionTimestamp")

    def _last_end(self, job: dict) -> float:
        ends = [
            seconds_of(s["state"]["terminated"]["finishedAt"])
            for pod in self.pods_of(job)
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
        pod = pod_of(job, index)
        if index is not None and job["spec"].get("backoffLimitPerIndex") is not None:
            before = [
                p
                for p in self.pods_of(job)
                if p["metadata"]["annotations"].get(INDEX) == str(index)
            ]
            pod["metadata"]["annotations"][FAILURES] = str(len(before))
        for check in self.pod_admission:
            check(pod)
        made = self.store.create(
            "pods", job["metadata"]["namespace"], admission.defaulted("pods", pod)
        )
        self._event(job, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    def delete_pod(self, pod: dict, grace: float | None = None) -> None:
        """Ask for a pod's end; it is gone once its containers are and nobody holds it."""
        meta = pod["metadata"]
        fresh = self.store.find("pods", meta["namespace"], meta["name"])
        if fresh is None:
            return
        if grace is None:
            grace = fresh["spec"].get("terminationGracePeriodSeconds", 30)
        if grace == 0:
            self.kubelet.stop(fresh, 0)
        if not fresh["metadata"].get("deletionTimestamp"):
            fresh["metadata"]["deletionTimestamp"] = stamp(self.store.now() + grace)
            fresh["metadata"]["deletionGracePeriodSeconds"] = int(grace)
            self.store.update("pods", fresh)
            if fresh["spec"].get("nodeName") not in self.kubelet.nodes.dead:
                self.kubelet.stop(fresh, grace)
        if grace == 0 and not fresh["metadata"].get("finalizers"):
            self.store.remove("pods", meta["namespace"], meta["name"])

    def delete_job(self, job: dict, policy: str) -> dict:
        """Delete a job as ``policy`` says; return it as it is now."""
        meta = job["metadata"]
        if policy == "Foreground":
            if not meta.get("deletionTimestamp"):
                meta["deletionTimestamp"] = stamp(self.store.now())
                meta["finalizers"] = [*(meta.get("finalizers") or ()), FOREGROUND]
                job = self.store.update("jobs", job)
            return job
        if policy == "Orphan":
            for pod in self.pods_of(job):
                pod["metadata"].pop("ownerReferences")
                self.store.update("pods", self._without_tracking(pod))
        if meta.get("finalizers"):
            meta.setdefault("deletionTimestamp", stamp(self.store.now()))
            return self.store.update("jobs", job)
        self.store.remove("jobs", meta["namespace"], meta["name"])
        return job

    def _delete(self, job: dict) -> None:
        """Go on with a foreground deletion: the pods first."""
        pods = list(self.pods_of(job))
        for pod in pods:
            self._untrack(pod)
            self.delete_pod(pod)
        if not pods and FOREGROUND in (job["metadata"].get("finalizers") or ()):
            job["metadata"]["finalizers"].remove(FOREGROUND)
            self.store.update("jobs", job)

    def _collect_garbage(self) -> None:
        """Delete the pods of jobs that are gone."""
        alive = {job["metadata"]["uid"] for job in self.store.all("jobs")}
        for pod in self.store.all("pods"):
            owners = [o["uid"] for o in pod["metadata"].get("ownerReferences") or ()]
            if owners and not alive.intersection(owners):
                self._untrack(pod)
                self.delete_pod(pod)

    def _untrack(self, pod: dict) -> None:
        fresh = self.store.find("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        if fresh is not None and TRACKING in (fresh["metadata"].get("finalizers") or ()):
            self.store.update("pods", self._without_tracking(fresh))

    def _without_tracking(self, pod: dict) -> dict:
        kept = [f for f in pod["metadata"].get("finalizers") or () if f != TRACKING]
        pod["metadata"]["finalizers"] = kept
        return pod

    # -- status

    def _summarize(self, job: dict) -> None:
        job.pop("_last_failure", None)
        status, pods = job["status"], list(self.pods_of(job))
        going = [p for p in pods if not _ended(p)]
        leaving = [p for p in going if p["metadata"].get("deletionTimestamp")]
        counts = {
            "active": len(going) - len(leaving),
            "terminating": len(leaving),
            "ready": sum(_is_ready(p) for p in going),
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
            "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:16]}"},
            "involvedObject": about | {"namespace": meta["namespace"]},
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "lastTimestamp": stamp(self.store.now()),
            "source": {"component": "job-controller"},
        }
        self.store.create("events", meta["namespace"], event)


ENDS = ("Complete", "Failed")


def finished(job: dict) -> bool:
    return any(_condition(job, kind) for kind in ENDS)


def indexes(text: str) -> set[int]:
    """Return the numbers of ``1,3-5``."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _add_index(status: dict, key: str, pod: dict) -> None:
    found = sorted(indexes(status.get(key, "")) | {int(pod["metadata"]["annotations"][INDEX])})
    parts: list[list[int]] = []
    for number in found:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    status[key] = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _condition(job: dict, kind: str) -> tuple[str, str] | None:
    """Return reason and message of a condition that is true."""
    for condition in job["status"].get("conditions") or ():
        if condition["type"] == kind and condition["status"] == "True":
            return condition.get("reason", ""), condition.get("message", "")
    return None


def _ended(pod: dict) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _succeeded(job: dict) -> bool:
    return job["status"].get("succeeded", 0) >= job["spec"]["completions"]


def _is_ready(pod: dict) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _rule(job: dict, pod: dict) -> dict | None:
    """Return the first rule of the job's failure policy that a failed pod fulfils."""
    if pod["status"]["phase"] != "Failed":
        return None
    for rule in (job["spec"].get("podFailurePolicy") or {}).get("rules") or ():
        if _fulfils(rule, pod):
            return rule
    return None


def _fulfils(rule: dict, pod: dict) -> bool:
    for wanted in rule.get("onPodConditions") or ():
        for condition in pod["status"].get("conditions") or ():
            same = condition["type"] == wanted["type"]
            if same and condition["status"] == wanted.get("status", "True"):
                return True
    codes = rule.get("onExitCodes")
    if not codes:
        return False
    for status in pod["status"].get("containerStatuses") or ():
        code = (status["state"].get("terminated") or {}).get("exitCode", 0)
        named = codes.get("containerName") in (None, status["name"])
        if code and named and (code in codes["values"]) is (codes["operator"] == "In"):
            return True
    return False


def _policy_message(job: dict, pod: dict) -> str:
    rules = job["spec"]["podFailurePolicy"]["rules"]
    at, name = rules.index(_rule(job, pod)), pod["metadata"]["name"]
    where = f"{pod['metadata']['namespace']}/{name}"
    if rules[at].get("onPodConditions"):
        kind = rules[at]["onPodConditions"][0]["type"]
        return f"Pod {where} has condition {kind} matching FailJob rule at index {at}"
    status = pod["status"]["containerStatuses"][0]
    code = status["state"]["terminated"]["exitCode"]
    what = f"Container {status['name']} for pod {where} failed with exit code {code}"
    return f"{what} matching FailJob rule at index {at}"


def pod_of(job: dict, index: int | None) -> dict:
    """Return the pod that a job's controller makes for one index."""
    meta, template = job["metadata"], copy.deepcopy(job["spec"]["template"])
    own = template.get("metadata") or {}
    labels, annotations = dict(own.get("labels") or {}), dict(own.get("annotations") or {})
    spec, name = template["spec"], meta["name"]
    if index is not None:
        name = f"{name}-{index}"
        annotations[INDEX] = labels[INDEX] = str(index)
        spec.setdefault("hostname", name)
        field = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
            env = container.setdefault("env", [])
            if not any(v["name"] == "JOB_COMPLETION_INDEX" for v in env):
                env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": field})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
    return {
        "metadata": {
            "name": f"{name[:57]}-{uuid.uuid4().hex[:5]}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
            "finalizers": [TRACKING],
        },
        "spec": spec,
        "status": {"phase": "Pending"},
    }


def labelled(job: dict) -> dict:
    """Give a new job the labels and the selector by which it knows its pods."""
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    ours = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    meta = job["spec"]["template"].setdefault("metadata", {})
    meta["labels"] = (meta.get("labels") or {}) | ours
    job["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    job["metadata"]["labels"] = job["metadata"].get("labels") or {}
    job["status"] = {}
    return job
