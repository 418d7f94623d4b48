"""A user's own Job or Pod, and how two manifests become one, as ``kubectl apply`` would.

Mappings merge key by key. Lists of named things (containers, volumes, environment variables ...)
become one list, in which a name stands once; of all other lists the upper one counts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

CONTAINER = "trial"
"""The container in which the command runs; one of this name in a template is the same one."""
_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "hostAliases": "ip",
}
"""By what key the items of a list are the same, as in Kubernetes' own strategic merge."""
_DEEP = frozenset({"containers", "initContainers"})
"""Of the others an item counts as a whole: half a volume is none."""
_JOINED = frozenset({"tolerations", "envFrom"})
"""Lists of which both count."""


def read(path: Path) -> Manifest:
    """Return the one document of a YAML file. Raises ValueError with a sentence."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"the template {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"the template {path} is not YAML: {text}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ValueError(f"the template {path} must hold one Job or one Pod")
    return documents[0]


def parts(template: Manifest) -> tuple[Manifest, Manifest]:
    """Return (of the Job, of its Pods): what a template says, with metadata and spec each.

    Raises ValueError for what is neither a Job nor a Pod, and for what only schedd may set.
    """
    kind = template.get("kind")
    if kind not in ("Job", "Pod"):
        raise ValueError(f"the template must be a Job or a Pod; its kind is {kind!r}")
    job: Manifest = template if kind == "Job" else {"spec": {"template": template}}
    spec = _mapping(job.get("spec"), "spec")
    pod = _mapping(spec.get("template"), "spec.template")
    _mapping(pod.get("spec"), "spec of its Pod")
    for key, instead in _OURS.items():
        if key in spec:
            raise ValueError(f"the template cannot set {key}: {instead}")
    rest = {key: value for key, value in spec.items() if key != "template"}
    above = {"metadata": _kept(job.get("metadata")), "spec": rest}
    below = {"metadata": _kept(pod.get("metadata")), "spec": _mapping(pod.get("spec"), "spec")}
    return above, below


_OURS: Mapping[str, str] = {
    "ttlSecondsAfterFinished": "write ttl_after_finished, which counts once the output is safe",
    "backoffLimit": "write failures: {retries: ...}, since retries are schedd's",
    "backoffLimitPerIndex": "write failures: {retries: ...}, since retries are schedd's",
    "completions": "it is the number of arms of a trial",
    "parallelism": "it is the number of arms of a trial",
    "completionMode": "it follows from the number of arms of a trial",
    "suspend": "a Job is created suspended and started once its id is stored",
    "podFailurePolicy": "it tells schedd how a Pod ended",
    "podReplacementPolicy": "a Pod is never replaced",
    "selector": "Kubernetes chooses it",
    "manualSelector": "Kubernetes chooses the selector",
    "managedBy": "another controller could start a Job twice",
}


def image(template: Manifest) -> str | None:
    """Return the image that a template names for the trial's container."""
    try:
        containers = parts(template)[1]["spec"].get("containers") or []
        found = next(each.get("image") for each in containers if each.get("name") == CONTAINER)
    except (ValueError, StopIteration, AttributeError):
        return None
    return found if isinstance(found, str) else None


def _mapping(value: object, where: str) -> Manifest:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"the template's {where} must be a mapping")
    return value


def _kept(metadata: object) -> Manifest:
    """Return the labels and annotations of a template; its name is not used."""
    given = _mapping(metadata, "metadata")
    return {
        key: dict(_mapping(given[key], f"metadata.{key}"))
        for key in ("labels", "annotations")
        if given.get(key)
    }


def merged(under: Any, over: Any, key: str = "") -> Any:
    """Return both as one; where they differ, ``over`` counts. ``key`` is where they stand."""
    if isinstance(under, dict) and isinstance(over, dict):
        both = [*under, *(name for name in over if name not in under)]
        return {
            name: merged(under[name], over[name], name)
            if name in under and name in over
            else over.get(name, under.get(name))
            for name in both
        }
    if isinstance(under, list) and isinstance(over, list):
        return _merged_lists(under, over, key)
    return over


def _merged_lists(under: list[Any], over: list[Any], key: str) -> list[Any]:
    if key in _JOINED:
        return [*under, *(item for item in over if item not in under)]
    if key not in _KEYS:
        return over
    result: list[Any] = []
    places: dict[Any, int] = {}
    for item in [*under, *over]:
        name = item.get(_KEYS[key]) if isinstance(item, dict) else None
        if name not in places:
            places[name] = len(result)
            result.append(item)
        elif key in _DEEP:
            result[places[name]] = merged(result[places[name]], item)
        else:
            result[places[name]] = item
    return result
