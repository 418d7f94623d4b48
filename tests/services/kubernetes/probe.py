"""Plain requests to a Kubernetes API server, real or not, with what a kubeconfig says."""

import json
from dataclasses import dataclass
from typing import Any

import urllib3

from kubernetes import client, config


@dataclass(frozen=True)
class Reply:
    """An answer."""

    code: int
    body: Any
    headers: Any

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Probe:
    """Asks as the user of a kubeconfig, or as whom ``token`` belongs to."""

    def __init__(self, kubeconfig: str, namespace: str, token: str = "") -> None:
        self.settings = client.Configuration()
        config.load_kube_config(kubeconfig, client_configuration=self.settings)
        self.kubeconfig, self.namespace, self.token = kubeconfig, namespace, token
        settings = self.settings
        own = {"cert_file": settings.cert_file, "key_file": settings.key_file}
        self._pool = urllib3.PoolManager(
            ca_certs=settings.ssl_ca_cert,
            cert_reqs="CERT_REQUIRED" if settings.verify_ssl else "CERT_NONE",
            server_hostname=settings.tls_server_name,
            **({} if token else own),
        )

    def ask(
        self, method: str, path: str, body: object = None, content: str = "application/json"
    ) -> Reply:
        """Send one request; ``path`` is absolute, with its query."""
        headers = {"Content-Type": content, "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        else:
            found = self.settings.auth_settings().values()
            headers |= {each["key"]: each["value"] for each in found if each["in"] == "header"}
        data = None if body is None else json.dumps(body)
        url = self.settings.host + path
        answer = self._pool.request(method, url, body=data, headers=headers, timeout=30)
        try:
            read = json.loads(answer.data)
        except ValueError:
            read = {"message": answer.data.decode(errors="replace")}
        return Reply(answer.status, read, answer.headers)

    def path(self, resource: str, name: str = "", query: str = "") -> str:
        """Return where a resource of the namespace is."""
        root = "/apis/batch/v1" if resource == "jobs" else "/api/v1"
        found = f"{root}/namespaces/{self.namespace}/{resource}"
        return found + (f"/{name}" if name else "") + (f"?{query}" if query else "")

    def create(self, resource: str, item: dict, query: str = "") -> Reply:
        return self.ask("POST", self.path(resource, query=query), item)

    def get(self, resource: str, name: str = "", query: str = "") -> Reply:
        return self.ask("GET", self.path(resource, name, query))

    def patch(self, resource: str, name: str, patch: object, content: str) -> Reply:
        return self.ask("PATCH", self.path(resource, name), patch, content)

    def delete(self, resource: str, name: str, **options: object) -> Reply:
        return self.ask("DELETE", self.path(resource, name), options or None)
