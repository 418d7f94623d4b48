"""Label and field selectors."""

import re

from services.kubernetes.errors import ApiError

_SET = re.compile(r"^\s*(?P<key>[\w./-]+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)\s*$")
_EQUAL = re.compile(r"^\s*(?P<key>[\w./-]+)\s*(?P<op>==|=|!=)\s*(?P<value>[\w.-]*)\s*$")
_EXISTS = re.compile(r"^\s*(?P<no>!?)\s*(?P<key>[\w./-]+)\s*$")
_COMMA = re.compile(r",(?![^(]*\))")


def matches_labels(selector: str, labels: dict[str, str]) -> bool:
    """Return whether ``labels`` fulfil ``selector``. Raises ApiError for one that is none."""
    return all(_matches(one, labels) for one in _COMMA.split(selector) if one.strip())


def _matches(one: str, labels: dict[str, str]) -> bool:
    if match := _SET.match(one):
        values = {value.strip() for value in match["values"].split(",")}
        found = labels.get(match["key"])
        return found in values if match["op"] == "in" else found not in values
    if match := _EQUAL.match(one):
        same = labels.get(match["key"]) == match["value"]
        return not same if match["op"] == "!=" else same
    if match := _EXISTS.match(one):
        return (match["key"] in labels) is not bool(match["no"])
    raise ApiError(400, f"unable to parse requirement: found {one!r}")


_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "status.phase",
    "spec.nodeName",
    "type",
    "reason",
)


def matches_fields(selector: str, item: dict) -> bool:
    """Return whether ``item`` fulfils a field selector of the few fields that are supported."""
    for one in filter(None, selector.split(",")):
        match = re.match(r"^([\w.]+)(==|=|!=)(.*)$", one)
        if match is None:
            raise ApiError(400, f"invalid selector: {one!r}")
        path, op, wanted = match.groups()
        if path not in _FIELDS and not path.startswith("involvedObject."):
            raise ApiError(400, f"field label not supported: {path}")
        found: object = item
        for key in path.split("."):
            found = found.get(key, "") if isinstance(found, dict) else ""
        if (found == wanted) is (op == "!="):
            return False
    return True
