"""Why a job can never run in a Pod, told before the server is asked. Pure."""

import json
import re

from runners.base import Job, Task
from runners.kube.manifest import manifest
from runners.kube.options import KubernetesOptions
from runners.kube.pod import INDEX, common_folder, files_of

LARGEST = 1 << 20
"""Bytes of a manifest; etcd takes little more."""
MOST_ANNOTATED = 250 * 1024
"""Bytes of all annotations of one object; Kubernetes takes 256 KiB."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FILE_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,50}[A-Za-z0-9])?")


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
    if INDEX in names:
        return f"{INDEX} is set by Kubernetes"
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
    annotated = sum(len(text.encode()) for text in files_of(job).values())
    if annotated > MOST_ANNOTATED:
        return (
            f"what its {len(job.tasks)} tasks are given takes {annotated >> 10} KiB, and "
            f"Kubernetes takes {MOST_ANNOTATED >> 10} KiB in one Job; use a smaller batch_size"
        )
    size = len(json.dumps(manifest(job, options)).encode())
    if size > LARGEST:
        return f"its manifest has {size >> 10} KiB; Kubernetes takes {LARGEST >> 10} KiB"
    return None
