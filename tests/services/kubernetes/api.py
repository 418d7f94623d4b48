"""What the API does with a request."""

from collections.abc import Callable
from threading import RLock

from services.kubernetes import admission, quota, validation
from services.kubernetes.errors import ApiError, forbidden, invalid, not_found
from services.kubernetes.facts import labelled
from services.kubernetes.faults import Answer, Request
from services.kubernetes.jobs import JobController
from services.kubernetes.logs import log
from services.kubernetes.patch import patched
from services.kubernetes.pods import Kubelet
from services.kubernetes.rbac import Rbac
from services.kubernetes.selection import matches_fields, matches_labels
from services.kubernetes.store import GROUPS, Store, check_preconditions, copied


class Api:
    """Answers requests over a store. ``settle`` lets controllers and kubelet do what is due."""

    def __init__(self, store: Store, kubelet: Kubelet, jobs: JobController) -> None:
        self.store, self.kubelet, self.jobs = store, kubelet, jobs
        self.lock = RLock()
        self._at_rest: tuple[int, float] = (0, 0.0)
        """Version and time at which nothing was left to do."""
        self.rbac = Rbac()
        self.token = "token-1"
        self.warnings: list[str] = []
        """What clients were warned of: fields that nobody knows."""
        self.restricted = False
        """Whether the namespace enforces the restricted Pod Security Standard."""
        self.drops_suspend = False
        """Whether it is so old that it does not know ``suspend``."""
        self.mutate: Callable[[dict], None] = lambda _job: None
        """A webhook that sees each job before it is stored."""
        jobs.pod_admission.append(self._admit_pod)

    def settle(self) -> None:
        """Let controllers and kubelet do all that is due."""
        with self.lock:
            for _ in range(100):
                if not (self.jobs.step() | self.kubelet.step()):
                    self._at_rest = self.store.version, self.store.now()
                    return
        raise AssertionError("the controllers do not come to rest")

    def handle(self, request: Request) -> object:
        if request.token != self.token:
            raise ApiError(401, "Unauthorized")
        if request.resource.startswith("/"):
            return _discovery(request)
        if request.resource.startswith("selfsubject"):
            return self._review(request)
        with self.lock:
            self.rbac.check(
                *(request.verb, request.group, request.resource, request.namespace, request.name)
            )
            self._settle_news()
            done = self._do(request)
            self._settle_news()
            return done

    def _settle_news(self) -> None:
        """Settle, unless nothing has changed: neither an object nor the time."""
        if self._at_rest != (self.store.version, self.store.now()):
            self.settle()

    def _review(self, request: Request) -> object:
        if request.resource != "selfsubjectaccessreviews" or request.verb != "create":
            raise ApiError(404, "the server could not find the requested resource")
        assert isinstance(request.body, dict)
        return self.rbac.review(request.body)

    def _do(self, request: Request) -> object:
        resource, _, sub = request.resource.partition("/")
        if resource not in GROUPS or GROUPS[resource][0] != request.group:
            raise ApiError(404, "the server could not find the requested resource")
        if sub == "log" and resource == "pods":
            return self._log(request)
        if sub not in ("", "status"):
            raise ApiError(404, "the server could not find the requested resource")
        verbs = {
            "list": self._list,
            "get": self._get,
            "create": self._create,
            "patch": self._patch,
            "delete": self._delete,
        }
        if request.verb not in verbs:
            raise ApiError(405, f"the fake does not {request.verb} {resource}")
        return verbs[request.verb](request, resource)

    def _list(self, request: Request, resource: str) -> object:
        query = request.query
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")

        def chosen(item: dict) -> bool:
            mine = item["metadata"].get("labels") or {}
            return matches_labels(labels, mine) and matches_fields(fields, item)

        return self.store.page(resource, request.namespace or None, chosen, query)

    def _get(self, request: Request, resource: str) -> object:
        return self.store.get(resource, request.namespace, request.name)

    def _create(self, request: Request, resource: str) -> object:
        namespace = request.namespace
        if self.store.find("namespaces", "", namespace) is None:
            raise not_found("namespaces", "", namespace)
        item, warned = admission.decoded(
            resource, copied(request.body), request.query.get("fieldValidation", "Warn")
        )
        self.warnings += warned
        given = item.setdefault("metadata", {}).setdefault("namespace", namespace)
        if given != namespace:
            why = "the namespace of the provided object does not match that of the request"
            raise ApiError(400, f"{why}: {given}, {namespace}")
        if resource == "jobs":
            self._prepare_job(item)
        validation.validated(resource, item)
        if self.store.find(resource, namespace, item["metadata"].get("name", "")):
            return self.store.create(resource, namespace, item)  # raises AlreadyExists
        quota.check(self.store, resource, item)
        if resource == "pods":
            self._admit_pod(item)
            item["status"] = {"phase": "Pending"}
        item = admission.defaulted(resource, item)
        if request.query.get("dryRun") == "All":
            aside = Store(self.store.now)
            made = aside.create(resource, namespace, item)
            return labelled(made) if resource == "jobs" else made
        made = self.store.create(resource, namespace, item)
        if resource == "jobs":
            made = self.store.update("jobs", labelled(made))
        return made

    def _prepare_job(self, job: dict) -> None:
        self.mutate(job)
        if self.drops_suspend and isinstance(job.get("spec"), dict):
            job["spec"].pop("suspend", None)

    def _admit_pod(self, pod: dict) -> None:
        broken = admission.restricted_violations(pod["spec"]) if self.restricted else []
        if broken:
            why = f'violates PodSecurity "restricted:latest": {", ".join(broken)}'
            raise forbidden("pods", "", pod["metadata"].get("name", ""), why)
        quota.check(self.store, "pods", pod)
        validation.validated("pods", pod)

    def _patch(self, request: Request, resource: str) -> object:
        old = self.store.get(resource, request.namespace, request.name)
        new = patched(old, request.body, request.content_type)
        for key in ("name", "namespace"):
            if new["metadata"].get(key) != old["metadata"].get(key):
                raise ApiError(400, f"the {key} of the object does not match the request")
        if new["metadata"].get("uid") != old["metadata"]["uid"]:
            group, _, kind = GROUPS[resource]
            why = (
                f'metadata.uid: Invalid value: "{new["metadata"].get("uid")}": field is immutable'
            )
            raise invalid(kind, group, request.name, [why])
        if request.resource.endswith("/status"):
            return self.store.update(resource, old | {"status": new.get("status", {})})
        new["status"] = old.get("status", {})
        new, warned = admission.decoded(
            resource, new, request.query.get("fieldValidation", "Warn")
        )
        self.warnings += warned
        if resource == "jobs":
            validation.check_update(old, new)
        validation.validated(resource, new)
        if request.query.get("dryRun") == "All":
            return new
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        return self.store.update(resource, new)

    def _delete(self, request: Request, resource: str) -> object:
        item = self.store.get(resource, request.namespace, request.name)
        options = request.body if isinstance(request.body, dict) else {}
        check_preconditions(resource, item, options.get("preconditions") or {})
        if options.get("dryRun") or request.query.get("dryRun"):
            return _success(item, resource)
        policy = options.get("propagationPolicy") or request.query.get("propagationPolicy")
        if resource == "jobs":
            # batch/v1 orphans pods unless it is told otherwise, for old clients' sake.
            left = self.jobs.deletion.delete_job(item, policy or "Orphan")
            return left if left["metadata"].get("deletionTimestamp") else _success(item, resource)
        if resource == "pods":
            grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
            self.jobs.deletion.delete_pod(item, None if grace is None else float(grace))
            return item
        self.store.remove(resource, request.namespace, request.name)
        return _success(item, resource)

    def _log(self, request: Request) -> Answer:
        pod = self.store.get("pods", request.namespace, request.name)
        node = pod["spec"].get("nodeName")
        if node in self.kubelet.nodes.dead:
            where = f"https://{node}:10250/containerLogs/{request.namespace}/{request.name}"
            raise ApiError(500, f'Get "{where}": dial tcp: i/o timeout', "InternalError")
        if not node:
            return Answer(204, b"", "")
        containers = self.kubelet.containers.get(pod["metadata"]["uid"], {})
        return Answer(200, log(pod, containers, request.query, self.store.now()), "text/plain")


def _success(item: dict, resource: str) -> dict:
    meta = item["metadata"]
    details = {
        "name": meta["name"],
        "group": GROUPS[resource][0],
        "kind": resource,
        "uid": meta["uid"],
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def _discovery(request: Request) -> object:
    """Answer what a client asks before it knows anything."""
    path = request.resource
    if path == "/version":
        return {"major": "1", "minor": "37", "gitVersion": "v1.37.0", "platform": "linux/amd64"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [_group("batch"), _group("authorization.k8s.io")]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path in ("/readyz", "/livez", "/healthz"):
        return Answer(200, b"ok", "text/plain")
    for group, at in (("", "/api/v1"), ("batch", "/apis/batch/v1")):
        if path == at:
            resources = [
                {"name": name, "kind": kind, "namespaced": name not in ("namespaces", "nodes")}
                | {"singularName": "", "verbs": ["create", "delete", "get", "list", "patch"]}
                for name, (of, _, kind) in GROUPS.items()
                if of == group
            ]
            version = f"{group}/v1" if group else "v1"
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": resources,
            }
    raise ApiError(404, "the server could not find the requested resource")


def _group(name: str) -> dict:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}
