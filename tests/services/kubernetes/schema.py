"""Objects against Kubernetes' published OpenAPI schema, which kubernetes-validate ships.

Read here rather than through that package, which loads a general validator at its import.
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

VERSION = "v1.37.0"
SCHEMAS = {
    "Job": "io.k8s.api.batch.v1.Job",
    "Pod": "io.k8s.api.core.v1.Pod",
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "Secret": "io.k8s.api.core.v1.Secret",
    "ResourceQuota": "io.k8s.api.core.v1.ResourceQuota",
    "Namespace": "io.k8s.api.core.v1.Namespace",
    "ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
    "PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "Service": "io.k8s.api.core.v1.Service",
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "StatefulSet": "io.k8s.api.apps.v1.StatefulSet",
    "Role": "io.k8s.api.rbac.v1.Role",
    "RoleBinding": "io.k8s.api.rbac.v1.RoleBinding",
    "NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "SelfSubjectAccessReview": "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    "DeleteOptions": "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions_v1",
}
QUANTITY = re.compile(r"[+-]?(\d+|\d+\.\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}

Schema = dict


def why_not() -> str:
    """Return why there is no schema here; empty where there is one."""
    return "" if _package() else "kubernetes-validate is not installed"


def problems(body: object, kind: str | None = None, version: str = VERSION) -> list[str]:
    """Return what is wrong with a manifest, each as the path and a sentence."""
    if not isinstance(body, dict):
        return ["it is no object"]
    kind = kind or str(body.get("kind"))
    if kind not in SCHEMAS:
        return [f"no kind {kind!r} is known"]
    definitions = _definitions(version)
    name = SCHEMAS[kind]
    schema = definitions.get(name) or definitions[name.removesuffix("_v1")]
    return list(_check(schema, body, "", definitions))


def unknown_fields(found: list[str]) -> list[str]:
    """Return those problems that strict field validation adds: fields nobody knows."""
    return [problem for problem in found if problem.startswith("unknown field")]


def _check(schema: Schema, value: object, path: str, known: dict[str, Schema]) -> Iterator[str]:
    while "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.endswith(".Quantity"):
            yield from _quantity(value, path)
            return
        schema = known[name]
    if "oneOf" in schema:
        if not any(not list(_check(one, value, path, known)) for one in schema["oneOf"]):
            yield f"{path}: {value!r} is none of what it may be"
        return
    if not _has_type(schema, value):
        yield f"{path}: {value!r} is no {schema['type']}"
    elif isinstance(value, dict):
        yield from _object(schema, value, path, known)
    elif isinstance(value, list):
        for i, element in enumerate(value):
            yield from _check(schema.get("items", {}), element, f"{path}[{i}]", known)
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"


def _object(schema: Schema, value: dict, path: str, known: dict[str, Schema]) -> Iterator[str]:
    properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
    for name in schema.get("required", ()):
        if value.get(name) is None:
            yield f"{path}.{name}: Required value"
    for name, element in value.items():
        if name in properties:
            if element is not None:
                yield from _check(properties[name], element, f"{path}.{name}", known)
        elif isinstance(rest, dict):
            yield from _check(rest, element, f"{path}.{name}", known)
        elif properties and rest is False:
            yield f'unknown field "{path.lstrip(".")}{"." if path else ""}{name}"'


def _has_type(schema: Schema, value: object) -> bool:
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if isinstance(value, bool):
        return not wanted or "boolean" in wanted
    return not wanted or any(isinstance(value, _TYPES[name]) for name in wanted)


def _quantity(value: object, path: str) -> Iterator[str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number and not (isinstance(value, str) and QUANTITY.fullmatch(value)):
        yield f"{path}: {value!r} is no quantity"


@cache
def _definitions(version: str) -> dict[str, Schema]:
    text = (_place() / f"{version}-local-strict" / "_definitions.json").read_text()
    found: dict[str, Schema] = json.loads(text)["$defs"]
    return found


def _place() -> Path:
    package = _package()
    assert package is not None, why_not()
    return package / "kubernetes-json-schema"


@cache
def _package() -> Path | None:
    spec = importlib.util.find_spec("kubernetes_validate")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None
