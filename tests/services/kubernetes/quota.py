"""What a ResourceQuota leaves room for."""

from collections.abc import Iterator

from services.kubernetes.errors import forbidden
from services.kubernetes.store import GROUPS, Store
from services.kubernetes.validation import amount


def check(store: Store, resource: str, item: dict) -> None:
    """Raise ApiError 403 where a ResourceQuota of the namespace leaves no room."""
    namespace, name = item["metadata"]["namespace"], item["metadata"].get("name", "")
    for quota in store.all("resourcequotas", namespace):
        asked = {
            k: v
            for k, v in _asks(resource, item).items()
            if k in (quota["spec"].get("hard") or {})
        }
        used = {
            k: sum(_asks(resource, one).get(k, 0) for one in _counted(store, resource, namespace))
            for k in asked
        }
        hard = quota["spec"].get("hard") or {}
        over = [k for k in asked if used[k] + asked[k] > amount(hard[k])]
        if over:
            text = "exceeded quota: {}, requested: {}, used: {}, limited: {}".format(
                quota["metadata"]["name"],
                *(",".join(f"{k}={_short(v[k])}" for k in over) for v in (asked, used, hard)),
            )
            raise forbidden(resource, GROUPS[resource][0], name, text)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _counted(store: Store, resource: str, namespace: str) -> Iterator[dict]:
    for item in store.all(resource, namespace):
        phase = (item.get("status") or {}).get("phase")
        if resource != "pods" or phase not in ("Succeeded", "Failed"):
            yield item


def _asks(resource: str, item: dict) -> dict[str, float]:
    group = GROUPS[resource][0]
    found: dict[str, float] = {f"count/{resource}.{group}" if group else f"count/{resource}": 1}
    if resource == "pods":
        found["pods"] = 1
        for container in item["spec"]["containers"]:
            resources = container.get("resources") or {}
            for kind in ("requests", "limits"):
                for name, value in (resources.get(kind) or {}).items():
                    found[f"{kind}.{name}"] = found.get(f"{kind}.{name}", 0) + amount(value)
    return found
