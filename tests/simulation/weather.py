"""What goes wrong with a simulated cluster: its requests, its nodes, its people."""

from collections.abc import Iterator
from typing import Any

from services.kubernetes.admission import defaulted
from services.kubernetes.cluster import NAMESPACE, FakeCluster
from services.kubernetes.deletion import Deletion
from services.kubernetes.facts import ended, finished, labelled
from services.kubernetes.faults import PASSING, Answer, Effect, Request, call, drop, error
from services.kubernetes.store import copied

from runners.kube.manifest import TOKEN
from simulation.faults import Chance
from simulation.ghosts import Ghost

FAULTS = (
    "http_fails",
    "http_answer_lost",
    "http_cut",
    "http_late",
    "http_slow",
    "looked_before",
    "http_unauthorized",
    "http_page_expired",
    "refused",
    "namesake",
    "quota",
    "nodes_full",
    "image_missing",
    "controllers_down",
    "node_fails",
    "preempted",
    "pod_deleted",
    "job_deleted",
    "suspended",
    "collected",
)
QUEUE = "kueue.x-k8s.io/queue-name"
ANOTHERS = "another's"
FULL = "0/2 nodes are available: 2 Insufficient cpu."
EVICTIONS = ("PreemptionByScheduler", "EvictionByEvictionAPI", "TerminationByKubelet")
CUT = Answer(200, b'{"kind": "JobList", "apiVersion": "batch/v1", "items": [', cut=True)


class Trouble:
    """A fault of the server that strikes as chance will have it; see ``faults.Fault``."""

    def __init__(self, chance: Chance, cluster: FakeCluster, ghosts: dict[str, Ghost]) -> None:
        self.chance, self.cluster, self.ghosts = chance, cluster, ghosts
        self.before: Effect | None = None
        self.after: Effect | None = None
        self.late: list[Request] = []
        """What the server does long after the client has given up."""
        self.refused: set[str] = set()
        self.deleted: set[str] = set()
        self.namesakes: set[str] = set()
        """Names of the jobs of others that have our names."""
        self._create = cluster.store.create

    def strikes(self, request: Request) -> bool:
        """Choose what befalls this request."""
        if request.verb == "delete":
            self.deleted.add(request.name)
        self.before, self.after = self._before(request), self._after()
        if self.before or self.after:
            self._note_trouble(request)
        return True

    def _note_trouble(self, request: Request) -> None:
        """Note for how long what is left to do about a job that is over cannot be done."""
        kind, name = request.resource, request.name
        pod = self.cluster.store.find("pods", NAMESPACE, name) if kind == "pods/log" else None
        name = pod["metadata"]["labels"]["job-name"] if pod else name
        job = self.cluster.store.find("jobs", NAMESPACE, name)
        if job is None or name not in self.ghosts or not finished(job):
            return
        if pod:
            self.ghosts[name].unread.append(self.chance.now)
        elif request.verb == "delete":
            self.ghosts[name].undeleted.append(self.chance.now)

    def _before(self, request: Request) -> Effect | None:
        strikes = self.chance.strikes
        if request.verb == "create" and (effect := self._refusal(request)):
            return effect
        if request.verb not in ("get", "list") and strikes("http_late"):
            self.late.append(request)
            return drop
        if request.query.get("continue") and strikes("http_page_expired"):
            return call(self.cluster.store.compact)
        if strikes("http_unauthorized"):
            return error(401, "Unauthorized")
        if strikes("http_fails"):
            return self.chance.rng.choice(list(PASSING.values()))
        return None

    def _refusal(self, request: Request) -> Effect | None:
        name = name_of(request)
        if self.chance.strikes("quota"):
            text = f'jobs.batch "{name}" is forbidden: exceeded quota: q, requested: count/jobs=1'
            return error(403, text, "Forbidden")
        pending = any(name_of(late) == name for late in self.late)
        if pending or self.cluster.store.find("jobs", NAMESPACE, name):
            return None
        if self.chance.strikes("refused"):
            self.refused.add(name)
            return error(422, f'Job.batch "{name}" is invalid: says a webhook', "Invalid")
        if self.chance.strikes("namesake"):
            self.refused.add(name)
            self.namesakes.add(name)
            return call(lambda: self._make_namesake(request.body))
        return None

    def _make_namesake(self, body: Any) -> None:
        """Make a job as another schedd would that began with the same database, elsewhere."""
        made = defaulted("jobs", copied(body))
        made["metadata"]["annotations"][TOKEN] = ANOTHERS
        self.cluster.store.update("jobs", labelled(self._create("jobs", NAMESPACE, made)))

    def _after(self) -> Effect | None:
        if self.chance.strikes("http_answer_lost"):
            return self.chance.rng.choice([drop, *PASSING.values()])
        if self.chance.strikes("http_cut"):
            return lambda: CUT
        return None


def name_of(request: Request) -> str:
    """Return the name of the object that a request is about."""
    body = request.body if request.verb == "create" and isinstance(request.body, dict) else {}
    return str((body.get("metadata") or {}).get("name") or request.name)


