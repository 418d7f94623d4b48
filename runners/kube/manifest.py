"""From a job to the manifest of a Kubernetes Job. Pure, and a function of data.

Nothing of ours is needed in the image. A job of one task is its command as it stands. The tasks
of a job of several share one Pod template, so each is a small shell script, chosen by its index.
Both find their folder under the path that it has on this machine, in an empty volume, or in a
volume of the user's that is mounted at or above it.
"""

import hashlib
import json
import math
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from runners.base import Job, Resources, Task
from runners.kube import template
from runners.kube.options import KubernetesOptions
from runners.kube.template import CONTAINER, Manifest
from runners.kube.text import quantity

JOB = "schedd.io/job"
"""Label of a Job and its Pods: the job's name."""
TOKEN = "schedd.io/token"  # noqa: S105  # no secret
"""Annotation: what tells a Job of ours from another's of the same name."""
STATE = "schedd.io/state"
"""Annotation: how far its start has come: created, held or started."""
CREATED, HELD, STARTED = "created", "held", "started"
WANTED = "schedd.io/queue"
"""Annotation: the queue of Kueue into which the Job is put when it may start."""
QUEUE = "kueue.x-k8s.io/queue-name"
INDEX = "JOB_COMPLETION_INDEX"
LARGEST = 1 << 20
"""Bytes of a manifest; etcd takes little more."""
MOST_ANNOTATED = 250 * 1024
"""Bytes of all annotations of one object; Kubernetes takes 256 KiB."""
_FILE = "schedd.io/file-"
_FOLDER, _FILES = "schedd-trial", "schedd-files"
"""Volumes: the trial's folder, and the files that lie in it beforehand."""
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FILE_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,50}[A-Za-z0-9])?")
_DESCRIBED = ("EXPERIMENT", "TRIAL_INDEX", "ATTEMPT")
"""What the environment says of a task that is a label as well, for ``kubectl get jobs -l``."""


def token(name: str, directories: Iterable[Path]) -> str:
    """Return what a Job of this name and these folders, and no other, carries."""
    text = "\0".join([name, *map(str, directories)])
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def fault(job: Job, options: KubernetesOptions) -> str | None:
    """Return why ``job`` can never run, ``None`` where it may."""
    suffix = f"-{len(job.tasks) - 1}" if len(job.tasks) > 1 else ""
    if _NAME.fullmatch(job.name + suffix) is None:
        return "its name is too long, or not made of a-z, 0-9 and - with no - at its ends"
    if not job.tasks or len({task.directory for task in job.tasks}) < len(job.tasks):
        return "each of its tasks, one or more, needs a folder of its own"
    if (job.resources.nodes or 1) > 1:
        return "a task is one Pod on one node; resources: {nodes: ...} is for other runners"
    if job.workdir is not None and not job.workdir.is_absolute():
        return f"workdir {str(job.workdir)!r} is not an absolute path in the container"
    problem = next(filter(None, map(_task_fault, job.tasks)), None)
    return problem or (_batch_fault(job) if suffix else None) or _size_fault(job, options)


def _batch_fault(job: Job) -> str | None:
    """Return why a shell script could not start the tasks."""
    names = {name for task in job.tasks for name in task.env}
    bad = sorted(name for name in names if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is None)
    if bad:
        return f"{bad[0]!r} cannot be the name of a shell's variable"
    if len(common_folder(job).parts) < 3:
        return f"{str(common_folder(job))!r}, where its tasks meet, cannot be a trial's folder"
    return None


def _task_fault(task: Task) -> str | None:
    if not task.argv or not task.argv[0]:
        return f"task {task.name!r} has no command"
    path = str(task.directory)
    if not task.directory.is_absolute() or len(task.directory.parts) < 3 or ":" in path:
        return f"folder {path!r} cannot be a folder of a container"
    for name in task.files:
        if _FILE_NAME.fullmatch(name) is None:
            return f"{name!r} cannot be the name of a file"
    for name in task.env:
        if not name or "=" in name:
            return f"{name!r} cannot be the name of an environment variable"
    texts = [*task.argv, path, *task.env, *task.env.values(), *task.files.values()]
    if any("\0" in text for text in texts):
        return f"task {task.name!r} has a NUL character in its command, folder or environment"
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        return f"task {task.name!r} has text that cannot be encoded: {error.reason}"
    return None


