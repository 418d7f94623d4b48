"""The log of a container, as the API gives it."""

import re
from datetime import UTC, datetime

from services.kubernetes.containers import Container
from services.kubernetes.errors import ApiError


def log(pod: dict, containers: dict[str, Container], query: dict[str, str], now: float) -> bytes:
    """Return what a request for a log gets. Raises ApiError where there is none."""
    name = pod["metadata"]["name"]
    names = [container["name"] for container in pod["spec"]["containers"]]
    chosen = query.get("container", "")
    if not chosen and len(names) > 1:
        choice = f"choose one of: [{' '.join(names)}]"
        raise ApiError(400, f"a container name must be specified for pod {name}, {choice}")
    chosen = chosen or names[0]
    if chosen not in names:
        raise ApiError(400, f"container {chosen} is not valid for pod {name}")
    if query.get("previous") == "true":
        message = f'previous terminated container "{chosen}" in pod "{name}" not found'
        raise ApiError(400, message)
    container = containers.get(chosen)
    if container is None:
        raise ApiError(
            400, f'container "{chosen}" in pod "{name}" is waiting to start: {_why(pod, chosen)}'
        )
    return _cut(list(container.lines), query, now)


def _why(pod: dict, name: str) -> str:
    for status in pod["status"].get("containerStatuses") or ():
        if status["name"] == name and "waiting" in status["state"]:
            return str(status["state"]["waiting"]["reason"])
    return "ContainerCreating"


def _cut(lines: list[tuple[float, bytes]], query: dict[str, str], now: float) -> bytes:
    since = 0.0
    if "sinceSeconds" in query:
        since = now - int(query["sinceSeconds"])
    if "sinceTime" in query:
        since = _seconds(query["sinceTime"])
    lines = [(at, line) for at, line in lines if at >= since]
    if "tailLines" in query:
        number = int(query["tailLines"])
        lines = lines[-number:] if number else []
    if query.get("timestamps") == "true":
        text = b"".join(f"{rfc3339(at)} ".encode() + line for at, line in lines)
    else:
        text = b"".join(line for _, line in lines)
    limit = query.get("limitBytes")
    return text[: int(limit)] if limit else text


def rfc3339(at: float) -> str:
    """Return a time with nanoseconds, whose last zeros are left out as Go does."""
    whole = datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int((at % 1) * 1e9):09d}".rstrip("0").rstrip(".") + "Z"


def _seconds(text: str) -> float:
    """Return a time the query names; the server knows RFC 3339, and whole seconds of it."""
    match = re.match(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)$", text)
    if match is None:
        raise ApiError(400, f'unable to decode: parsing time "{text}"')
    zone = match[3].replace("Z", "+00:00")
    whole = datetime.fromisoformat(match[1] + zone).timestamp()
    return whole + float(match[2] or 0)
