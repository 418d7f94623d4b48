"""Which objects make no sense, in the words of the server as far as clients may read them."""

import re
from collections.abc import Iterator

from services.kubernetes.errors import invalid
from services.kubernetes.store import GROUPS

_LABEL = re.compile(r"[0-9A-Za-z]([\w.-]*[0-9A-Za-z])?", re.ASCII)
_KEY = re.compile(
    r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[0-9A-Za-z]([\w.-]{0,61}[0-9A-Za-z])?", re.ASCII
)
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ENV = re.compile(r"[ -<>-~]+")
_SIZES = {
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3,
}  # fmt: skip
ANNOTATIONS = 256 << 10
OBJECT = 1 << 20
"""Limits in bytes: of all annotations together, and of a ConfigMap's data."""


def validated(resource: str, item: dict) -> None:
    """Raise ApiError 422 for an object that makes no sense."""
    group, _, kind = GROUPS[resource]
    name = (item.get("metadata") or {}).get("name", "")
    problems = [*_metadata(item)]
    if resource == "jobs":
        problems += _job(item)
    elif resource == "pods":
        problems += _pod(item.get("spec") or {}, "spec")
    elif resource == "configmaps":
        size = sum(len(k) + len(v.encode()) for k, v in (item.get("data") or {}).items())
        if size > OBJECT:
            problems.append(f"[]: Too long: may not be more than {OBJECT} bytes")
        bad = [k for k in item.get("data") or {} if not re.fullmatch(r"[-._a-zA-Z0-9]+", k)]
        problems += [f'data[{k}]: Invalid value: "{k}": a valid config key' for k in bad]
    if problems:
        raise invalid(kind, group, name, problems)


RFC_1123 = "must consist of lower case alphanumeric characters or '-'"


def _bad(path: str, value: object, why: str) -> str:
    return f'{path}: Invalid value: "{value}": {why}'


def _metadata(item: dict) -> Iterator[str]:
    meta = item.get("metadata") or {}
    name = meta.get("name") or (meta.get("generateName") or "").removesuffix("-")
    if not name:
        yield "metadata.name: Required value: name or generateName is required"
    elif not _DNS_NAME.fullmatch(name) or len(name) > 253:
        yield _bad("metadata.name", name, RFC_1123)
    yield from _labels(meta, "metadata")


def _labels(meta: dict, path: str) -> Iterator[str]:
    for key, value in (meta.get("labels") or {}).items():
        if not _KEY.fullmatch(key):
            yield f'{path}.labels: Invalid value: "{key}": name part must consist of'
        if value and (not _LABEL.fullmatch(value) or len(value) > 63):
            yield f'{path}.labels: Invalid value: "{value}": must be no more than 63 characters'
    annotations = meta.get("annotations") or {}
    for key in annotations:
        if not _KEY.fullmatch(key.lower()):
            yield f'{path}.annotations: Invalid value: "{key}": name part must consist of'
    if sum(len(k) + len(v.encode()) for k, v in annotations.items()) > ANNOTATIONS:
        yield f"{path}.annotations: Too long: may not be more than {ANNOTATIONS} bytes"


def _job(job: dict) -> Iterator[str]:
    spec, name = job.get("spec") or {}, job["metadata"].get("name", "")
    indexed = spec.get("completionMode") == "Indexed"
    completions = spec.get("completions")
    if spec.get("completionMode") not in (None, "Indexed", "NonIndexed"):
        yield f'spec.completionMode: Unsupported value: "{spec["completionMode"]}"'
    if indexed and completions is None:
        yield "spec.completions: Required value: when completion mode is Indexed"
    if indexed and completions and len(f"{name}-{completions - 1}") > 63:
        yield _bad("metadata.name", name, "will not able to create pod with invalid DNS label")
    if spec.get("backoffLimitPerIndex") is not None and not indexed:
        yield "spec.backoffLimitPerIndex: Invalid value: requires indexed completion mode"
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"
    for key in ("backoffLimit", "parallelism", "completions", "ttlSecondsAfterFinished"):
        if (spec.get(key) or 0) < 0:
            yield f"spec.{key}: Invalid value: {spec[key]}: must be greater than or equal to 0"
    if spec.get("activeDeadlineSeconds") is not None and spec["activeDeadlineSeconds"] < 0:
        yield "spec.activeDeadlineSeconds: Invalid value: must be greater than or equal to 0"
    if spec.get("selector") and not spec.get("manualSelector") and not job["metadata"].get("uid"):
        yield "spec.selector: Invalid value: `selector` not auto-generated"
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    policy = spec.get("podFailurePolicy")
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield "spec.template.spec.restartPolicy: Required value: valid values: OnFailure, Never"
    elif policy and pod["restartPolicy"] != "Never":
        yield "spec.template.spec.restartPolicy: Invalid value: not with podFailurePolicy"
    if policy and spec.get("podReplacementPolicy", "Failed") != "Failed":
        yield 'spec.podReplacementPolicy: Unsupported value: supported values: "Failed"'
    yield from _labels(template.get("metadata") or {}, "spec.template.metadata")
    yield from _pod(pod, "spec.template.spec")


