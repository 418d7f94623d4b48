"""The patches the API takes: JSON patch (RFC 6902) and merge patch (RFC 7386).

A strategic merge patch is a merge patch here; one that would merge a list by key is refused.
"""

from typing import Any

from services.kubernetes.errors import ApiError
from services.kubernetes.store import copied

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def patched(target: dict, patch: Any, content_type: str) -> dict:
    """Return ``target`` with ``patch`` applied. Raises ApiError as the server does."""
    kind = content_type.partition(";")[0].strip()
    if kind == JSON_PATCH:
        return _json_patched(target, patch)
    if kind not in (MERGE_PATCH, STRATEGIC):
        allowed = ", ".join((JSON_PATCH, MERGE_PATCH, STRATEGIC))
        message = (
            f"the body of the request was in an unknown format - accepted media types: {allowed}"
        )
        raise ApiError(415, message)
    if not isinstance(patch, dict):
        raise ApiError(400, "error decoding patch: json: cannot unmarshal array into a map")
    if kind == STRATEGIC and _has_list_of_maps(patch):
        raise ApiError(500, "the fake merges no lists by key")
    merged = merge(target, patch)
    assert isinstance(merged, dict)
    return merged


def merge(target: Any, patch: Any) -> Any:
    """Return what RFC 7386 says."""
    if not isinstance(patch, dict):
        return copied(patch)
    found = copied(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge(found.get(key), value)
    return found


def _has_list_of_maps(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_list_of_maps(element) for element in value.values())
    return isinstance(value, list) and any(isinstance(element, dict) for element in value)


class _Failed(Exception):
    pass


def _json_patched(target: dict, patch: Any) -> dict:
    if not isinstance(patch, list) or not all(isinstance(step, dict) for step in patch):
        raise ApiError(
            400, "error decoding patch: json: cannot unmarshal into []jsonpatch.Operation"
        )
    found = copied(target)
    try:
        for step in patch:
            _apply(found, step)
    except _Failed as error:
        message = "the server rejected our request due to an error in our request"
        raise ApiError(422, message, details={"causes": [{"message": str(error)}]}) from None
    return found


def _apply(document: dict, step: dict) -> None:
    op, path = step.get("op"), step.get("path", "")
    if op == "test":
        if _get(document, path) != step.get("value"):
            raise _Failed(f"testing value {path} failed")
    elif op in ("add", "replace"):
        if op == "replace":
            _get(document, path)
        _set(document, path, copied(step.get("value")), insert=op == "add")
    elif op == "remove":
        _get(document, path)
        _set(document, path, None, remove=True)
    else:
        raise _Failed(f"unexpected kind: {op}")


def _keys(path: str) -> list[str]:
    if not path.startswith("/"):
        raise _Failed(f"no such path: {path!r}")
    return [key.replace("~1", "/").replace("~0", "~") for key in path[1:].split("/")]


def _walk(document: Any, keys: list[str]) -> Any:
    for key in keys:
        try:
            document = document[int(key)] if isinstance(document, list) else document[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise _Failed(f"doc is missing path: {key}: missing value") from None
    return document


def _get(document: Any, path: str) -> Any:
    return _walk(document, _keys(path))


def _set(
    document: Any, path: str, value: Any, *, insert: bool = True, remove: bool = False
) -> None:
    *parents, last = _keys(path)
    place = _walk(document, parents)
    if isinstance(place, list):
        at = len(place) if last == "-" else int(last)
        if remove or not insert:
            del place[at]
        if not remove:
            place.insert(at, value)
    elif not isinstance(place, dict):
        raise _Failed(f"add operation does not apply: doc is missing path: {path}")
    elif remove:
        del place[last]
    else:
        place[last] = value
