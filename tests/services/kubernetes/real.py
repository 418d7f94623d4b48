"""A namespace of its own on the cluster that ``KUBECONFIG`` names, for one test's length."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from services.kubernetes.probe import Probe

VARIABLE = "KUBECONFIG"


def why_not() -> str:
    """Return why there is no real cluster to test against; empty where there is one."""
    return "" if os.environ.get(VARIABLE) else f"{VARIABLE} is not set"


@contextmanager
def namespace() -> Iterator[Probe]:
    """Make a namespace, and delete it in the end with all that is in it."""
    name = f"schedd-test-{uuid.uuid4().hex[:8]}"
    probe = Probe(os.environ[VARIABLE], name)
    made = probe.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert made.code == 201, made
    try:
        yield probe
    finally:
        probe.ask("DELETE", f"/api/v1/namespaces/{name}")


def wait(until: float, holds: object) -> None:
    """Wait until the function ``holds`` returns something true. Raises TimeoutError."""
    assert callable(holds)
    end = time.monotonic() + until
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{holds} did not come true within {until} s")
        time.sleep(0.1)
