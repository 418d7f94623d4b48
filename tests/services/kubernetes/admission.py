"""What the server checks and fills in before it stores an object."""

import re

from services.kubernetes import schema
from services.kubernetes.errors import ApiError, invalid
from services.kubernetes.store import GROUPS


def decoded(resource: str, body: object, validation: str) -> tuple[dict, list[str]]:
    """Return a posted object as the server understands it, and its warnings.

    Raises ApiError 400 for what it cannot decode; unknown fields are dropped with a warning, or
    are errors under ``fieldValidation=Strict``.
    """
    group, version, kind = GROUPS[resource]
    if not isinstance(body, dict) or body.get("kind", kind) != kind:
        raise ApiError(400, f"the object provided is unrecognized (must be of type {kind})")
    if kind not in schema.SCHEMAS:
        return body, []
    found = schema.problems(body, kind)
    unknown = schema.unknown_fields(found)
    wrong = [p for p in found if p not in unknown and not p.endswith("Required value")]
    how = f'{kind} in version "{version}" cannot be handled as a {kind}: '
    if wrong:
        raise ApiError(400, f"{how}json: cannot unmarshal: {'; '.join(wrong)}")
    if unknown and validation == "Strict":
        raise ApiError(400, f"{how}strict decoding error: {', '.join(unknown)}")
    missing = [p.lstrip(".") for p in found if p.endswith("Required value")]
    if missing:
        raise invalid(kind, group, (body.get("metadata") or {}).get("name", ""), missing)
    return _without(body, unknown), unknown if validation != "Ignore" else []


def _without(body: dict, unknown: list[str]) -> dict:
    for problem in unknown:
        path = re.findall(r"[^.\[\]]+", problem.partition('"')[2].rstrip('"'))
        place: object = body
        for key in path[:-1]:
            place = place[int(key)] if isinstance(place, list) else place[key]  # type: ignore[index]
        if isinstance(place, dict):
            place.pop(path[-1], None)
    return body


def defaulted(resource: str, item: dict) -> dict:
    """Fill in what the server fills in; ``metadata.uid`` must be there for a job."""
    if resource == "jobs":
        spec = item["spec"]
        spec.setdefault("parallelism", 1)
        spec.setdefault("completions", 1)
        limited = spec.get("backoffLimitPerIndex") is not None
        spec.setdefault("backoffLimit", 2147483647 if limited else 6)
        spec.setdefault("completionMode", "NonIndexed")
        spec.setdefault("suspend", False)
        policy = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
        spec.setdefault("podReplacementPolicy", policy)
        _default_pod(spec["template"].setdefault("spec", {}))
    elif resource == "pods":
        _default_pod(item["spec"])
        for container in item["spec"]["containers"]:
            resources = container.setdefault("resources", {})
            for name, value in (resources.get("limits") or {}).items():
                resources.setdefault("requests", {}).setdefault(name, value)
    return item


def _default_pod(spec: dict) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
        latest = ":" not in container["image"].rpartition("/")[2] or container["image"].endswith(
            ":latest"
        )
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")


VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip
"""What the restricted Pod Security Standard lets a pod mount."""


def restricted_violations(spec: dict) -> list[str]:
    """Return how a pod breaks the restricted Pod Security Standard."""
    found = []
    pod = spec.get("securityContext") or {}
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        own, what = container.get("securityContext") or {}, f'container "{container["name"]}"'
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"allowPrivilegeEscalation != false ({what} must set it)")
        dropped = (own.get("capabilities") or {}).get("drop") or []
        added = set((own.get("capabilities") or {}).get("add") or ()) - {"NET_BIND_SERVICE"}
        if "ALL" not in dropped or added:
            found.append(f'unrestricted capabilities ({what} must set drop=["ALL"])')
        if not own.get("runAsNonRoot", pod.get("runAsNonRoot")):
            found.append(f"runAsNonRoot != true (pod or {what} must set it)")
        if own.get("runAsUser", pod.get("runAsUser")) == 0:
            found.append(f"runAsUser=0 ({what} must not set it)")
        profile = (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            found.append(f"seccompProfile (pod or {what} must set type RuntimeDefault)")
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("host namespaces")
    return found + [
        f'restricted volume types (volume "{volume["name"]}")'
        for volume in spec.get("volumes") or ()
        if not VOLUMES & {k for k, v in volume.items() if v is not None}
    ]
