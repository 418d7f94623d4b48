"""Objects with uids and resource versions, and every state they were in."""

import base64
import json
import marshal
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from services.kubernetes.errors import MODIFIED, ApiError, already_exists, conflict, not_found

GROUPS = {
    "pods": ("", "v1", "Pod"),
    "configmaps": ("", "v1", "ConfigMap"),
    "secrets": ("", "v1", "Secret"),
    "events": ("", "v1", "Event"),
    "namespaces": ("", "v1", "Namespace"),
    "nodes": ("", "v1", "Node"),
    "resourcequotas": ("", "v1", "ResourceQuota"),
    "serviceaccounts": ("", "v1", "ServiceAccount"),
    "persistentvolumeclaims": ("", "v1", "PersistentVolumeClaim"),
    "jobs": ("batch", "v1", "Job"),
}
"""Of each resource: API group, version, kind."""

Key = tuple[str, str, str]
"""Resource, namespace, name."""


def copied(item: Any) -> Any:
    """Return a copy of plain data; many times faster than ``copy.deepcopy``."""
    return marshal.loads(marshal.dumps(item))


def stamp(seconds: float) -> str:
    """Return a time as the API writes it: whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """Return the time that :func:`stamp` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


class Store:
    """What etcd holds. Whoever calls holds the cluster's lock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.unique: Callable[[], str] = lambda: uuid.uuid4().hex
        """Returns 32 digits that are never returned again."""
        self.version = 1000
        self.compacted = 0
        """Lists of versions before this one are expired."""
        self._objects: dict[Key, dict] = {}
        self._history: list[tuple[int, Key, dict | None]] = []

    def create(self, resource: str, namespace: str, item: dict) -> dict:
        """Store a new object; return it with what the server sets."""
        group, version, kind = GROUPS[resource]
        meta = dict(item.get("metadata") or {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{self.unique()[:5]}"
        key = (resource, namespace, meta["name"])
        if key in self._objects:
            raise already_exists(resource, group, meta["name"])
        meta |= {"uid": str(uuid.UUID(self.unique())), "creationTimestamp": stamp(self.now())}
        if namespace:
            meta["namespace"] = namespace
        meta.setdefault("generation", 1)
        made = {"kind": kind, "apiVersion": f"{group}/{version}" if group else version}
        made |= copied({k: v for k, v in item.items() if k not in ("kind", "apiVersion")})
        made["metadata"] = copied(meta)
        return self._put(key, made)

    def get(self, resource: str, namespace: str, name: str) -> dict:
        """Return a copy of one object. Raises ApiError 404."""
        found = self._objects.get((resource, namespace, name))
        if found is None:
            raise not_found(resource, GROUPS[resource][0], name)
        return copied(found)

    def find(self, resource: str, namespace: str, name: str) -> dict | None:
        """Return a copy of one object, or ``None``."""
        found = self._objects.get((resource, namespace, name))
        return copied(found)

    def all(
        self,
        resource: str,
        namespace: str | None = None,
        chosen: Callable[[dict], bool] = lambda _: True,
    ) -> Iterator[dict]:
        """Yield copies of the objects of a resource, by name; of those that are ``chosen``."""
        keys = [k for k in self._objects if k[0] == resource and namespace in (None, k[1])]
        for key in sorted(keys):
            if key in self._objects and chosen(self._objects[key]):
                yield copied(self._objects[key])

    def update(self, resource: str, item: dict) -> dict:
        """Store a new state of an object; one that says which version it changes must be right.

        An object to be deleted whose last finalizer is gone is removed.
        """
        meta = item["metadata"]
        key = (resource, meta.get("namespace", ""), meta["name"])
        group = GROUPS[resource][0]
        old = self._objects.get(key)
        if old is None:
            raise not_found(resource, group, meta["name"])
        if meta.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise conflict(resource, group, meta["name"], _uid_differs(meta["uid"], old))
        if meta.get("resourceVersion", "") not in ("", old["metadata"]["resourceVersion"]):
            raise conflict(resource, group, meta["name"], MODIFIED)
        if item == old:
            return copied(old)
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and resource != "pods":
            self.remove(resource, meta.get("namespace", ""), meta["name"])
            return copied(item)
        return self._put(key, copied(item))

    def remove(self, resource: str, namespace: str, name: str) -> None:
        """Take an object away, at once."""
        key = (resource, namespace, name)
        if self._objects.pop(key, None) is not None:
            self.version += 1
            self._history.append((self.version, key, None))

    def compact(self) -> None:
        """Forget what was before now: lists that go on from then are expired."""
        self.version += 1
        self.compacted = self.version

    def at(self, version: int) -> dict[Key, dict]:
        """Return all objects as they were."""
        found: dict[Key, dict] = {}
        for when, key, item in self._history:
            if when > version:
                break
            if item is None:
                found.pop(key, None)
            else:
                found[key] = item
        return found

    def page(
        self, resource: str, namespace: str | None, chosen: Callable[[dict], bool], query: dict
    ) -> dict:
        """Return a list, or a page of it, as the API does."""
        version, after = self.version, ""
        if token := query.get("continue"):
            version, after = _opened(token)
            if version < self.compacted:
                message = (
                    "The provided continue parameter is too old to display a consistent list "
                    "result. You can start a new list without the continue parameter."
                )
                raise ApiError(410, message, "Expired")
        objects = self._objects if version == self.version else self.at(version)
        keys = sorted(k for k in objects if k[0] == resource and namespace in (None, k[1]))
        found = [k for k in keys if "/".join(k[1:]) > after and chosen(objects[k])]
        limit = int(query.get("limit") or 0)
        shown = found[:limit] if limit else found
        meta = {"resourceVersion": str(version)}
        if len(shown) < len(found):
            meta["continue"] = _token(version, "/".join(shown[-1][1:]))
            meta["remainingItemCount"] = len(found) - len(shown)
        group, api, kind = GROUPS[resource]
        items = [_bare(objects[key]) for key in shown]
        api_version = f"{group}/{api}" if group else api
        return {"kind": f"{kind}List", "apiVersion": api_version, "metadata": meta, "items": items}

    def _put(self, key: Key, item: dict) -> dict:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key] = item
        self._history.append((self.version, key, copied(item)))
        return copied(item)


def check_preconditions(resource: str, item: dict, wanted: dict) -> None:
    """Raise a Conflict where ``item`` is not the one that is meant, in the words of a delete."""
    meta, (group, _, kind) = item["metadata"], GROUPS[resource]
    for word, given, mine, what in (
        ("UID", wanted.get("uid"), meta["uid"], "deleted and then recreated"),
        ("ResourceVersion", wanted.get("resourceVersion"), meta["resourceVersion"], "modified"),
    ):
        if given and given != mine:
            why = (
                f"the {word} in the precondition ({given}) does not match the {word} in record "
                f"({mine}). The object might have been {what}"
            )
            raise conflict(kind, group, meta["name"], why)


def _uid_differs(uid: str, item: dict) -> str:
    theirs = item["metadata"]["uid"]
    return f"Precondition failed: UID in precondition: {uid}, UID in object meta: {theirs}"


def _bare(item: dict) -> dict:
    """Return it as lists have it: without kind and apiVersion."""
    return copied({k: v for k, v in item.items() if k not in ("kind", "apiVersion")})


def _token(version: int, after: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": after})
    return base64.urlsafe_b64encode(text.encode()).decode()


def _opened(token: str) -> tuple[int, str]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token))
        return int(found["rv"]), str(found["start"])
    except (ValueError, KeyError, TypeError):
        raise ApiError(400, "continue key is not valid") from None