def _size_fault(job: Job, options: KubernetesOptions) -> str | None:
    annotated = sum(len(text.encode()) for text in _files(job).values())
    if annotated > MOST_ANNOTATED:
        return (
            f"what its {len(job.tasks)} tasks are given takes {annotated >> 10} KiB, and "
            f"Kubernetes takes {MOST_ANNOTATED >> 10} KiB in one Job; use a smaller batch_size"
        )
    size = len(json.dumps(manifest(job, options)).encode())
    if size > LARGEST:
        return f"its manifest has {size >> 10} KiB; Kubernetes takes {LARGEST >> 10} KiB"
    return None


def manifest(job: Job, options: KubernetesOptions) -> Manifest:
    """Return the Job that runs ``job``: defaults, under the template, under what is ours."""
    above, below = template.parts(options.template) if options.template else ({}, {})
    pod = template.merged(template.merged(_defaults(options), below), _pod(job, options))
    _avoid(pod["spec"], job.avoid)
    head = template.merged(above.get("metadata", {}), _metadata(job, options))
    spec = {**above.get("spec", {}), **_spec(job), "template": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": head, "spec": spec}


def _metadata(job: Job, options: KubernetesOptions) -> Manifest:
    place = {"namespace": options.namespace} if options.namespace else {}
    directories = (task.directory for task in job.tasks)
    notes = {TOKEN: token(job.name, directories), STATE: HELD if job.hold else CREATED}
    notes |= {WANTED: options.queue} if options.queue else {}
    return {"name": job.name, **place, "labels": _labels(job), "annotations": notes}


def _labels(job: Job) -> dict[str, str]:
    env = job.tasks[0].env
    said = {word: env.get(f"SCHEDD_{word}", "") for word in _DESCRIBED}
    described = {
        f"schedd.io/{word.lower().replace('_', '-')}": text
        for word, text in said.items()
        if _LABEL.fullmatch(text)
    }
    return {"app.kubernetes.io/managed-by": "schedd", JOB: job.name, **described}


def _spec(job: Job) -> Manifest:
    """Return how often Pods start: once, and never again, whatever happens to them."""
    count = len(job.tasks)
    condition = {"type": "DisruptionTarget", "status": "True"}
    disrupted = {"action": "FailJob", "onPodConditions": [condition]}
    spec: Manifest = {"suspend": True, "completions": count, "parallelism": count}
    if count == 1:
        exit_codes = {"containerName": CONTAINER, "operator": "NotIn", "values": [0]}
        failed = {"action": "FailJob", "onExitCodes": exit_codes}
        spec |= {"backoffLimit": 0, "podFailurePolicy": {"rules": [disrupted, failed]}}
    else:
        # A Pod that fails must not end those of the other arms: each index has a limit of its own.
        spec |= {"completionMode": "Indexed", "backoffLimitPerIndex": 0, "backoffLimit": count}
        spec |= {"podFailurePolicy": {"rules": [disrupted]}}
    return {**spec, "podReplacementPolicy": "Failed"}


def _defaults(options: KubernetesOptions) -> Manifest:
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


def _pod(job: Job, options: KubernetesOptions) -> Manifest:
    files = _files(job)
    head: Manifest = {"labels": _labels(job)}
    if files:
        head["annotations"] = {_FILE + name: text for name, text in files.items()}
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
        place = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        index = [{"name": INDEX, "valueFrom": {"fieldRef": {"fieldPath": place}}}]
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


# -- folders and files


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


def _files(job: Job) -> dict[str, str]:
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
        {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{_FILE}{name}']"}}
        for name in _files(job)
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
            for name in _files(job)
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


def _avoid(spec: Manifest, nodes: Sequence[str]) -> None:
    """Keep the Pods from ``nodes``, whatever else the template says of nodes."""
    if not nodes:
        return
    affinity = spec["affinity"] = dict(spec.get("affinity") or {})
    of_nodes = affinity["nodeAffinity"] = dict(affinity.get("nodeAffinity") or {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    given: Mapping[str, Any] = of_nodes.get(required) or {}
    terms: Sequence[Manifest] = given.get("nodeSelectorTerms") or [{}]
    # One requirement for each: matchFields takes one value.
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [n]} for n in nodes]
    of_nodes[required] = {
        "nodeSelectorTerms": [
            {**term, "matchFields": [*(term.get("matchFields") or []), *fields]} for term in terms
        ]
    }
