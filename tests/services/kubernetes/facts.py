"""What a job and its pods say, and the pods a job makes. Pure."""

from services.kubernetes.store import copied

TRACKING = "batch.kubernetes.io/job-tracking"
FOREGROUND = "foregroundDeletion"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
ENDS = ("Complete", "Failed")


def finished(job: dict) -> bool:
    return any(condition(job, kind) for kind in ENDS)


def indexes(text: str) -> set[int]:
    """Return the numbers of ``1,3-5``."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def add_index(status: dict, key: str, pod: dict) -> None:
    found = sorted(indexes(status.get(key, "")) | {int(pod["metadata"]["annotations"][INDEX])})
    parts: list[list[int]] = []
    for number in found:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    status[key] = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def condition(job: dict, kind: str) -> tuple[str, str] | None:
    """Return reason and message of a condition that is true."""
    for condition in job["status"].get("conditions") or ():
        if condition["type"] == kind and condition["status"] == "True":
            return condition.get("reason", ""), condition.get("message", "")
    return None


def ended(pod: dict) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def succeeded(job: dict) -> bool:
    return job["status"].get("succeeded", 0) >= job["spec"]["completions"]


def is_ready(pod: dict) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def rule_of(job: dict, pod: dict) -> dict | None:
    """Return the first rule of the job's failure policy that a failed pod fulfils."""
    if pod["status"]["phase"] != "Failed":
        return None
    for rule in (job["spec"].get("podFailurePolicy") or {}).get("rules") or ():
        if _fulfils(rule, pod):
            return rule
    return None


def _fulfils(rule: dict, pod: dict) -> bool:
    for wanted in rule.get("onPodConditions") or ():
        for condition in pod["status"].get("conditions") or ():
            same = condition["type"] == wanted["type"]
            if same and condition["status"] == wanted.get("status", "True"):
                return True
    codes = rule.get("onExitCodes")
    if not codes:
        return False
    for status in pod["status"].get("containerStatuses") or ():
        code = (status["state"].get("terminated") or {}).get("exitCode", 0)
        named = codes.get("containerName") in (None, status["name"])
        if code and named and (code in codes["values"]) is (codes["operator"] == "In"):
            return True
    return False


def policy_message(job: dict, pod: dict) -> str:
    rules = job["spec"]["podFailurePolicy"]["rules"]
    at, name = rules.index(rule_of(job, pod)), pod["metadata"]["name"]
    where = f"{pod['metadata']['namespace']}/{name}"
    if rules[at].get("onPodConditions"):
        kind = rules[at]["onPodConditions"][0]["type"]
        return f"Pod {where} has condition {kind} matching FailJob rule at index {at}"
    status = pod["status"]["containerStatuses"][0]
    code = status["state"]["terminated"]["exitCode"]
    what = f"Container {status['name']} for pod {where} failed with exit code {code}"
    return f"{what} matching FailJob rule at index {at}"


def pod_of(job: dict, index: int | None, suffix: str) -> dict:
    """Return the pod that a job's controller makes for one index; ``suffix`` ends its name."""
    meta, template = job["metadata"], copied(job["spec"]["template"])
    own = template.get("metadata") or {}
    labels, annotations = dict(own.get("labels") or {}), dict(own.get("annotations") or {})
    spec, name = template["spec"], meta["name"]
    if index is not None:
        name = f"{name}-{index}"
        annotations[INDEX] = labels[INDEX] = str(index)
        spec.setdefault("hostname", name)
        field = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
            env = container.setdefault("env", [])
            if not any(v["name"] == "JOB_COMPLETION_INDEX" for v in env):
                env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": field})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
    return {
        "metadata": {
            "name": f"{name[:57]}-{suffix}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
            "finalizers": [TRACKING],
        },
        "spec": spec,
        "status": {"phase": "Pending"},
    }


def labelled(job: dict) -> dict:
    """Give a new job the labels and the selector by which it knows its pods."""
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    ours = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    meta = job["spec"]["template"].setdefault("metadata", {})
    meta["labels"] = (meta.get("labels") or {}) | ours
    job["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    job["metadata"]["labels"] = job["metadata"].get("labels") or {}
    job["status"] = {}
    return job
