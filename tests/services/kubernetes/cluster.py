"""The cluster of a test: an API server, its controllers and its nodes, in this process."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from services.kubernetes.api import Api
from services.kubernetes.containers import Container, Processes
from services.kubernetes.faults import Effect, Fault, hang
from services.kubernetes.jobs import JobController
from services.kubernetes.pods import Kubelet, Nodes, with_condition
from services.kubernetes.server import Front
from services.kubernetes.store import Store

NAMESPACE = "trials"


class FakeCluster:
    """A cluster with one namespace. Use it as a context manager, or close it.

    ``runtime`` runs containers: as processes of this machine by default. Its time is that of
    ``clock``, and what is skipped.
    """

    def __init__(
        self, folder: Path, runtime: Any = None, clock: Callable[[], float] = time.time
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self.skipped = 0.0
        self.runtime = runtime or Processes()
        self.store = Store(self.now)
        self.nodes = Nodes()
        self.kubelet = Kubelet(self.store, self.nodes, self.runtime, folder / "pods")
        self.jobs = JobController(self.store, self.kubelet)
        self.api = Api(self.store, self.kubelet, self.jobs)
        self.lock, self.settle = self.api.lock, self.api.settle
        self.closing = Event()
        self.front = Front(self.api.handle, self.now)
        self.kubeconfig = folder / "kubeconfig"
        self.store.create("namespaces", "", {"metadata": {"name": NAMESPACE}})
        self.runtime.changed, self.runtime.now = self._changed, self.now
        self._write_kubeconfig()
        self._thread = Thread(target=self.front.serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "FakeCluster":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None and self.front.broken:
            raise AssertionError("the fake broke") from self.front.broken[0]

    def close(self) -> None:
        """End it, and what runs in it."""
        self.closing.set()
        self.front.close()
        self._thread.join()
        self.runtime.close()

    def now(self) -> float:
        return self._clock() + self.skipped

    def skip(self, seconds: float) -> None:
        """Let time pass."""
        with self.lock:
            self.skipped += seconds
            self.settle()

    def _changed(self) -> None:
        if self.closing.is_set():
            return
        try:
            self.settle()
        except Exception as bug:
            self.front.broken.append(bug)
            raise

    # -- what a test does to it

    def fault(self, before: Effect | None = None, after: Effect | None = None, **on: Any) -> Fault:
        """Add a fault to the program; see :class:`Fault`."""
        made = Fault(before, after, **on)
        self.front.faults.append(made)
        return made

    def hang(self) -> Effect:
        """Return a fault that says nothing until the cluster is closed."""
        return hang(self.closing)

    def rotate_token(self, token: str, *, tell: bool = True) -> None:
        """Take only ``token`` from now on; write it where clients read it, or do not."""
        self.api.token = token
        if tell:
            self._write_kubeconfig()

    def grant(self, roles: Iterable[dict], namespace: str = NAMESPACE) -> None:
        """Let the client do what these Roles say, and nothing else."""
        self.api.rbac.grant(namespace, roles)

    def add_quota(self, **hard: object) -> None:
        """Add a ResourceQuota; underscores stand for a slash, then for dots."""
        named = {key.replace("__", "/").replace("_", "."): str(v) for key, v in hard.items()}
        made = {"metadata": {"name": "quota"}, "spec": {"hard": named}}
        with self.lock:
            self.store.remove("resourcequotas", NAMESPACE, "quota")
            self.store.create("resourcequotas", NAMESPACE, made)

    def job(self, name: str) -> dict:
        with self.lock:
            return self.store.get("jobs", NAMESPACE, name)

    def pods(self, job: str | None = None) -> list[dict]:
        """Return the pods, perhaps of one job, by name."""
        with self.lock:
            found = list(self.store.all("pods", NAMESPACE))
        return [p for p in found if job in (None, p["metadata"]["labels"].get("job-name"))]

    def containers(self, pod: dict) -> dict[str, Container]:
        return self.kubelet.containers[pod["metadata"]["uid"]]

    def container(self, job: str, at: int = 0) -> Container:
        """Return the first container of one of a job's pods."""
        return next(iter(self.containers(self.pods(job)[at]).values()))

    def say(self, job: str, *lines: str, at: int = 0) -> None:
        """Let a scripted container print."""
        made = [(self.now(), f"{line}\n".encode()) for line in lines]
        self.container(job, at).lines.extend(made)

    def end(self, job: str, code: int = 0, reason: str = "", at: int = 0) -> None:
        """Let a scripted container end."""
        with self.lock:
            self.container(job, at).ended(code, self.now(), reason)
            self.settle()

    def disrupt(self, pod: dict, reason: str, message: str = "", *, delete: bool = True) -> None:
        """Let the infrastructure end a pod: ``PreemptionByScheduler``, ``EvictionByEvictionAPI``,
        ``DeletionByTaintManager``, ``DeletionByPodGC`` or ``TerminationByKubelet``.
        """
        with self.lock:
            fresh = self.store.get("pods", NAMESPACE, pod["metadata"]["name"])
            status = fresh["status"]
            status["conditions"] = with_condition(
                status.get("conditions") or [],
                *("DisruptionTarget", "True", reason, message, self.now()),
            )
            if reason == "TerminationByKubelet":
                status |= {"phase": "Failed", "reason": "Evicted", "message": message}
            if reason == "DeletionByPodGC":
                status |= {"phase": "Failed"}
            self.store.update("pods", fresh)
            if delete and reason != "TerminationByKubelet":
                self.jobs.deletion.delete_pod(fresh)
            self.settle()

    def vanish(self, pod: dict) -> None:
        """Take a pod away as if it had never been: no trace, no finalizer."""
        with self.lock:
            self.kubelet.stop(pod, 0)
            self.store.remove("pods", NAMESPACE, pod["metadata"]["name"])
            self.settle()

    def delete_job(self, name: str, policy: str = "Background") -> None:
        """Delete a job as an administrator would."""
        with self.lock:
            self.jobs.deletion.delete_job(self.job(name), policy)
            self.settle()

    def _write_kubeconfig(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.front.url}}],
            "users": [{"name": "fake", "user": {"token": self.api.token}}],
            "contexts": [
                {
                    "name": "fake",
                    "context": {"cluster": "fake", "user": "fake", "namespace": NAMESPACE},
                }
            ],
        }
        aside = self.kubeconfig.with_suffix(".new")
        aside.write_text(json.dumps(config))
        aside.replace(self.kubeconfig)
