"""What an experiment of Ax's wants: objectives, thresholds, outcome constraints. Pure."""

from collections.abc import Mapping
from typing import Any

from scheduler.model.linear import METRIC, parse_linear
from scheduler.model.objectives import EXAMPLE
from scheduler.translate.result import Losses

_OPERATORS = {"LEQ": "<=", "GEQ": ">=", 0: ">=", 1: "<="}


def add_goals(
    experiment: Mapping[str, Any], definition: dict[str, Any], losses: Losses
) -> list[str]:
    """Add objectives and outcome constraints to a definition; return all metrics there are.

    Raises ValueError where there is no objective.
    """
    config = experiment.get("optimization_config")
    if not config:
        raise ValueError("the experiment has no optimization_config, so there is no objective")
    objectives = _objectives(config["objective"])
    if len(objectives) == 1:
        definition["objective"] = objectives[0]
    else:
        _add_thresholds(config.get("objective_thresholds") or (), objectives, losses)
        definition["objectives"] = objectives
    definition["outcome_constraints"] = [
        made
        for given in config.get("outcome_constraints") or ()
        if (made := _constraint(given, losses)) is not None
    ]
    if config.get("pruning_target_parameterization"):
        losses.add("pruning_target_parameterization", "schedd has nothing like it")
    if config.get("risk_measure"):
        losses.add("the risk measure", "schedd has nothing like it")
    tracked = [metric["name"] for metric in experiment.get("tracking_metrics") or ()]
    used = [n for o in objectives for n in ([o["metric"]] if "metric" in o else o["metrics"])]
    used += [c["metric"] for c in definition["outcome_constraints"]]
    return list(dict.fromkeys([*used, *tracked]))


def _objectives(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objectives: of 1.x from an expression to maximize, of 0.5 from classes."""
    if "expression" in given:
        return [_of_expression(part) for part in given["expression"].split(",")]
    if given["__type"] == "MultiObjective":
        return [each for one in given["objectives"] for each in _objectives(one)]
    if given["__type"] == "ScalarizedObjective":
        names = [metric["name"] for metric in given["metrics"]]
        weights = dict(zip(names, map(float, given["weights"]), strict=True))
        return [_weighted(weights, minimize=bool(given["minimize"]))]
    return [{"metric": given["metric"]["name"], "minimize": bool(given["minimize"])}]


def _of_expression(text: str) -> dict[str, Any]:
    weights, _ = parse_linear(text, EXAMPLE, names=METRIC)
    down = all(weight <= 0 for weight in weights.values())
    return _weighted({n: -w if down else w for n, w in weights.items()}, minimize=down)


def _weighted(weights: Mapping[str, float], *, minimize: bool) -> dict[str, Any]:
    kept = {name: weight for name, weight in weights.items() if weight}
    if len(kept) == 1:
        (name, weight), *_ = kept.items()
        return {"metric": name, "minimize": minimize if weight > 0 else not minimize}
    return {"metrics": kept, "minimize": minimize}


def _add_thresholds(given: Any, objectives: list[dict[str, Any]], losses: Losses) -> None:
    by_metric = {objective.get("metric"): objective for objective in objectives}
    for threshold in given:
        name = threshold["metric"]["name"]
        if threshold.get("relative"):
            why = "schedd's are absolute: write threshold: VALUE in the objective"
            losses.add(f"the relative threshold of {name}", why)
        elif name in by_metric:
            by_metric[name]["threshold"] = float(threshold["bound"])


def _constraint(given: Mapping[str, Any], losses: Losses) -> dict[str, Any] | None:
    """Return an outcome constraint; a relative bound is in percent of change, there and here."""
    if "metric" not in given:
        names = ", ".join(metric["name"] for metric in given.get("metrics") or ())
        why = "schedd's are on one metric each"
        losses.add(f"the outcome constraint on a sum of {names}".rstrip(), why)
        return None
    relative = {"relative": "percent"} if given.get("relative") else {}
    return {
        "metric": given["metric"]["name"],
        "op": _OPERATORS[given["op"]["name"]],
        "bound": float(given["bound"]),
        **relative,
    }
