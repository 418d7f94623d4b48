"""From a job to the manifest of a Kubernetes Job. Pure, and a function of data.

Nothing of ours is needed in the image. A job of one task is its command as it stands. The tasks
of a job of several share one Pod template, so each is a small shell script, chosen by its index.
Both find their folder under the path that it has on this machine, in an empty volume, or in a
volume of the user's that is mounted at or above it.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from runners.base import Job
from runners.kube import pod, template
from runners.kube.options import KubernetesOptions
from runners.kube.template import CONTAINER, Manifest

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
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DESCRIBED = ("EXPERIMENT", "TRIAL_INDEX", "ATTEMPT")
"""What the environment says of a task that is a label as well, for ``kubectl get jobs -l``."""


def token(name: str, directories: Iterable[Path]) -> str:
    """Return what a Job of this name and these folders, and no other, carries."""
    text = "\0".join([name, *map(str, directories)])
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def manifest(job: Job, options: KubernetesOptions) -> Manifest:
    """Return the Job that runs ``job``: defaults, under the template, under what is ours."""
    above, below = template.parts(options.template) if options.template else ({}, {})
    ours = template.merged({"metadata": {"labels": _labels(job)}}, pod.template_of(job, options))
    pods = template.merged(template.merged(pod.defaults(options), below), ours)
    pod.avoid(pods["spec"], job.avoid)
    head = template.merged(above.get("metadata", {}), _metadata(job, options))
    spec = {**above.get("spec", {}), **_spec(job), "template": pods}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": head, "spec": spec}


def _metadata(job: Job, options: KubernetesOptions) -> Manifest:
    place = {"namespace": options.namespace} if options.namespace else {}
    directories = (task.directory for task in job.tasks)
    notes = {TOKEN: token(job.name, directories), STATE: HELD if job.hold else CREATED}
    notes |= {WANTED: options.queue} if options.queue else {}
    return {"name": job.name, **place, "labels": _labels(job), "annotations": notes}


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


def _labels(job: Job) -> dict[str, str]:
    env = job.tasks[0].env
    said = {word: env.get(f"SCHEDD_{word}", "") for word in _DESCRIBED}
    described = {
        f"schedd.io/{word.lower().replace('_', '-')}": text
        for word, text in said.items()
        if _LABEL.fullmatch(text)
    }
    return {"app.kubernetes.io/managed-by": "schedd", JOB: job.name, **described}