class Weather:
    """Changes a cluster from step to step. Whoever calls holds its lock."""

    def __init__(self, chance: Chance, cluster: FakeCluster, ghosts: dict[str, Ghost]) -> None:
        self.chance, self.cluster, self.ghosts = chance, cluster, ghosts
        self.suspended: set[str] = set()
        """Names of the jobs that somebody else suspended."""
        self._create = cluster.store.create

    def turn(self, image: str) -> None:
        """Let things go wrong, and right again."""
        cluster = self.cluster
        cluster.nodes.full = FULL if self._lasts("nodes_full", bool(cluster.nodes.full)) else ""
        cluster.jobs.paused = self._lasts("controllers_down", cluster.jobs.paused)
        missing = self._lasts("image_missing", bool(cluster.nodes.missing_images))
        cluster.nodes.missing_images = {image} if missing else set()
        for job in self._jobs():
            self._befalls(job)
            if missing:
                self.ghosts[job["metadata"]["name"]].happened.add("image_missing")
        self._nodes()

    def calm(self) -> None:
        """End all trouble."""
        nodes = self.cluster.nodes
        nodes.full, nodes.missing_images = "", set()
        nodes.dead.clear()
        self.cluster.jobs.paused = False
        for name in list(self.suspended):
            self._suspend(name, value=False)

    def admit(self) -> None:
        """Start what Kueue has in its queue; take it out again, perhaps."""
        for job in self._jobs():
            name, meta = job["metadata"]["name"], job["metadata"]
            if QUEUE not in (meta.get("labels") or {}) or name in self.suspended:
                continue
            if job["spec"]["suspend"] and (self.chance.quiet or self.chance.rng.random() < 0.5):
                self._suspend(name, value=False)

    def _lasts(self, fault: str, now: bool) -> bool:
        if now:
            return self.chance.rng.random() < 0.7
        return self.chance.strikes(fault)

    def _jobs(self) -> Iterator[dict]:
        """Yield the jobs that are neither over nor being deleted."""
        for job in list(self.cluster.store.all("jobs", NAMESPACE)):
            if job["metadata"]["annotations"][TOKEN] == ANOTHERS:
                continue
            if not job["metadata"].get("deletionTimestamp") and not finished(job):
                yield job
            elif finished(job) and self.chance.strikes("collected"):
                self._collect(job)

    def _befalls(self, job: dict) -> None:
        """Let something befall one job."""
        name, chance = job["metadata"]["name"], self.chance
        if name in self.suspended:
            if chance.rng.random() < 0.3:
                self._suspend(name, value=False)
            return
        running = [p for p in self._pods(job) if not ended(p)]
        if running and chance.strikes("preempted"):
            self.ghosts[name].happened.add("preempted")
            self.cluster.disrupt(running[0], chance.rng.choice(EVICTIONS), "others need the room")
        elif running and chance.strikes("pod_deleted"):
            self.ghosts[name].happened.add("pod_deleted")
            self._deletion.delete_pod(running[0])
        elif chance.strikes("job_deleted"):
            self.ghosts[name].happened.add("job_deleted")
            again = chance.rng.random() < 0.4
            policy = "Background" if again else chance.rng.choice(("Background", "Foreground"))
            self.cluster.delete_job(name, policy)
            if again:
                self._make_again(job)
        elif not job["spec"]["suspend"] and chance.strikes("suspended"):
            self._suspend(name, value=True)

    def _make_again(self, job: dict) -> None:
        """Make a deleted job again as it was, suspended, as who plays a backup back does."""
        again = copied(job)
        again["spec"]["suspend"] = True
        again["metadata"].get("labels", {}).pop(QUEUE, None)
        self.suspended.discard(again["metadata"]["name"])
        ghost = self.ghosts[again["metadata"]["name"]]
        ghost.strayed_at = self.chance.now
        made = labelled(self._create("jobs", NAMESPACE, again))
        ghost.uid = made["metadata"]["uid"]
        self.cluster.store.update("jobs", made)

    @property
    def _deletion(self) -> Deletion:
        return self.cluster.jobs.deletion

    def _pods(self, job: dict) -> list[dict]:
        return list(self._deletion.pods_of(job))

    def _suspend(self, name: str, *, value: bool) -> None:
        self.suspended.discard(name)
        job = self.cluster.store.find("jobs", NAMESPACE, name)
        if job is None or finished(job):
            return
        if value:
            self.suspended.add(name)
            self.ghosts[name].restarts += 1
            self.ghosts[name].happened.add("suspended")
        job["spec"]["suspend"] = value
        self.cluster.store.update("jobs", job)

    def _collect(self, job: dict) -> None:
        """Take the Pods of a job that is over away, as the garbage collector may."""
        pods = self._pods(job)
        if pods and all(map(ended, pods)):
            self.ghosts[job["metadata"]["name"]].happened.add("collected")
            for pod in pods:
                self.cluster.vanish(pod)

    def _nodes(self) -> None:
        nodes = self.cluster.nodes
        if nodes.dead and self.chance.rng.random() < 0.2:
            nodes.dead.clear()
        if nodes.dead or not self.chance.strikes("node_fails"):
            return
        node = self.chance.rng.choice(nodes.names)
        nodes.dead.add(node)
        for pod in list(self.cluster.store.all("pods", NAMESPACE)):
            if pod["spec"].get("nodeName") != node:
                continue
            self.ghosts[pod["metadata"]["labels"]["job-name"]].happened.add("node_fails")
            if not ended(pod):
                self.cluster.disrupt(pod, "DeletionByTaintManager", f"{node} is gone")