def _pod(spec: dict, path: str) -> Iterator[str]:
    for key, value in (spec.get("nodeSelector") or {}).items():
        if not _KEY.fullmatch(key):
            yield _bad(f"{path}.nodeSelector", key, "name part must consist of")
        if value and (not _LABEL.fullmatch(value) or len(value) > 63):
            yield _bad(f"{path}.nodeSelector", value, "a valid label must be an empty string or")
    if not spec.get("containers"):
        yield f"{path}.containers: Required value"
    volumes = [v.get("name") for v in spec.get("volumes") or ()]
    for i, volume in enumerate(spec.get("volumes") or ()):
        sources = [k for k, v in volume.items() if k != "name" and v is not None]
        if not _DNS_LABEL.fullmatch(volume.get("name", "")) or len(volume["name"]) > 63:
            yield _bad(f"{path}.volumes[{i}].name", volume.get("name"), RFC_1123)
        if volumes.count(volume.get("name")) > 1:
            yield f'{path}.volumes[{i}].name: Duplicate value: "{volume.get("name")}"'
        if len(sources) != 1:
            yield f"{path}.volumes[{i}]: Required value: must specify a volume type"
    names = []
    for kind in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(kind) or ()):
            names.append(container.get("name", ""))
            yield from _container(container, f"{path}.{kind}[{i}]", volumes)
    yield from (
        f'{path}: Duplicate value: "{n}"' for n in {n for n in names if names.count(n) > 1}
    )


def _container(container: dict, path: str, volumes: list[str]) -> Iterator[str]:
    name = container.get("name", "")
    if not _DNS_LABEL.fullmatch(name) or len(name) > 63:
        yield _bad(f"{path}.name", name, RFC_1123)
    if not container.get("image"):
        yield f"{path}.image: Required value"
    for i, variable in enumerate(container.get("env") or ()):
        if not variable.get("name") or not _ENV.fullmatch(variable["name"]):
            yield _bad(
                f"{path}.env[{i}].name",
                variable.get("name"),
                "not a valid environment variable name",
            )
        if variable.get("value") and variable.get("valueFrom"):
            yield f"{path}.env[{i}].valueFrom: Invalid value: may not be specified with `value`"
    places = [m.get("mountPath") for m in container.get("volumeMounts") or ()]
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield f'{path}.volumeMounts[{i}].name: Not found: "{mount.get("name")}"'
        if places.count(mount.get("mountPath")) > 1:
            yield _bad(f"{path}.volumeMounts[{i}].mountPath", mount["mountPath"], "must be unique")
        if ":" in (mount.get("mountPath") or ""):
            yield f'{path}.volumeMounts[{i}].mountPath: Invalid value: must not contain ":"'
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield f"{path}.volumeMounts[{i}].subPathExpr: Invalid value: not together with subPath"
    yield from _resources(container.get("resources") or {}, f"{path}.resources")


def _resources(resources: dict, path: str) -> Iterator[str]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, value in requests.items():
        if name in limits and amount(value) > amount(limits[name]):
            yield _bad(
                f"{path}.requests", value, f"must not exceed {name} limit of {limits[name]}"
            )
    for name in {*limits, *requests}:
        native = name in ("cpu", "memory", "ephemeral-storage") or name.startswith("hugepages-")
        if not native and "/" not in name:
            yield _bad(path, name, "must be a standard resource type or fully qualified")
        if "/" in name and requests.get(name, limits.get(name)) != limits.get(name):
            yield f"{path}.limits: Required value: Limit must be set for {name}"


def amount(quantity: object) -> float:
    """Return a quantity as a number."""
    text = str(quantity)
    for suffix, factor in _SIZES.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


IMMUTABLE = (
    "completions",
    "completionMode",
    "selector",
    "podFailurePolicy",
    "backoffLimitPerIndex",
)


def check_update(old: dict, new: dict) -> None:
    """Raise ApiError 422 where a change of a job touches what cannot change."""
    before, after = old["spec"], new["spec"]
    elastic = before["completionMode"] == "Indexed" and after.get("parallelism") == after.get(
        "completions"
    )
    fields = [
        k
        for k in IMMUTABLE
        if before.get(k) != after.get(k) and not (k == "completions" and elastic)
    ]
    started = (old.get("status") or {}).get("startTime") is not None
    if before["template"] != after["template"] and (started or not before.get("suspend")):
        fields.append("template")
    if fields:
        problems = [f"spec.{name}: Invalid value: field is immutable" for name in fields]
        raise invalid("Job", "batch", old["metadata"]["name"], problems)
