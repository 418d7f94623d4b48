"""NNI's experiment configurations: version 2, and the first one where it says the same. Pure."""

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from scheduler.jobs import literal
from scheduler.model.base import parse_duration
from scheduler.translate.nni_space import add_space
from scheduler.translate.node import Node
from scheduler.translate.result import Losses, Translation
from scheduler.translate.space import Space

Read = Callable[[str, Node], Node]
"""From a path in a configuration, and where it stands, to what that file holds."""
METRIC = "default"
"""What NNI calls the final result of a trial."""
_SHELL = re.compile(r"[|&;<>()$`*?#~=%\[\]\\\n]")
_STRATEGIES: Mapping[str, dict[str, Any]] = {
    "random": {"method": "random_search"},
    "gridsearch": {"nodes": [{"generator": "grid"}]},
}
_KNOWN = frozenset(
    {"experimentName", "name", "searchSpace", "searchSpaceFile", "searchSpacePath", "trialCommand"}
    | {"trialCodeDirectory", "trialConcurrency", "maxExperimentDuration", "maxExecDuration"}
    | {"maxTrialNumber", "maxTrialNum", "maxTrialDuration", "tuner", "advisor", "trial"}
)
_IGNORED = frozenset(
    {"authorName", "debug", "logLevel", "logCollection", "experimentWorkingDirectory"}
)
"""What says nothing about the experiment."""
_PLATFORMS = ("trainingService", "trainingServicePlatform")
_NO_GPUS = "the local runner gives out no GPUs; runner: {type: slurm} does"
_WHY = {
    "assessor": "schedd does not stop trials early yet",
    "trialGpuNumber": _NO_GPUS,
    "useAnnotation": "the search space must be written out",
    **dict.fromkeys(_PLATFORMS, "trials are commands of this machine here: see runner"),
}


def translate(config: Node, read: Read) -> Translation:
    """Return a configuration in our words; ``read`` opens the search space's file.

    Raises ConfigError.
    """
    losses = Losses()
    space = Space(losses)
    add_space(_search_space(config, read), space, losses)
    if not space.parameters:
        raise config.wrong("the search space of this NNI experiment is empty")
    definition = {
        "name": (config["experimentName"] or config["name"]).text("nni"),
        "parameters": space.parameters,
        "objective": {"metric": METRIC, "minimize": _minimize(config, losses)},
        "generation_strategy": _strategy(config, losses),
        "trials": _trials(config),
        "stopping_criteria": _stopping(config),
        "runner": _runner(config),
    }
    platform = config["trainingServicePlatform"] or config["trainingService"]["platform"]
    here = _PLATFORMS if platform.text("local") == "local" else ()
    config.unused(losses, {*_KNOWN, *_IGNORED, *here}, _WHY)
    config["trial"].unused(losses, {"command", "codeDir"}, {"gpuNum": _NO_GPUS})
    _note_reporting(config, losses)
    kept = {key: value for key, value in definition.items() if value}
    return Translation(f"NNI's experiment {definition['name']!r}", kept, (), tuple(losses.found))


def _search_space(config: Node, read: Read) -> Node:
    if config["searchSpace"]:
        return config["searchSpace"]
    path = config["searchSpaceFile"] or config["searchSpacePath"]
    if not path:
        raise config.wrong("there is neither searchSpace nor searchSpaceFile")
    return read(path.text(), path)


def _tuner(config: Node) -> Node:
    return config["tuner"] or config["advisor"]


def _name(tuner: Node) -> str:
    named = tuner["name"] or tuner["builtinTunerName"] or tuner["builtinAdvisorName"]
    return named.text("TPE")


def _minimize(config: Node, losses: Losses) -> bool:
    tuner = _tuner(config)
    mode = tuner["classArgs"]["optimize_mode"]
    if mode:
        return mode.text() == "minimize"
    why = "tuner.classArgs.optimize_mode is not given; here it is maximized"
    losses.add("whether to minimize or to maximize", why, tuner.place)
    return False


def _strategy(config: Node, losses: Losses) -> dict[str, Any]:
    tuner = _tuner(config)
    if not tuner:
        return {}
    name = _name(tuner)
    if name.lower() in _STRATEGIES:
        return _STRATEGIES[name.lower()]
    losses.add(f"the tuner {name}", "schedd has Sobol, then BoTorch in its place", tuner.place)
    return {}


def _trials(config: Node) -> dict[str, Any]:
    total = config["maxTrialNumber"] or config["maxTrialNum"]
    pending, ttl = config["trialConcurrency"], config["maxTrialDuration"]
    return {
        **({"total_trials": total.whole()} if total else {}),
        **({"max_pending_trials": pending.whole()} if pending else {}),
        **({"ttl": _duration(ttl)} if ttl else {}),
    }


def _stopping(config: Node) -> dict[str, Any]:
    timeout = config["maxExperimentDuration"] or config["maxExecDuration"]
    return {"timeout": _duration(timeout)} if timeout else {}


def _duration(given: Node) -> str | float:
    """Return a duration: NNI's ``10m`` and numbers of seconds mean the same here."""
    text = given.text()
    try:
        parse_duration(text)
    except ValueError:
        return given.number()
    return text


def _runner(config: Node) -> dict[str, Any]:
    line = config["trialCommand"] or config["trial"]["command"]
    folder = config["trialCodeDirectory"] or config["trial"]["codeDir"]
    if not line:
        raise config.wrong("there is no trialCommand")
    return {
        "type": "local",
        "command": _command(line),
        **({"workdir": folder.text()} if folder and folder.text() not in (".", "./") else {}),
    }


def _command(line: Node) -> list[str]:
    """Return a shell line as arguments; one that needs a shell gets it."""
    text = line.text().strip()
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words or _SHELL.search(text):
        return ["sh", "-c", literal(text)]
    return [literal(word) for word in words]


def _note_reporting(config: Node, losses: Losses) -> None:
    place = (config["trialCommand"] or config["trial"]["command"]).place
    why = "parameters.json in the trial's folder, $SCHEDD_TRIAL_DIR, has the parameters"
    losses.add("nni.get_next_parameter()", why, place)
    why = f"write `schedd record {METRIC}=VALUE`, or a line of metrics.jsonl in that folder"
    losses.add("nni.report_final_result()", why, place)
