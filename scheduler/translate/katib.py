"""Experiments of Katib's, ``kubeflow.org/v1beta1``. Pure."""

from collections.abc import Mapping
from typing import Any

from scheduler.translate.katib_metrics import add_metrics
from scheduler.translate.katib_template import runner
from scheduler.translate.node import Node
from scheduler.translate.result import Losses, Measured, Translation
from scheduler.translate.space import Range, Space

VERSION = "kubeflow.org/v1beta1"
PARALLEL = 3
"""Katib's default of parallelTrialCount."""
_STRATEGIES: Mapping[str, dict[str, Any]] = {
    "random": {"method": "random_search"},
    "sobol": {"method": "random_search"},
    "grid": {"nodes": [{"generator": "grid"}]},
}
_KNOWN = frozenset(
    {"objective", "algorithm", "parameters", "parallelTrialCount", "maxTrialCount"}
) | {"maxFailedTrialCount", "trialTemplate", "metricsCollectorSpec", "resumePolicy", "nasConfig"}
_WHY = {"earlyStopping": "schedd does not stop trials early yet"}


def translate(root: Node) -> Translation:
    """Return an Experiment in our words. Raises ConfigError."""
    if root["kind"].text("") != "Experiment" or root["apiVersion"].text("") != VERSION:
        raise root["kind"].wrong(f"this must be an Experiment of {VERSION}")
    spec, losses = root["spec"], Losses()
    if spec["nasConfig"]:
        text = "a search for network architectures has no parameters that schedd could choose"
        raise spec["nasConfig"].wrong(text)
    space = Space(losses)
    for item in spec["parameters"].items():
        _add(item, space, losses)
    if not space.parameters:
        raise spec.wrong("this Experiment has no parameters")
    definition: dict[str, Any] = {
        "name": (root["metadata"]["name"] or root["metadata"]["generateName"]).text("katib"),
        "parameters": space.parameters,
        **_goal(spec["objective"]),
        "generation_strategy": _strategy(spec["algorithm"], losses),
        "trials": _trials(spec, losses),
        "failures": _failures(spec),
        "on_resume": _resume(spec),
        "runner": runner(spec["trialTemplate"], root["metadata"]["namespace"], space, losses),
    }
    strategies = add_metrics(spec, definition, losses)
    spec.unused(losses, _KNOWN, _WHY)
    history = _history(root["status"], space, strategies, losses)
    kept = {key: value for key, value in definition.items() if value}
    return Translation(
        f"Katib's Experiment {definition['name']!r}", kept, history, tuple(losses.found)
    )


def _add(item: Node, space: Space, losses: Losses) -> None:
    name, kind, given = item["name"].text(), item["parameterType"].text(), item["feasibleSpace"]
    try:
        if kind in ("double", "int"):
            space.add_range(name, _range(name, kind, given, losses), item.place)
        elif kind == "discrete":
            numbers = [value.number() for value in given["list"].items()]
            space.add_choice(name, numbers, place=item.place)
        elif kind == "categorical":
            words = [value.text() for value in given["list"].items()]
            space.add_choice(name, words, place=item.place)
        else:
            text = f"parameterType is double, int, discrete or categorical, not {kind!r}"
            raise item["parameterType"].wrong(text)
    except ValueError as error:
        raise item.wrong(str(error)) from None


def _range(name: str, kind: str, given: Node, losses: Losses) -> Range:
    for key in ("min", "max"):
        if not given[key]:
            raise given.wrong(f"{name} needs feasibleSpace: {{min: ..., max: ...}}")
    distribution = given["distribution"].text("uniform")
    if distribution.lower().endswith("normal"):
        why = "schedd has no priors; its whole range is as likely"
        losses.add(f"{name}: its {distribution} distribution", why, given["distribution"].place)
    step = float(given["step"].number()) if given["step"] else None
    log = distribution.lower().startswith("log")
    return Range(given["min"].number(), given["max"].number(), kind == "int", log, step)


def _goal(objective: Node) -> dict[str, Any]:
    kind, name = objective["type"].text(""), objective["objectiveMetricName"]
    if kind not in ("minimize", "maximize"):
        raise objective.wrong("objective.type must be minimize or maximize")
    wanted = {"metric": name.text(), "minimize": kind == "minimize"}
    goal = objective["goal"]
    stop = {"goal": {"metric": name.text(), "value": goal.number()}} if goal else {}
    return {"objective": wanted, "stopping_criteria": stop}


def _strategy(algorithm: Node, losses: Losses) -> dict[str, Any]:
    named = algorithm["algorithmName"]
    name = named.text("random")
    made = dict(_STRATEGIES.get(name, {}))
    if name not in _STRATEGIES:
        losses.add(
            f"the algorithm {name}", "schedd has Sobol, then BoTorch in its place", named.place
        )
    for setting in algorithm["algorithmSettings"].items():
        key = setting["name"].text()
        if key == "random_state":
            made["seed"] = setting["value"].whole()
        else:
            why = "it is a setting of Katib's algorithm"
            losses.add(f"algorithmSettings: {key}", why, setting.place)
    return made


def _trials(spec: Node, losses: Losses) -> dict[str, Any]:
    pending, total = spec["parallelTrialCount"], spec["maxTrialCount"]
    if not total:
        losses.add("that there is no maxTrialCount", "here it is 100: trials: {total_trials: N}")
    return {
        **({"total_trials": total.whole()} if total else {}),
        "max_pending_trials": pending.whole() if pending else PARALLEL,
    }


def _failures(spec: Node) -> dict[str, Any]:
    """Return what ends the experiment as Katib does: one failed trial more than are allowed."""
    most = spec["maxFailedTrialCount"]
    if not most:
        return {}
    return {
        "tolerated_trial_failure_rate": 0.0,
        "min_failed_trials_for_failure_rate_check": most.whole() + 1,
    }


def _resume(spec: Node) -> dict[str, Any]:
    return {"config_change": "reject"} if spec["resumePolicy"].text("Never") == "Never" else {}


def _history(
    status: Node, space: Space, strategies: Mapping[str, str], losses: Losses
) -> tuple[Measured, ...]:
    """Return the best trial so far, which is all that an Experiment holds of its trials."""
    best = status["currentOptimalTrial"]
    arm: dict[str, Any] = {}
    for assigned in best["parameterAssignments"].items():
        name = assigned["name"].text()
        known = next((p for p in space.parameters if p["name"] == space.name(name)), {})
        text = known.get("type") == "choice" and isinstance(known["values"][0], str)
        value = assigned["value"]
        arm[name] = value.text() if text or known.get("type") == "fixed" else value.number()
    metrics = {
        measured["name"].text(): (float(measured[key].number()), None)
        for measured in best["observation"]["metrics"].items()
        if measured[key := strategies.get(measured["name"].text(), "latest")]
    }
    if status["trials"] or status["trialsSucceeded"]:
        why = "an Experiment holds its best trial alone; the others are in Katib's database"
        losses.add("all trials but the best", why, status.place)
    return (Measured(space.arm(arm), metrics),) if arm and metrics else ()
