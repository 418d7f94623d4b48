"""All Jobs of ours in a namespace, and their Pods, as one look at the server shows them.

Runners of one process that look at the same place share a look, so that the server is asked once
however many experiments run there.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runners.base import Unavailable
from runners.kube.api import Api, Refusal
from runners.kube.manifest import JOB
from runners.kube.template import Manifest

PAGE = "500"
_RESTARTS = 3
"""How often a list is begun anew, where its next page has expired."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look found."""

    jobs: Mapping[str, Manifest]
    """By name."""
    pods: Mapping[str, Sequence[Manifest]]
    """By the uid of the Job that they belong to."""
    now: float
    """The server's time."""

    def pods_of(self, job: Manifest) -> Sequence[Manifest]:
        """Return the Pods of a Job."""
        return self.pods.get(str(job["metadata"]["uid"]), ())


def look(api: Api) -> Snapshot:
    """List Jobs, then Pods, so that no Pod is older than its Job. Raises as the Api does."""
    jobs, _ = _listed(api, api.jobs())
    pods, now = _listed(api, api.core("pods"))
    owned: dict[str, list[Manifest]] = defaultdict(list)
    for pod in pods:
        for owner in pod["metadata"].get("ownerReferences") or []:
            if owner.get("kind") == "Job":
                owned[str(owner.get("uid"))].append(pod)
    return Snapshot({str(job["metadata"]["name"]): job for job in jobs}, owned, now)


def pods_of(api: Api, name: str, uid: str) -> list[Manifest]:
    """Return the Pods of one Job, which may be gone, as they are now. Raises as the Api does."""
    found, _ = _listed(api, api.core("pods"), f"{JOB}={name}")
    return [
        pod
        for pod in found
        if any(o.get("uid") == uid for o in pod["metadata"].get("ownerReferences") or [])
    ]


def _listed(api: Api, path: str, selector: str = JOB) -> tuple[list[Manifest], float]:
    """Return the objects of ours at ``path``, page by page, and the server's time."""
    for _ in range(_RESTARTS):
        try:
            return _pages(api, path, selector)
        except Refusal as refusal:
            if refusal.status != 410:  # the next page has expired
                raise
    raise Unavailable("Kubernetes' list of Jobs changes faster than it can be read")


def _pages(api: Api, path: str, selector: str) -> tuple[list[Manifest], float]:
    found: list[Manifest] = []
    query = {"labelSelector": selector, "limit": PAGE}
    while True:
        answer = api.get(path, **query)
        page = answer.json("JobList", "PodList")
        found += filter(_is_sound, page.get("items") or [])
        following = (page.get("metadata") or {}).get("continue")
        if not following:
            return found, answer.now
        query["continue"] = str(following)


def _is_sound(item: object) -> bool:
    """Whether an object says what it is and whose; of one that does not, nothing is known."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict):
        return False
    owners = metadata.get("ownerReferences") or []
    named = all(isinstance(metadata.get(key), str) for key in ("name", "uid"))
    return named and isinstance(owners, list) and all(isinstance(o, dict) for o in owners)


@dataclass(slots=True)
class _Place:
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: float = 0.0
    seen: Snapshot | None = None


class Looks:
    """The last look at each place, for all runners of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: dict[object, _Place] = {}

    def at(self, place: object, api: Api, max_age: float) -> Snapshot:
        """Return a look at ``place`` that was begun less than ``max_age`` seconds ago.

        May be asked from several threads: those that ask for one place wait for one look, and
        hold up nobody who asks for another.
        """
        known = self._places.setdefault(place, _Place())
        with known.lock:
            now = self._clock()
            if known.seen is None or now - known.begun >= max_age:
                known.seen, known.begun = look(api), now
            return known.seen
