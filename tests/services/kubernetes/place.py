"""A namespace where runner tests can run: on a fake cluster, or on the one of ``KUBECONFIG``."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.kubernetes import real
from services.kubernetes.cluster import NAMESPACE, FakeCluster
from services.kubernetes.patch import MERGE_PATCH
from services.kubernetes.probe import Probe

from runners.kube.options import KubernetesOptions
from runners.kubernetes import KubernetesRunner

IMAGE = os.environ.get("SCHEDD_TEST_IMAGE", "busybox:1.36")
"""An image with ``sh`` that the cluster can pull."""
SECURITY = "pod-security.kubernetes.io/enforce"


@dataclass
class Place:
    """A namespace that enforces the restricted Pod Security Standard; ``probe`` may do all."""

    probe: Probe
    folder: Path
    cluster: FakeCluster | None = None

    @property
    def runs_pods(self) -> bool:
        """Whether a node takes pods here; else tests say how they end."""
        if self.cluster is not None:
            return bool(self.cluster.nodes.names)
        nodes = self.probe.ask("GET", "/api/v1/nodes").body["items"]
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in nodes
            for condition in node["status"].get("conditions") or ()
        )

    def runner(self, kubeconfig: str = "", **given: Any) -> KubernetesRunner:
        """Return a new runner for this namespace, by default with all rights."""
        section = {"image": IMAGE, "run_as_user": 1000, "namespace": self.probe.namespace}
        section["kubeconfig"] = kubeconfig or self.probe.kubeconfig
        runner = KubernetesRunner(KubernetesOptions.model_validate(section | given), lambda: None)
        runner.poll_floor = 0.0 if self.cluster else 0.5
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

    def limited(self, role: dict) -> str:
        """Return the kubeconfig of a user who has this Role here, and nothing else."""
        if self.cluster is not None:
            self.cluster.grant([role])
            return str(self.cluster.kubeconfig)
        probe, name = self.probe, role["metadata"]["name"]
        bind = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": probe.namespace}],
        }
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{probe.namespace}"
        for path, item in (
            (probe.path("serviceaccounts"), {"metadata": {"name": name}}),
            (f"{rbac}/roles", role),
            (f"{rbac}/rolebindings", bind),
        ):
            made = probe.ask("POST", path, item)
            assert made.code == 201, made
        asked = probe.ask("POST", probe.path("serviceaccounts", f"{name}/token"), {"spec": {}})
        return self._kubeconfig(asked.body["status"]["token"])

    def _kubeconfig(self, token: str) -> str:
        settings = self.probe.settings
        cluster = {"server": settings.host}
        if settings.ssl_ca_cert:
            cluster["certificate-authority"] = settings.ssl_ca_cert
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


@contextmanager
def fake(folder: Path, *, nodes: bool) -> Iterator[Place]:
    """Make a place on a fake cluster, with nodes that run pods or with none."""
    with FakeCluster(folder / "cluster") as cluster:
        cluster.api.restricted = True
        if not nodes:
            cluster.nodes.names.clear()
        yield Place(Probe(str(cluster.kubeconfig), NAMESPACE), folder, cluster)
        assert cluster.api.warnings == []


@contextmanager
def on_cluster(folder: Path) -> Iterator[Place]:
    """Make a place on the cluster of ``KUBECONFIG``."""
    with real.namespace() as probe:
        label = {"metadata": {"labels": {SECURITY: "restricted"}}}
        path = f"/api/v1/namespaces/{probe.namespace}"
        assert probe.ask("PATCH", path, label, MERGE_PATCH).code == 200
        yield Place(probe, folder)
