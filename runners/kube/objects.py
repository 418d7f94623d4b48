"""Reading the server's objects: identity, times, conditions, words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runners.kube.template import Manifest


def uid(obj: Manifest) -> str:
    """Return the identity that no other object ever has."""
    return str(obj["metadata"]["uid"])


def seconds(text: object) -> float | None:
    """Return a time of the server's as seconds since the epoch."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def condition(obj: Manifest, kind: str) -> Mapping[str, Any] | None:
    """Return a condition of an object that holds, ``None`` where it does not."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    true = (c for c in conditions if c.get("type") == kind and c.get("status") == "True")
    return next(true, None)


def sentence(text: object) -> str:
    """Return the server's words in one line, not too long."""
    words = " ".join(str(text or "").split())
    return words if len(words) <= 300 else words[:300] + "..."
