"""Katib's trial template as a runner: a Job becomes a template of the runner kubernetes. Pure."""

import re
from copy import deepcopy
from typing import Any

from scheduler.jobs import UNKNOWN, literal
from scheduler.translate.assemble import PARAMETERS
from scheduler.translate.node import Node, walk
from scheduler.translate.result import Losses
from scheduler.translate.space import Space

CONTAINER = "trial"
"""The container of a template in which schedd's command runs."""
_REFERENCE = re.compile(r"\$\{trialParameters\.([^}]*)\}")
_METADATA = re.compile(r"\$\{trialSpec\.(?P<field>\w+)(?:\[(?P<key>[^]]*)\])?\}")
_OURS = frozenset(
    {"backoffLimit", "completions", "parallelism", "ttlSecondsAfterFinished", "suspend"}
) | {"completionMode", "podFailurePolicy", "selector", "manualSelector", "backoffLimitPerIndex"}
_KNOWN = frozenset({"trialSpec", "trialParameters", "primaryContainerName"})
_TEMPLATE_WHY = {
    "retain": "see runner: {kubernetes: {keep_failed: true, ttl_after_finished: 7d}}",
    "configMap": "the template is in the cluster; write it to a file and name that as template",
    "successCondition": "a Job is a success where its command ends with status 0",
    "failureCondition": "a Job is a failure where its command does not end with status 0",
}
Arguments = dict[str, str]
"""From a name in ``trialParameters`` to what stands for it here."""


def runner(given: Node, namespace: Node, space: Space, losses: Losses) -> dict[str, Any]:
    """Return the runner for a trial template. Raises ConfigError."""
    given.unused(losses, _KNOWN, _TEMPLATE_WHY)
    spec = given["trialSpec"]
    kind = spec["kind"].text("")
    if kind != "Job":
        what = f"trialSpec of kind {kind}" if kind else "the trial's command"
        why = "schedd starts Jobs; write runner: {type: kubernetes, command: ...} or another"
        losses.add(what, why, (spec["kind"] or given).place)
        return {"type": "local", "command": [UNKNOWN, PARAMETERS]}
    arguments = _arguments(given, space, losses)
    container = _container(given)
    command = [
        _filled(each, arguments) for key in ("command", "args") for each in container[key].items()
    ]
    if not container["command"]:
        losses.add("the command", "it is the image's own entrypoint", container.place)
        command.insert(0, UNKNOWN)
    variables = {each["name"].text(): each["value"] for each in container["env"].items()}
    env = {
        name: _filled(value, arguments)
        for name, value in variables.items()
        if _REFERENCE.search(value.text(""))
    }
    section = {"namespace": namespace.text()} if namespace else {}
    _note_the_rest(spec, container, losses)
    return {
        "type": "kubernetes",
        "command": command,
        **({"env": env} if env else {}),
        "kubernetes": {**section, "template": _template(spec, container, set(env))},
    }


def _arguments(given: Node, space: Space, losses: Losses) -> Arguments:
    """Return what each trial parameter stands for: a parameter, or something of the trial."""
    found: Arguments = {}
    for item in given["trialParameters"].items():
        name, reference = item["name"].text(), item["reference"].text()
        if reference in space:
            found[name] = f"{{params.{space.name(reference)}}}"
        elif told := _METADATA.fullmatch(reference):
            found[name] = _of_job(told, item, given["trialSpec"], losses)
        else:
            raise item.wrong(f"the trial parameter {name} refers to {reference!r}, which is none")
    return found


def _of_job(told: re.Match[str], item: Node, spec: Node, losses: Losses) -> str:
    """Return what a reference to the trial's own Job stands for."""
    field, key = told["field"], told["key"]
    if field == "Name":
        return "{experiment}-{trial_index}"
    of = {"Kind": spec["kind"], "APIVersion": spec["apiVersion"]}
    metadata = spec["metadata"]
    of |= {"Labels": metadata["labels"][key], "Annotations": metadata["annotations"][key]}
    value = of.get(field, spec[""])
    if not value:
        losses.add(told[0], "it is left empty here", item.place)
    return literal(value.text(""))


def _container(given: Node) -> Node:
    """Return the container that the trial runs in."""
    containers = given["trialSpec"]["spec"]["template"]["spec"]["containers"].items()
    if not containers:
        raise given["trialSpec"].wrong("the Job has no containers")
    name = given["primaryContainerName"]
    if not name:
        return containers[0]
    found = next((c for c in containers if c["name"].text() == name.text()), None)
    if found is None:
        raise name.wrong(f"the Job has no container {name.text()!r}")
    return found


def _filled(given: Node, arguments: Arguments) -> str:
    """Return text with the trial's parameters in the place of Katib's references."""

    def replace(match: re.Match[str]) -> str:
        if match[1] not in arguments:
            raise given.wrong(f"{match[0]} is not among the trialParameters")
        return arguments[match[1]]

    return _REFERENCE.sub(replace, literal(given.text()))


def _template(spec: Node, container: Node, filled: set[str]) -> dict[str, Any]:
    """Return the Job without what schedd sets, its container under the name that schedd knows."""
    job: dict[str, Any] = deepcopy(spec.data)
    job["spec"] = {key: value for key, value in job["spec"].items() if key not in _OURS}
    containers = job["spec"]["template"]["spec"]["containers"]
    place = container.path[-1]
    kept = {k: v for k, v in containers[place].items() if k not in ("command", "args", "env")}
    env = [e for e in containers[place].get("env") or () if e.get("name") not in filled]
    containers[place] = {**kept, "name": CONTAINER, **({"env": env} if env else {})}
    return {"apiVersion": "batch/v1", **job}


def _note_the_rest(spec: Node, container: Node, losses: Losses) -> None:
    """Note what schedd sets itself, and references where nothing can be filled in."""
    why = (
        "Pods get a restricted security context; for such images set kubernetes: {run_as_user: N}"
    )
    losses.add("running as root", why, container["image"].place)
    for key in sorted(_OURS & spec["spec"].mapping().keys()):
        losses.add(f"{key} of the Job", "schedd sets it", spec["spec"][key].place)
    filled = [(*container.path, key) for key in ("command", "args", "env")]
    for node in walk(spec):
        if node.path[: len(container.path) + 1] in filled or not isinstance(node.data, str):
            continue
        if _REFERENCE.search(node.data):
            why = "a parameter can stand in the command, its arguments and the environment alone"
            losses.add(f"{node.data} in {node.label}", why, node.place)
