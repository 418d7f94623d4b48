"""The Pod template of a job: container, environment, folders and files. Pure."""

import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from runners.base import Job, Resources, Task
from runners.kube import template
from runners.kube.options import KubernetesOptions
from runners.kube.template import CONTAINER, Manifest
from runners.kube.text import quantity

INDEX = "JOB_COMPLETION_INDEX"
FILE = "schedd.io/file-"
"""Annotations that are mounted as files begin with this."""
_FOLDER, _FILES = "schedd-trial", "schedd-files"
"""Volumes: the trial's folder, and the files that lie in it beforehand."""
_INDEX_AT = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def defaults(options: KubernetesOptions) -> Manifest:
    """Return what a template may change: the restricted Pod Security Standard, and no token."""
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "spec": {
            "automountServiceAccountToken": options.service_account is not None,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{"name": CONTAINER, "securityContext": locked}],
        }
    }


def template_of(job: Job, options: KubernetesOptions) -> Manifest:
    """Return what is ours of the Pod template, without labels."""
    files = files_of(job)
    head: Manifest = {}
    if files:
        head["annotations"] = {FILE + name: text for name, text in files.items()}
    spec: Manifest = {}
    if options.service_account:
        spec["serviceAccountName"] = options.service_account
    if job.resources.time:
        # Of the Pod, not of the Job: that one counts from before a node is found.
        spec["activeDeadlineSeconds"] = math.ceil(job.resources.time)
    if options.run_as_user is not None:
        user = options.run_as_user
        spec["securityContext"] = {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    if options.node_selector:
        spec["nodeSelector"] = dict(options.node_selector)
    if options.tolerations:
        spec["tolerations"] = [dict(each) for each in options.tolerations]
    volumes = [*_own_volumes(job, options), *_volumes(options)]
    if volumes:
        spec["volumes"] = volumes
    spec = {"restartPolicy": "Never", **spec, "containers": [_container(job, options)]}
    return {"metadata": head, "spec": spec}


def _container(job: Job, options: KubernetesOptions) -> Manifest:
    one: Manifest = {"name": CONTAINER}
    if options.image:
        one["image"] = options.image
    one["command"] = _command(job)
    if job.workdir is not None:
        one["workingDir"] = str(job.workdir)
    one["env"] = _env(job)
    if options.env_secrets:
        one["envFrom"] = [{"secretRef": {"name": name}} for name in options.env_secrets]
    resources = _resources(job.resources, options.gpu_resource)
    if resources:
        one["resources"] = resources
    mounts = [*_own_mounts(job, options), *_mounts(options)]
    if mounts:
        one["volumeMounts"] = mounts
    return one


def _command(job: Job) -> list[str]:
    if len(job.tasks) == 1:
        return [escaped(element) for element in job.tasks[0].argv]
    return ["/bin/sh", f"{escaped(str(scripts_at(job)))}/$({INDEX})"]


def _env(job: Job) -> list[Manifest]:
    """Return what all tasks have in common; the rest is in each one's script."""
    first, *others = job.tasks
    common = {
        name: value
        for name, value in first.env.items()
        if all(task.env.get(name) == value for task in others)
    }
    index: list[Manifest] = []
    if others:
        index = [{"name": INDEX, "valueFrom": {"fieldRef": {"fieldPath": _INDEX_AT}}}]
    return [*index, *({"name": k, "value": escaped(v)} for k, v in common.items())]


def escaped(text: str) -> str:
    """Return ``text`` so that Kubernetes, which would fill in ``$(WORD)``, leaves it alone."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


def _resources(resources: Resources, gpu: str) -> Manifest:
    """Return the requests; of what cannot be shared, the limits as well."""
    fixed: Manifest = {}
    if resources.memory:
        fixed["memory"] = quantity(resources.memory)
    if resources.gpus:
        fixed[gpu] = str(resources.gpus)
    cpus = {"cpu": str(resources.cpus)} if resources.cpus else {}
    requests = {**cpus, **fixed}
    result: Manifest = {"requests": requests} if requests else {}
    return {**result, "limits": fixed} if fixed else result


def common_folder(job: Job) -> Path:
    """Return the folder in which all tasks' folders lie: the task's own where there is one."""
    return Path(os.path.commonpath([task.directory for task in job.tasks]))


def scripts_at(job: Job) -> Path:
    """Return the folder, in the container, of the scripts of a job of several tasks."""
    return common_folder(job) / ".schedd-tasks"


def is_shared(directory: Path, options: KubernetesOptions) -> bool:
    """Whether a volume of the user's that can be written lies at or above a task's folder."""
    spec = template.parts(options.template)[1]["spec"] if options.template else {}
    given = [c for c in spec.get("containers") or [] if c.get("name") == CONTAINER]
    mounts = [*(m for c in given for m in c.get("volumeMounts") or []), *_mounts(options)]
    places = [each.get("mountPath") for each in mounts if not each.get("readOnly")]
    path = PurePosixPath(directory)
    return any(place and path.is_relative_to(place) for place in places)


def files_of(job: Job) -> dict[str, str]:
    """Return the text files that are mounted, by a name that is unique in the job."""
    if len(job.tasks) == 1:
        return dict(job.tasks[0].files)
    return {str(i): _script(job, task) for i, task in enumerate(job.tasks)}


def _script(job: Job, task: Task) -> str:
    """Return the shell script that makes one task's folder and becomes its command."""
    others = [each for each in job.tasks if each is not task]
    folder = shlex.quote(str(task.directory))
    lines = [f"mkdir -p {folder} || exit"]
    for name, text in task.files.items():
        path = shlex.quote(f"{task.directory}/{name}")
        lines.append(f"printf %s {shlex.quote(text)} > {path} || exit")
    for name, value in task.env.items():
        if any(each.env.get(name) != value for each in others):
            lines.append(f"export {name}={shlex.quote(value)}")
    return "\n".join([*lines, f"exec {shlex.join(task.argv)}", ""])


def _own_volumes(job: Job, options: KubernetesOptions) -> list[Manifest]:
    volumes: list[Manifest] = []
    if not is_shared(common_folder(job), options):
        volumes.append({"name": _FOLDER, "emptyDir": {}})
    items = [
        {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{FILE}{name}']"}}
        for name in files_of(job)
    ]
    if items:
        volumes.append({"name": _FILES, "downwardAPI": {"items": items}})
    return volumes


def _own_mounts(job: Job, options: KubernetesOptions) -> list[Manifest]:
    mounts: list[Manifest] = []
    if not is_shared(common_folder(job), options):
        mounts.append({"name": _FOLDER, "mountPath": str(common_folder(job))})
    if len(job.tasks) > 1:
        mounts.append({"name": _FILES, "mountPath": str(scripts_at(job))})
    else:
        directory = job.tasks[0].directory
        mounts += (
            {"name": _FILES, "mountPath": f"{directory}/{name}", "subPath": name}
            for name in files_of(job)
        )
    return mounts


def _volumes(options: KubernetesOptions) -> list[Manifest]:
    return [{"name": f"schedd-{i}", **volume.source} for i, volume in enumerate(options.volumes)]


def _mounts(options: KubernetesOptions) -> list[Manifest]:
    def mount(i: int, volume: Any) -> Manifest:
        sub_path = {"subPath": volume.sub_path} if volume.sub_path else {}
        read_only = {"readOnly": True} if volume.read_only else {}
        return {"name": f"schedd-{i}", "mountPath": volume.mount, **sub_path, **read_only}

    return [mount(i, volume) for i, volume in enumerate(options.volumes)]


def avoid(spec: Manifest, nodes: Sequence[str]) -> None:
    """Let the Pods go elsewhere than to ``nodes`` where they can, whatever else the spec says.

    It is a wish: on a cluster of one node, or where all others are full, a Pod that must not go
    there would wait for ever. From a node that is gone Kubernetes itself keeps Pods away.
    """
    if not nodes:
        return
    affinity = spec["affinity"] = dict(spec.get("affinity") or {})
    of_nodes = affinity["nodeAffinity"] = dict(affinity.get("nodeAffinity") or {})
    # One requirement for each: matchFields takes one value.
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [n]} for n in nodes]
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    given: Sequence[Manifest] = of_nodes.get(preferred) or []
    of_nodes[preferred] = [*given, {"weight": 100, "preference": {"matchFields": fields}}]
