"""What ``schedd doctor`` says of a cluster: whether it answers, and what may be done there."""

from collections.abc import Iterator
from pathlib import Path

from runners.base import Job, Task, Unavailable
from runners.kube import jobs
from runners.kube.api import Api, Refusal
from runners.kube.manifest import manifest
from runners.kube.options import KubernetesOptions

NEEDED = (
    ("batch", "jobs", "", ("create", "delete", "get", "list", "patch")),
    ("", "pods", "", ("list",)),
    ("", "pods", "log", ("get",)),
)
"""(group, resource, subresource, verbs) without which the runner does not work."""
USEFUL = (("", "events", "", ("list",)), ("", "resourcequotas", "", ("list",)))
"""The same, of which only explanations come."""

Finding = tuple[bool, str]


def findings(api: Api, options: KubernetesOptions) -> Iterator[Finding]:
    """Yield (works, sentence) for each thing the runner needs; stop where nothing answers."""
    try:
        version = api.get("/version").json()
        yield True, f"Kubernetes {version.get('gitVersion')} at {api.server} answers"
        yield _permissions(api)
        yield _explanations(api)
        yield _creation(api, options)
        yield from _quotas(api)
    except Unavailable as error:
        yield False, str(error)
    except Refusal as refusal:
        yield False, f"Kubernetes at {api.server} refuses: {refusal}"


def _permissions(api: Api) -> Finding:
    missing = [words for words in _asked(NEEDED) if not _may(api, *words)]
    if missing:
        what = ", ".join(_words(*each) for each in missing)
        return False, f"in namespace {api.namespace} you may not {what}; see docs/kubernetes.md"
    return True, f"Jobs may be created, followed and deleted in namespace {api.namespace}"


def _explanations(api: Api) -> Finding:
    missing = [_words(*words) for words in _asked(USEFUL) if not _may(api, *words)]
    if missing:
        return True, f"why a Job waits is told less well: you may not {', '.join(missing)}"
    return True, "why a Job waits can be told"


def _asked(rules: tuple[tuple[str, str, str, tuple[str, ...]], ...]) -> Iterator[tuple[str, ...]]:
    for group, resource, sub, verbs in rules:
        yield from ((verb, group, resource, sub) for verb in verbs)


def _words(verb: str, group: str, resource: str, sub: str) -> str:
    return f"{verb} {resource}" + (f"/{sub}" if sub else "") + (f".{group}" if group else "")


def _may(api: Api, verb: str, group: str, resource: str, sub: str) -> bool:
    attributes = {"namespace": api.namespace, "verb": verb, "group": group, "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**attributes, "subresource": sub}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = api.request("POST", path, None, review).json()
    return bool((answer.get("status") or {}).get("allowed"))


def _creation(api: Api, options: KubernetesOptions) -> Finding:
    """Try out, without a trace, whether the server takes a Job: namespace, quota, admission."""
    sample = Job("schedd-doctor", (Task("doctor", ("true",), Path("/schedd/doctor")),))
    try:
        answer = jobs.create(api, manifest(sample, options), dry_run=True)
    except Refusal as refusal:
        return False, f"a Job would be refused: {refusal}"
    if answer.warnings:
        return False, f"a Job would be taken, but: {'; '.join(answer.warnings)}"
    return True, f"a Job would be taken in namespace {api.namespace}"


def _quotas(api: Api) -> Iterator[Finding]:
    try:
        found = api.get(api.core("resourcequotas")).json().get("items") or []
    except Refusal:  # said above already
        return
    for quota in found:
        status = quota.get("status") or {}
        used, hard = (
            status.get("used") or {},
            status.get("hard") or quota["spec"].get("hard") or {},
        )
        words = ", ".join(f"{used.get(what, '?')} of {most} {what}" for what, most in hard.items())
        yield True, f"quota {quota['metadata']['name']}: {words or 'nothing is limited'}"
