"""Volumes and environment of a pod whose containers are processes of this machine.

There is no other root: where a path of a mount occurs in a command, a variable, the working folder
or a mounted text, the local folder behind it stands instead.
"""

import base64
import re
from pathlib import Path
from typing import Any

from services.kubernetes.containers import expanded
from services.kubernetes.store import Store

Fault = tuple[str, str] | None
"""Why a container cannot be made: reason and message."""


class Mounts:
    """One pod's folders below ``root``."""

    def __init__(self, store: Store, pod: dict, root: Path) -> None:
        self.store, self.pod, self.root = store, pod, root
        self._places: dict[str, Path] = {}
        self._mounted: dict[str, list[tuple[str, Path]]] = {}
        self._written: dict[Path, str] = {}

    def prepare(self) -> Fault:
        """Make the volumes; return what is missing."""
        (self.root / "messages").mkdir(parents=True, exist_ok=True)
        for volume in self.pod["spec"].get("volumes") or ():
            place = self.root / "volumes" / volume["name"]
            if "hostPath" in volume:
                self._places[volume["name"]] = Path(volume["hostPath"]["path"])
                continue
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                place = self.root.parent / "claims" / claim
            place.mkdir(parents=True, exist_ok=True)
            self._places[volume["name"]] = place
            for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
                if missing := self._fill(source, place):
                    return "ContainerCreating", missing
        for container in self.pod["spec"]["containers"]:
            env, _ = self.environment(container)
            mounted = [self._mount(mount, env) for mount in container.get("volumeMounts") or ()]
            self._mounted[container["name"]] = mounted
            _nest(mounted)
        for path, text in self._written.items():
            path.write_text(self.local(self.pod["spec"]["containers"][0], text))
        return None

    def _mount(self, mount: dict, env: dict[str, str]) -> tuple[str, Path]:
        place = self._places[mount["name"]]
        inner = mount.get("subPath") or expanded(mount.get("subPathExpr") or "", env)
        if inner:
            place = place / inner
            if not place.exists():
                place.mkdir(parents=True)
        return mount["mountPath"].rstrip("/"), place

    def _fill(self, source: dict, place: Path) -> str:
        """Write a volume's files; return what cannot be found."""
        named = {"configMap": ("configmaps", "name"), "secret": ("secrets", "secretName")}
        for kind, (resource, key) in named.items():
            wanted = source.get(kind)
            if wanted is None:
                continue
            name = wanted.get("name") or wanted.get(key)
            found = self.store.find(resource, self.pod["metadata"]["namespace"], name)
            if found is None:
                if wanted.get("optional"):
                    continue
                return f'MountVolume.SetUp failed: {kind.lower()} "{name}" not found'
            data = _texts(found)
            chosen = wanted.get("items") or [{"key": k, "path": k} for k in data]
            for item in chosen:
                self._write(place / item["path"], data[item["key"]])
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            self._write(place / item["path"], self._field(item.get("fieldRef") or {}))
        return ""

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self._written[path] = text

    def environment(self, container: dict) -> tuple[dict[str, str], Fault]:
        """Return a container's variables, and what is missing of them."""
        env: dict[str, str] = {}
        namespace = self.pod["metadata"]["namespace"]
        for source in container.get("envFrom") or ():
            for kind, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if kind in source:
                    found = self.store.find(resource, namespace, source[kind]["name"])
                    if found is None:
                        return env, _no_config(resource, source[kind]["name"])
                    prefix = source.get("prefix", "")
                    env |= {f"{prefix}{k}": v for k, v in _texts(found).items()}
        for variable in container.get("env") or ():
            source = variable.get("valueFrom")
            if source is None:
                env[variable["name"]] = expanded(variable.get("value") or "", env)
                continue
            value, fault = self._value(source, namespace)
            if fault:
                return env, fault
            env[variable["name"]] = value
        return env, None

    def _value(self, source: dict, namespace: str) -> tuple[str, Fault]:
        if "fieldRef" in source:
            return self._field(source["fieldRef"]), None
        for kind, resource in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if kind in source:
                found = self.store.find(resource, namespace, source[kind]["name"])
                data = _texts(found) if found else {}
                if source[kind]["key"] not in data:
                    return "", _no_config(resource, source[kind]["name"])
                return data[source[kind]["key"]], None
        return "", None

    def _field(self, ref: dict) -> str:
        path = ref.get("fieldPath", "")
        if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
            return str((self.pod["metadata"].get(match[1]) or {}).get(match[2], ""))
        found: Any = self.pod
        for key in path.split("."):
            found = found.get(key, "") if isinstance(found, dict) else ""
        return str(found)

    def message_file(self, container: dict) -> Path:
        """Return where a container's termination message lies."""
        path = self.local(container, container["terminationMessagePath"])
        if path != container["terminationMessagePath"]:
            return Path(path)
        return self.root / "messages" / container["name"]

    def local(self, container: dict, text: str) -> str:
        """Return ``text`` with paths of mounts replaced by local ones, the longest that fits."""
        places = dict(self._mounted.get(container["name"], ()))
        message = container["terminationMessagePath"]
        if not any(message.startswith(f"{at}/") for at in places):
            places[message] = self.root / "messages" / container["name"]
        moved = [a for a, place in places.items() if a != str(place) and a not in SCRATCH]
        if not moved:
            return text
        words = "|".join(re.escape(at) for at in sorted(moved, key=len, reverse=True))
        pattern = rf"(?<![\w.-])({words})(?![\w.-])"
        return re.sub(pattern, lambda match: str(places[match[1]]), text)


SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")
"""Where an empty volume needs no folder of its own: nothing of interest is left there."""


def _nest(mounted: list[tuple[str, Path]]) -> None:
    """Let what is mounted within another mount be found there."""
    for at, place in mounted:
        outer = [(a, p) for a, p in mounted if at.startswith(f"{a}/")]
        if outer:
            above, root = max(outer, key=lambda pair: len(pair[0]))
            link = root / at[len(above) + 1 :]
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(place)


def _texts(found: dict) -> dict[str, str]:
    """Return the keys of a ConfigMap or a Secret with their texts."""
    data = dict(found.get("data") or {})
    if found["kind"] == "Secret":
        data = {key: base64.b64decode(value).decode() for key, value in data.items()}
        data |= found.get("stringData") or {}
    return data


def _no_config(resource: str, name: str) -> tuple[str, str]:
    return "CreateContainerConfigError", f'{resource.removesuffix("s")} "{name}" not found'
