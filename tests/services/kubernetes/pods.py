"""What the scheduler and the kubelet do with pods."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.kubernetes.containers import Container, Runtime, expanded
from services.kubernetes.mounts import Mounts
from services.kubernetes.store import Store, seconds_of, stamp

MESSAGE_LIMIT = 4096


@dataclass
class Nodes:
    """Where pods may run, and what is wrong there."""

    names: list[str] = field(default_factory=lambda: ["node-1", "node-2"])
    full: str = ""
    """Why no pod fits anywhere; empty where pods fit."""
    missing_images: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    """Nodes whose kubelet does not answer."""

    def choose(self, pod: dict) -> str | None:
        """Return the node for a pod, or ``None`` where none fits."""
        if self.full:
            return None
        fit = [n for n in self.names if n not in self.dead and _fits(pod["spec"], n)]
        return max(fit, key=lambda node: _wished(pod["spec"], node), default=None)


def _labels(node: str) -> dict[str, str]:
    return {"kubernetes.io/hostname": node, "kubernetes.io/os": "linux"}


def _affinity(spec: dict, kind: str) -> Any:
    found = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return found.get(f"{kind}DuringSchedulingIgnoredDuringExecution") or {}


def _wished(spec: dict, node: str) -> int:
    """Return how much a pod would like to run on a node."""
    return sum(
        term["weight"]
        for term in _affinity(spec, "preferred")
        if _meets(term["preference"], _labels(node), node)
    )


def _fits(spec: dict, node: str) -> bool:
    labels = _labels(node)
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    terms = _affinity(spec, "required").get("nodeSelectorTerms")
    return not terms or any(_meets(term, labels, node) for term in terms)


def _meets(term: dict, labels: dict[str, str], node: str) -> bool:
    named = [(e, labels.get(e["key"])) for e in term.get("matchExpressions") or ()]
    named += [(e, node) for e in term.get("matchFields") or () if e["key"] == "metadata.name"]
    for expression, value in named:
        values = expression.get("values") or ()
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[expression["operator"]]:
            return False
    return True


class Kubelet:
    """Brings pods to their end. Whoever calls holds the cluster's lock."""

    def __init__(self, store: Store, nodes: Nodes, runtime: Runtime, folder: Path) -> None:
        self.store, self.nodes, self.runtime, self.folder = store, nodes, runtime, folder
        self.containers: dict[str, dict[str, Container]] = {}
        """By uid of the pod and name of the container."""

    def step(self) -> bool:
        """Do what is due for every pod; return whether anything changed."""
        before = self.store.version
        for pod in self.store.all("pods"):
            self._step(pod)
        return self.store.version != before

    def _step(self, pod: dict) -> None:
        status, spec = pod["status"], pod["spec"]
        if status["phase"] in ("Succeeded", "Failed"):
            self._remove_if_deleted(pod)
            return
        if not spec.get("nodeName") and not self._schedule(pod):
            self._remove_if_deleted(pod)
            return
        if spec["nodeName"] in self.nodes.dead:
            return
        uid = pod["metadata"]["uid"]
        if uid not in self.containers and pod["metadata"].get("deletionTimestamp"):
            self._put(pod, phase="Failed")
            return
        if uid not in self.containers and not self._start(pod):
            return
        due = pod["metadata"].get("deletionTimestamp")
        if due and self.store.now() >= seconds_of(due):  # or its node is back
            self.stop(pod, 0)
        if self._is_overdue(pod):
            self.stop(pod, 0)
            message = "Pod was active on the node longer than the specified deadline"
            self._put(pod, phase="Failed", reason="DeadlineExceeded", message=message)
            return
        self._observe(pod)

    def _is_overdue(self, pod: dict) -> bool:
        limit, start = pod["spec"].get("activeDeadlineSeconds"), pod["status"].get("startTime")
        return bool(limit and start and self.store.now() >= seconds_of(start) + limit)

    def _schedule(self, pod: dict) -> bool:
        if pod["metadata"].get("deletionTimestamp"):
            self.store.remove("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            return False
        node = self.nodes.choose(pod)
        if node is None:
            why = (
                self.nodes.full
                or "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
            )
            self._condition(pod, "PodScheduled", "False", "Unschedulable", why)
            return False
        pod["spec"]["nodeName"] = node
        self._condition(pod, "PodScheduled", "True")
        pod.update(
            self.store.find("pods", pod["metadata"]["namespace"], pod["metadata"]["name"]) or {}
        )
        return True

    def _start(self, pod: dict) -> bool:
        """Start the containers, unless something is in the way."""
        for container in pod["spec"]["containers"]:
            if container["image"] in self.nodes.missing_images:
                message = f'Back-off pulling image "{container["image"]}"'
                return self._waits(pod, "ImagePullBackOff", message)
        mounts = Mounts(self.store, pod, self.folder / pod["metadata"]["uid"])
        if fault := mounts.prepare():
            return self._waits(pod, *fault)
        made = {}
        for spec in pod["spec"]["containers"]:
            env, fault = mounts.environment(spec)
            if fault:
                return self._waits(pod, *fault)
            made[spec["name"]] = _container(spec, env, mounts)
        self.containers[pod["metadata"]["uid"]] = made
        for container in made.values():
            self.runtime.start(container)
        return True

    def _waits(self, pod: dict, reason: str, message: str) -> bool:
        waiting = {"reason": reason} | ({"message": message} if message else {})
        statuses = [_status(spec, {"waiting": waiting}) for spec in pod["spec"]["containers"]]
        self._put(pod, phase="Pending", containerStatuses=statuses)
        return False

    def _observe(self, pod: dict) -> None:
        """Write the state of the containers into the pod's status."""
        running = self.containers[pod["metadata"]["uid"]]
        statuses = [
            self._container_status(s, running[s["name"]]) for s in pod["spec"]["containers"]
        ]
        codes = [container.exit_code for container in running.values()]
        if None in codes:
            self._put(pod, phase="Running", containerStatuses=statuses)
            self._condition(pod, "Ready", "True")
            return
        phase = "Failed" if any(codes) else "Succeeded"
        self._put(pod, phase=phase, containerStatuses=statuses)
        self._condition(pod, "Ready", "False", "PodFailed" if any(codes) else "PodCompleted")
        self._remove_if_deleted(
            self.store.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        )

    def _container_status(self, spec: dict, container: Container) -> dict:
        assert container.started_at is not None
        started = stamp(container.started_at)
        if container.exit_code is None:
            return _status(spec, {"running": {"startedAt": started}}, ready=True)
        assert container.finished_at is not None
        reason = container.reason or ("Error" if container.exit_code else "Completed")
        ended: dict[str, Any] = {
            "exitCode": container.exit_code,
            "reason": reason,
            "startedAt": started,
        }
        ended["finishedAt"] = stamp(container.finished_at)
        ended["containerID"] = f"containerd://{id(container):x}"
        if message := _message(spec, container):
            ended["message"] = message
        return _status(spec, {"terminated": ended})

    def stop(self, pod: dict, grace: float) -> None:
        """Tell the containers of a pod to end."""
        for container in self.containers.get(pod["metadata"]["uid"], {}).values():
            self.runtime.stop(container, grace)

    def _remove_if_deleted(self, pod: dict) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self.store.remove("pods", meta["namespace"], meta["name"])

    def _condition(
        self, pod: dict, kind: str, value: str, reason: str = "", message: str = ""
    ) -> None:
        fresh = self.store.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        fresh["spec"] = pod["spec"]
        fresh["status"]["conditions"] = with_condition(
            fresh["status"].get("conditions") or [], kind, value, reason, message, self.store.now()
        )
        self.store.update("pods", fresh)

    def _put(self, pod: dict, **status: Any) -> None:
        """Store what changed of a pod's status."""
        fresh = self.store.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        fresh["spec"] = pod["spec"]
        fresh["status"] |= status
        if status.get("phase") != "Pending":
            fresh["status"].setdefault("startTime", stamp(self.store.now()))
        self.store.update("pods", fresh)


def with_condition(
    conditions: list[dict], kind: str, value: str, reason: str, message: str, now: float
) -> list[dict]:
    """Return the conditions with one set; unchanged where it says the same already."""
    made = {"type": kind, "status": value}
    made |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
    for i, old in enumerate(conditions):
        if old["type"] == kind:
            same = {k: v for k, v in old.items() if not k.startswith("last")} == made
            new = old if same else made | {"lastTransitionTime": stamp(now)}
            return [*conditions[:i], new, *conditions[i + 1 :]]
    return [*conditions, made | {"lastTransitionTime": stamp(now)}]


def _container(spec: dict, env: dict[str, str], mounts: Mounts) -> Container:
    argv = [
        expanded(word, env) for word in (*(spec.get("command") or ()), *(spec.get("args") or ()))
    ]
    message = mounts.message_file(spec)
    return Container(
        name=spec["name"],
        argv=[mounts.local(spec, word) for word in argv] or ["/no-entrypoint"],
        env={name: mounts.local(spec, value) for name, value in env.items()},
        workdir=Path(mounts.local(spec, spec.get("workingDir") or "") or mounts.root),
        message_file=message,
    )


def _status(spec: dict, state: dict, *, ready: bool = False) -> dict:
    return {
        "name": spec["name"],
        "image": spec["image"],
        "imageID": "" if "waiting" in state else f"sha256:{spec['image']}",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }


def _message(spec: dict, container: Container) -> str:
    """Return the termination message, cut as the kubelet cuts it."""
    text = b""
    if container.message_file.is_file():
        text = container.message_file.read_bytes()[:MESSAGE_LIMIT]
    fallback = spec["terminationMessagePolicy"] == "FallbackToLogsOnError"
    if not text and fallback and container.exit_code:
        text = b"".join(line for _, line in container.lines[-80:])[-2048:]
    return text.decode(errors="replace")
