"""A namespace where runner tests can run: on a fake cluster, or on the one of ``KUBECONFIG``.

What a cluster lacks, tests do themselves, over its API: without a node they say how Pods end, and
without controllers a stand-in makes Pods of Jobs.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from services.kubernetes import real
from services.kubernetes.cluster import NAMESPACE, FakeCluster
from services.kubernetes.patch import MERGE_PATCH
from services.kubernetes.probe import Probe, Reply
from services.kubernetes.standin import StandIn

from runners.kube.options import KubernetesOptions
from runners.kubernetes import KubernetesRunner

IMAGE = os.environ.get("SCHEDD_TEST_IMAGE", "busybox:1.36")
"""An image with ``sh`` that the cluster can pull."""
SECURITY = "pod-security.kubernetes.io/enforce"


NOWHERE = {"schedd.io/test": "no-node-has-this"}
"""Keeps Pods from nodes that only pretend to run them."""


@dataclass
class Place:
    """A namespace of tests; ``probe`` may do all."""

    probe: Probe
    folder: Path
    cluster: FakeCluster | None = None
    runs_pods: bool = True
    """Whether a node takes pods here; else tests say how they end."""
    stand_in: StandIn | None = None
    """What controllers would do, where there are none."""

    def wait(self, seconds: float, holds: Callable[[], object]) -> None:
        """Wait until ``holds`` returns something true. Raises TimeoutError."""

        def settled() -> object:
            if self.stand_in is not None:
                self.stand_in.step()
            return holds()

        real.wait(seconds, settled)

    def runner(self, kubeconfig: str = "", **given: Any) -> KubernetesRunner:
        """Return a new runner for this namespace, by default with all rights."""
        section = {"image": IMAGE, "run_as_user": 1000, "namespace": self.probe.namespace}
        section["kubeconfig"] = kubeconfig or self.probe.kubeconfig
        section |= {} if self.runs_pods else {"node_selector": NOWHERE}
        runner = KubernetesRunner(KubernetesOptions.model_validate(section | given), lambda: None)
        runner.poll_floor = 0.0
        return runner

    def pods(self, job: str) -> list[dict]:
        query = f"labelSelector=job-name%3D{job}"
        found: list[dict] = self.probe.get("pods", query=query).body["items"]
        return found

    def set_suspended(self, job: str, value: bool) -> None:
        reply = self.probe.patch("jobs", job, {"spec": {"suspend": value}}, MERGE_PATCH)
        assert reply.code == 200, reply

    def set_container(self, pod: dict, state: dict, phase: str) -> None:
        """Write the status of a pod as its node would."""
        container = pod["spec"]["containers"][0]
        status = {"name": container["name"], "image": container["image"], "imageID": "x"}
        status |= {"ready": False, "restartCount": 0, "state": state}
        patch = {"status": {"phase": phase, "containerStatuses": [status]}}
        name = f"{pod['metadata']['name']}/status"
        reply = self.probe.patch("pods", name, patch, MERGE_PATCH)
        assert reply.code == 200, reply

    def set_quota(self, **hard: str) -> None:
        """Limit what there may be, underscores for slashes, then dots; return once that counts."""
        named = {key.replace("__", "/").replace("_", "."): most for key, most in hard.items()}
        named["count/secrets"] = "0"  # by which is seen whether the quota is in force
        quota = {"metadata": {"name": "few"}, "spec": {"hard": named}}
        assert self.probe.create("resourcequotas", quota).code == 201
        if self.stand_in is not None:
            used = {"status": {"hard": named, "used": dict.fromkeys(named, "0")}}
            self.probe.patch("resourcequotas", "few/status", used, MERGE_PATCH)
        secret = {"metadata": {"name": "one-too-many"}}
        self.wait(60, lambda: _exceeds(self.probe.create("secrets", secret, "dryRun=All")))

    def limited(self, role: dict) -> str:
        """Return the kubeconfig of a user who has this Role here, and nothing else."""
        if self.cluster is not None:
            self.cluster.grant([role])
            return str(self.cluster.kubeconfig)
        probe, name = self.probe, role["metadata"]["name"]
        self._made(probe.path("serviceaccounts"), {"metadata": {"name": name}})
        asked = probe.ask("POST", probe.path("serviceaccounts", f"{name}/token"), {"spec": {}})
        if asked.code != 201:
            pytest.skip(f"the server gives no tokens of service accounts: {asked.message}")
        config = self._kubeconfig(asked.body["status"]["token"])
        limited = Probe(config, probe.namespace)
        self.wait(30, lambda: limited.get("pods").code in (200, 403))  # not unknown any more
        if allows(limited, "list", "", "pods"):
            pytest.skip("this server lets everybody do everything: it has no RBAC")
        rbac = f"{real.RBAC}/namespaces/{probe.namespace}"
        self._made(f"{rbac}/roles", role)
        bind = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": probe.namespace}],
        }
        self._made(f"{rbac}/rolebindings", bind)
        self.wait(30, lambda: allows(limited, "list", "", "pods"))
        return config

    def _made(self, path: str, item: dict) -> None:
        reply = self.probe.ask("POST", path, item)
        assert reply.code == 201, reply

    def _kubeconfig(self, token: str) -> str:
        settings = self.probe.settings
        cluster = {
            "server": settings.host,
            "certificate-authority": settings.ssl_ca_cert,
            "insecure-skip-tls-verify": not settings.verify_ssl,
            "tls-server-name": settings.tls_server_name,
        }
        cluster = {key: value for key, value in cluster.items() if value}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "limited",
            "clusters": [{"name": "limited", "cluster": cluster}],
            "users": [{"name": "limited", "user": {"token": token}}],
            "contexts": [
                {"name": "limited", "context": {"cluster": "limited", "user": "limited"}}
            ],
        }
        path = self.folder / f"kubeconfig-{uuid.uuid4().hex[:6]}"
        path.write_text(json.dumps(config))
        return str(path)


def allows(probe: Probe, verb: str, group: str, resource: str, sub: str = "") -> bool:
    """Return whether the user of ``probe`` may do something in its namespace."""
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": sub}
    review = {"spec": {"resourceAttributes": asked | {"namespace": probe.namespace}}}
    return bool(probe.ask("POST", path, review).body["status"]["allowed"])


def _exceeds(reply: Reply) -> bool:
    return reply.code == 403 and "exceeded quota" in reply.message


@contextmanager
def fake(folder: Path, *, nodes: bool = True, controllers: bool = True) -> Iterator[Place]:
    """Make a place on a fake cluster, perhaps without nodes that run pods, and controllers."""
    with FakeCluster(folder / "cluster") as cluster:
        cluster.api.restricted = True
        cluster.jobs.paused = not controllers
        if not nodes:
            cluster.nodes.names.clear()
        probe = Probe(str(cluster.kubeconfig), NAMESPACE)
        yield Place(probe, folder, cluster, nodes, None if controllers else StandIn(probe))
        assert cluster.api.warnings == []


@contextmanager
def on_cluster(folder: Path, *, restricted: bool = True) -> Iterator[Place]:
    """Make a place on the cluster of ``KUBECONFIG``; it may enforce the restricted standard."""
    with real.namespace() as probe:
        label = {"metadata": {"labels": {SECURITY: "restricted" if restricted else "privileged"}}}
        path = f"/api/v1/namespaces/{probe.namespace}"
        assert probe.ask("PATCH", path, label, MERGE_PATCH).code == 200
        stand_in = None if real.is_controlled(probe) else StandIn(probe)
        runs_pods = stand_in is None and any(map(_runs_pods, _nodes(probe)))
        yield Place(probe, folder, None, runs_pods, stand_in)


def _nodes(probe: Probe) -> list[dict]:
    found: list[dict] = probe.ask("GET", "/api/v1/nodes").body["items"]
    return found


def _runs_pods(node: dict) -> bool:
    """Whether a node is ready, and not one of kwok's, which only pretend."""
    pretends = any(key.startswith("kwok.") for key in node["metadata"].get("annotations") or ())
    conditions = node["status"].get("conditions") or ()
    ready = any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
    return ready and not pretends
