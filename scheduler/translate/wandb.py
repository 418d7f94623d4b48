"""Sweeps of Weights & Biases: the YAML that ``wandb sweep`` takes. Pure."""

from typing import Any

from scheduler.translate.node import Node
from scheduler.translate.result import Losses, Translation
from scheduler.translate.space import Space
from scheduler.translate.wandb_command import command
from scheduler.translate.wandb_parameters import add_parameters

_METHODS: dict[str, dict[str, Any]] = {
    "random": {"method": "random_search"},
    "grid": {"nodes": [{"generator": "grid"}]},
    "bayes": {"method": "fast"},
}
_KNOWN = frozenset({"parameters", "metric", "method", "program", "command", "name", "description"})
_TAGS = ("project", "entity")
_WHY = {
    "early_terminate": "schedd does not stop trials early yet",
    "image_uri": "a trial here is a command; of an image, with runner: {type: kubernetes}",
    "job": "a trial here is a command; write it as runner: {command: ...}",
    "controller": "schedd is the controller",
    "prior_runs": "wandb keeps them; export them as CSV and name that under warm_start",
}


def translate(sweep: Node) -> Translation:
    """Return a sweep in our words. Raises ConfigError."""
    losses = Losses()
    space = Space(losses)
    add_parameters(sweep["parameters"], space, losses)
    if not space.parameters:
        raise sweep.wrong("this sweep of wandb has no parameters")
    definition: dict[str, Any] = {
        "name": sweep["name"].text("sweep"),
        "description": sweep["description"].text(""),
        "tags": {key: sweep[key].text() for key in _TAGS if sweep[key]},
        "parameters": space.parameters,
        **_objective(sweep["metric"], losses),
        "generation_strategy": _strategy(sweep["method"], losses),
        "trials": {"total_trials": sweep["run_cap"].whole()} if sweep["run_cap"] else {},
        "runner": {"type": "local", "command": command(sweep, space, losses)},
    }
    sweep.unused(losses, _KNOWN | {"run_cap", *_TAGS}, _WHY)
    _note_reporting(sweep, losses)
    kept = {key: value for key, value in definition.items() if value}
    return Translation(f"wandb's sweep {definition['name']!r}", kept, (), tuple(losses.found))


def _objective(metric: Node, losses: Losses) -> dict[str, Any]:
    if not metric:
        why = "the sweep has no metric; here it is called loss, and minimized"
        losses.add("what to optimize", why)
        return {"objective": {"metric": "loss", "minimize": True}}
    name, goal = metric["name"].text(), metric["goal"].text("minimize")
    if goal not in ("minimize", "maximize"):
        raise metric["goal"].wrong(f"metric.goal is minimize or maximize, not {goal!r}")
    metric.unused(losses, {"name", "goal", "target"}, {"impute": "schedd fills in no values"})
    target = metric["target"]
    stop = {"goal": {"metric": name, "value": target.number()}} if target else {}
    return {
        "objective": {"metric": name, "minimize": goal == "minimize"},
        "stopping_criteria": stop,
    }


def _strategy(method: Node, losses: Losses) -> dict[str, Any]:
    name = method.text("random")
    if name not in _METHODS:
        losses.add(f"method: {name}", "schedd has Sobol, then BoTorch in its place", method.place)
        return {}
    return _METHODS[name]


def _note_reporting(sweep: Node, losses: Losses) -> None:
    place = sweep["metric"].place
    why = "schedd reads metrics.jsonl in the trial's folder; add `schedd record NAME=VALUE`"
    losses.add("metrics from wandb.log()", why, place)
    why = "a trial's parameters are its arguments, and in parameters.json"
    losses.add("wandb.config from the agent", why)
