"""How jobs and pods go: deletion with its policies, finalizers, garbage, and time to live."""

from collections.abc import Iterator

from services.kubernetes.facts import ENDS, FOREGROUND, TRACKING
from services.kubernetes.pods import Kubelet
from services.kubernetes.store import Store, seconds_of, stamp


class Deletion:
    """Takes objects away in the right order. Whoever calls holds the cluster's lock."""

    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self.store, self.kubelet = store, kubelet

    def pods_of(self, job: dict) -> Iterator[dict]:
        """Yield the pods that a job controls."""
        uid = job["metadata"]["uid"]

        def is_its_own(pod: dict) -> bool:
            return any(o["uid"] == uid for o in pod["metadata"].get("ownerReferences") or ())

        return self.store.all("pods", job["metadata"]["namespace"], is_its_own)

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

    def untrack(self, pod: dict) -> None:
        """Let go of a pod that is counted."""
        fresh = self.store.find("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        if fresh is not None and TRACKING in (fresh["metadata"].get("finalizers") or ()):
            self.store.update("pods", self._without_tracking(fresh))

    def _without_tracking(self, pod: dict) -> dict:
        kept = [f for f in pod["metadata"].get("finalizers") or () if f != TRACKING]
        pod["metadata"]["finalizers"] = kept
        return pod

    def go_on(self, job: dict) -> None:
        """Go on with a foreground deletion: the pods first."""
        pods = list(self.pods_of(job))
        for pod in pods:
            self.untrack(pod)
            self.delete_pod(pod)
        if not pods and FOREGROUND in (job["metadata"].get("finalizers") or ()):
            job["metadata"]["finalizers"].remove(FOREGROUND)
            self.store.update("jobs", job)

    def orphans(self) -> None:
        """Delete the pods of jobs that are gone."""
        alive = {job["metadata"]["uid"] for job in self.store.all("jobs")}
        for pod in self.store.all("pods"):
            owners = [o["uid"] for o in pod["metadata"].get("ownerReferences") or ()]
            if owners and not alive.intersection(owners):
                self.untrack(pod)
                self.delete_pod(pod)

    def expire(self, job: dict) -> None:
        """Delete a finished job whose time is over."""
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
