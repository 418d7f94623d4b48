"""A namespace of its own on the cluster that ``KUBECONFIG`` names, for one test's length.

Nothing is taken for granted but an API server: where no controllers run, a namespace has no
service account, and never goes away by itself.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.kubernetes.probe import Probe

VARIABLE = "KUBECONFIG"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
SOON = 10.0
"""Seconds within which a controller does what is due; one that does not is not there."""
LONG = 180.0
"""Seconds that a namespace with Pods in it may take to go."""

_CONTROLLED: dict[str, bool] = {}
"""Whether there are controllers, by the address of the server."""
_LEAVING: list[Probe] = []
"""Where there was a namespace."""
_CONTAINER = {"name": "none", "image": "none"}
_QUIET = {
    "metadata": {"name": "quiet"},
    "spec": {
        "suspend": True,
        "template": {"spec": {"restartPolicy": "Never", "containers": [_CONTAINER]}},
    },
}


def why_not() -> str:
    """Return why there is no real cluster to test against; empty where there is one."""
    return "" if os.environ.get(VARIABLE) else f"{VARIABLE} is not set"


@contextmanager
def namespace() -> Iterator[Probe]:
    """Make a namespace in which Pods can be, and delete it in the end with all that is in it."""
    name = f"schedd-test-{uuid.uuid4().hex[:8]}"
    probe = Probe(os.environ[VARIABLE], name)
    made = probe.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert made.code == 201, f"KUBECONFIG's user cannot make namespaces: {made}"
    try:
        account = probe.create("serviceaccounts", {"metadata": {"name": "default"}})
        assert account.code in (201, 409), account  # a controller may have been faster
        yield probe
    finally:
        _remove(probe)


def is_controlled(probe: Probe) -> bool:
    """Whether something follows the Jobs of this server: it writes the status of a new one."""
    host = probe.settings.host
    if host not in _CONTROLLED:
        made = probe.create("jobs", _QUIET)
        assert made.code == 201, made
        _CONTROLLED[host] = comes_true(SOON, lambda: probe.get("jobs", "quiet").body.get("status"))
        probe.delete("jobs", "quiet", propagationPolicy="Background")
    return _CONTROLLED[host]


def _remove(probe: Probe) -> None:
    """Delete the namespace; where something controls it, that takes a moment more."""
    path = f"/api/v1/namespaces/{probe.namespace}"
    controlled = is_controlled(probe)
    if not controlled:
        for resource in ("jobs", "pods", "events", "resourcequotas", "serviceaccounts"):
            _empty(probe, probe.path(resource))
        for resource in ("roles", "rolebindings"):
            _empty(probe, f"{RBAC}/namespaces/{probe.namespace}/{resource}")
    deleted = probe.ask("DELETE", path)
    assert deleted.code in (200, 202), deleted
    if not controlled:
        found = probe.ask("GET", path).body
        found["spec"]["finalizers"] = []
        probe.ask("PUT", f"{path}/finalize", found)
    _LEAVING.append(probe)


def all_are_gone() -> bool:
    """Return whether every namespace that was made is gone again."""
    return all(
        probe.ask("GET", f"/api/v1/namespaces/{probe.namespace}").code == 404 for probe in _LEAVING
    )


def _empty(probe: Probe, path: str) -> None:
    options = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
    for item in probe.ask("GET", path).body.get("items") or ():
        probe.ask("DELETE", f"{path}/{item['metadata']['name']}", options)


def wait(until: float, holds: Callable[[], object]) -> None:
    """Wait until ``holds`` returns something true. Raises TimeoutError."""
    if not comes_true(until, holds):
        raise TimeoutError(f"{holds} did not come true within {until} s")


def comes_true(until: float, holds: Callable[[], object]) -> bool:
    """Return whether ``holds`` returns something true within so many seconds."""
    end = time.monotonic() + until
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
