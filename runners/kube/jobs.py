"""What is asked of the server about one Job."""

from collections.abc import Mapping
from typing import Any

from runners.base import JobRef, Unavailable
from runners.kube import manifest, objects, states
from runners.kube.api import Answer, Api, NotThere, Refusal
from runners.kube.template import CONTAINER, Manifest

_TRIES = 4
"""How often a Job is looked at anew that changes while it is about to be deleted."""
_PATCH = "application/json-patch+json"
_STATE = "/metadata/annotations/" + manifest.STATE.replace("/", "~1")
_QUEUE = "/metadata/labels/" + manifest.QUEUE.replace("/", "~1")


def get(api: Api, name: str) -> Manifest | None:
    """Return a Job as it is now, ``None`` where the server states that there is none."""
    try:
        return api.get(api.jobs(name)).json("Job")
    except NotThere:
        return None


def create(api: Api, job: Manifest, *, dry_run: bool = False) -> Answer:
    """Ask once for a new Job; unknown fields are refused."""
    query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
    return api.request("POST", api.jobs(), query, job)


def is_misunderstood(made: Manifest, job: Manifest) -> str:
    """Return what a server that is too old has dropped of a new Job, or nothing."""
    if not made["spec"].get("suspend"):
        return "it starts Jobs at once; schedd needs 1.24 or later"
    if made["spec"].get("backoffLimitPerIndex") != job["spec"].get("backoffLimitPerIndex"):
        return "it has no batch trials; they need 1.29 or later"
    return ""


def is_ours(job: Manifest, name: str, token: str) -> bool:
    """Whether a Job is the one that was, or would have been, created for this name."""
    metadata = job["metadata"]
    return (metadata.get("annotations") or {}).get(manifest.TOKEN) == token and (
        metadata.get("name") == name
    )


def is_meant(job: Manifest, ref: JobRef, token: str) -> bool:
    """Whether ``ref`` speaks of this Job: by its uid, and before that is known by its token."""
    if ref.job_id is not None:
        return objects.uid(job) == ref.job_id
    return is_ours(job, ref.name, token)


def start(api: Api, name: str, uid: str, *, before: str, queue: str | None) -> None:
    """Start a Job whose state is ``before``; one that is in another state is left alone.

    A Job that Kueue manages is put into its queue, and Kueue starts it. Raises as the Api does;
    Refusal only where the Job is as it was.
    """
    begin = (
        {"op": "add", "path": _QUEUE, "value": queue}
        if queue
        else {"op": "add", "path": "/spec/suspend", "value": False}
    )
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": _STATE, "value": before},
        {"op": "replace", "path": _STATE, "value": manifest.STARTED},
        begin,
    ]
    try:
        api.request("PATCH", api.jobs(name), None, patch, _PATCH).json("Job")
    except NotThere:
        return
    except Refusal:
        found = get(api, name)
        if found is not None and objects.uid(found) == uid and state(found) == before:
            raise


def state(job: Manifest) -> str:
    """Return how far the start of a Job has come."""
    return str((job["metadata"].get("annotations") or {}).get(manifest.STATE) or "")


def delete(api: Api, job: Manifest, *, wait: bool = True) -> bool:
    """Ask for the end of a Job that is not over; return whether that is so.

    ``wait``: the Job stays until its Pods have ended. It is looked at anew where it changes at
    the same time, so that a Job that succeeds just now keeps its success.
    """
    name, uid = str(job["metadata"]["name"]), objects.uid(job)
    policy = "Foreground" if wait else "Background"
    for _ in range(_TRIES):
        found = get(api, name)
        if found is None or objects.uid(found) != uid:
            return True
        if states.is_over(found):
            return False
        if found["metadata"].get("deletionTimestamp") and wait:
            return True
        version = found["metadata"].get("resourceVersion")
        options = {
            "propagationPolicy": policy,
            "preconditions": {"uid": uid, "resourceVersion": version},
        }
        try:
            api.request("DELETE", api.jobs(name), None, options).json("Status", "Job")
        except NotThere:
            return True
        except Refusal as refusal:
            if refusal.status != 409:
                raise
        else:
            return True
    raise Unavailable(f"job {name} changes too fast to be deleted")


def dispose(api: Api, name: str, uid: str, seconds: int) -> None:
    """Delete a Job that is over: now, or let the server do it some time from now."""
    try:
        if seconds:
            ttl = {"op": "add", "path": "/spec/ttlSecondsAfterFinished", "value": seconds}
            patch = [{"op": "test", "path": "/metadata/uid", "value": uid}, ttl]
            api.request("PATCH", api.jobs(name), None, patch, _PATCH).json("Job")
        else:
            options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
            api.request("DELETE", api.jobs(name), None, options).json("Status", "Job")
    except NotThere:
        return
    except Refusal as refusal:
        if refusal.status not in (409, 422):
            raise
        found = get(api, name)
        if found is not None and objects.uid(found) == uid:  # else another Job has that name
            raise


def log(api: Api, pod: str, query: Mapping[str, str]) -> bytes:
    """Return a part of what a Pod's container has written."""
    return api.get(api.core(f"pods/{pod}/log"), container=CONTAINER, **query).text()


def troubles(api: Api) -> dict[str, str]:
    """Return why Pods cannot be created, by the uid of their Job; empty where it is not told."""
    selector = "reason=FailedCreate,involvedObject.kind=Job"
    try:
        found = api.get(api.core("events"), fieldSelector=selector, limit="500").json()
    except (Refusal, Unavailable):  # only words are lost
        return {}
    events: list[dict[str, Any]] = found.get("items") or []
    events.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return {
        str((e.get("involvedObject") or {}).get("uid")): " ".join(str(e.get("message")).split())
        for e in events
    }
