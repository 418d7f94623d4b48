"""Ax's JSON snapshots: ``AxClient.save_to_json_file`` of 0.5, ``Client.save_to_json_file`` of 1.x.

Both hold an encoded ``Experiment``; what differs is how objectives, constraints and data are
written, and either form is read wherever it stands.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from scheduler.translate.ax_goals import add_goals
from scheduler.translate.ax_trials import Curves, arms_of, finals, status_of
from scheduler.translate.result import Losses, Measured, Translation
from scheduler.translate.space import Range, Space

_UNSUPPORTED = {
    "is_fidelity": "schedd has no fidelity parameters",
    "is_task": "schedd has no task parameters",
    "logit_scale": "schedd scales linearly or by the logarithm",
}
_NOT_TAKEN = {
    "FAILED": "a history holds what was measured",
    "ABANDONED": "Ax leaves the data of abandoned trials out, too",
    "EARLY_STOPPED": "what it had reached is no final value",
    "STALE": "it was never run",
    "CANDIDATE": "it was never run",
    "STAGED": "it had not ended",
    "RUNNING": "it had not ended",
}


def translate(snapshot: Mapping[str, Any]) -> Translation:
    """Return a snapshot in our words. Raises ValueError with a sentence for what is none."""
    experiment = snapshot.get("experiment")
    if not isinstance(experiment, dict) or not isinstance(experiment.get("search_space"), dict):
        raise ValueError("there is no experiment with a search space in this snapshot of Ax")
    try:
        return _experiment(snapshot, experiment)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        text = f"{type(error).__name__} {error}"
        raise ValueError(
            f"this snapshot of Ax is not as Ax 0.5 to 1.3 writes it: {text}"
        ) from None


def _experiment(snapshot: Mapping[str, Any], experiment: Mapping[str, Any]) -> Translation:
    losses = Losses()
    space = Space(losses)
    _add_space(experiment["search_space"], space, losses)
    definition: dict[str, Any] = {
        "name": experiment.get("name") or "",
        "description": experiment.get("description") or "",
        "parameters": space.parameters,
        "parameter_constraints": _constraints(experiment["search_space"], space),
    }
    metrics = add_goals(experiment, definition, losses)
    status_quo = experiment.get("status_quo")
    if status_quo:
        definition["status_quo"] = {"parameters": space.arm(status_quo["parameters"])}
    history = _history(experiment, space, losses)
    _note_the_rest(snapshot, experiment, losses)
    kept = {key: value for key, value in definition.items() if value}
    if set(metrics) > _used(kept):
        kept["metrics"] = {name: {"fetcher": {"type": "jsonl"}} for name in metrics}
    name = f"Ax's experiment {experiment.get('name')!r}" if kept.get("name") else "Ax's experiment"
    return Translation(name, kept, history, tuple(losses.found))


def _used(definition: Mapping[str, Any]) -> set[str]:
    objectives = [*definition.get("objectives", ()), definition.get("objective") or {}]
    used = {name for o in objectives for name in (o.get("metric"), *o.get("metrics", ()))}
    return (used | {c["metric"] for c in definition.get("outcome_constraints", ())}) - {None}


def _add_space(given: Mapping[str, Any], space: Space, losses: Losses) -> None:
    for parameter in given["parameters"]:
        _add(parameter, space, losses)
        for key, why in _UNSUPPORTED.items():
            if parameter.get(key):
                losses.add(f"{parameter['name']}: {key}", why)
    for parameter in given["parameters"]:
        for value, children in (parameter.get("dependents") or {}).items():
            space.depend(parameter["name"], _typed(value, parameter), children)


def _add(parameter: Mapping[str, Any], space: Space, losses: Losses) -> None:
    name, kind = parameter["name"], parameter["__type"]
    whole = parameter["parameter_type"]["name"] == "INT"
    if kind == "RangeParameter":
        digits = parameter.get("digits")
        step = None if digits is None or whole else float(f"1e-{digits}")
        bounds = (parameter["lower"], parameter["upper"])
        space.add_range(name, Range(*bounds, whole, bool(parameter.get("log_scale")), step))
    elif kind == "ChoiceParameter" and (grid := _grid(parameter)):
        space.add_range(name, grid)
    elif kind == "ChoiceParameter":
        space.add_choice(name, parameter["values"], ordered=parameter.get("is_ordered"))
        if parameter.get("log_scale"):
            losses.add(f"{name}: log_scale", "the values of a choice have no scale")
    elif kind == "FixedParameter":
        space.add_fixed(name, parameter["value"])
    elif kind == "DerivedParameter":
        space.add_derived(name, parameter["expression_str"], whole=whole)
    else:
        losses.add(f"the parameter {name}", f"schedd has no {kind}")


def _grid(parameter: Mapping[str, Any]) -> Range | None:
    """Return the range that an ordered choice stands for: 1.x makes one of each with a step."""
    values = parameter["values"]
    kind = parameter["parameter_type"]["name"]
    if kind not in ("INT", "FLOAT") or not parameter.get("is_ordered") or len(values) < 3:
        return None
    if parameter.get("log_scale") or parameter.get("dependents"):
        return None
    step = (values[-1] - values[0]) / (len(values) - 1)
    even = all(math.isclose(v, values[0] + i * step) for i, v in enumerate(values))
    return Range(values[0], values[-1], kind == "INT", step=step) if even and step > 0 else None


def _typed(text: str, parameter: Mapping[str, Any]) -> Any:
    """Return the value that a key of ``dependents`` means: keys of JSON are text."""
    values = parameter.get("values") or [parameter.get("value")]
    return next((v for v in values if str(v) == text or str(v).lower() == text), text)


def _constraints(given: Mapping[str, Any], space: Space) -> list[Any]:
    found = given.get("parameter_constraints") or ()
    return [written for constraint in found for written in _constraint(constraint, space)]


def _constraint(given: Mapping[str, Any], space: Space) -> list[Any]:
    """Return a constraint in our form; those of 1.x are text, and earlier ones numbers."""
    if given["__type"] == "OrderConstraint":
        return [space.inequality({given["lower_name"]: 1.0, given["upper_name"]: -1.0}, 0.0)]
    if given["__type"] == "SumConstraint":
        sign = 1.0 if given["is_upper_bound"] else -1.0
        weights = dict.fromkeys(given["parameter_names"], sign)
        return [space.inequality(weights, sign * given["bound"])]
    if "constraint_dict" in given:
        return [space.inequality(given["constraint_dict"], given["bound"])]
    if "equality" in given:
        both = (given["equality"].replace("==", sign) for sign in ("<=", ">="))
        return [space.inequality_of(text) for text in both]
    return [space.inequality_of(given["inequality"])]


def _history(experiment: Mapping[str, Any], space: Space, losses: Losses) -> tuple[Measured, ...]:
    """Return what completed trials have measured; of each curve its last value."""
    statuses = Counter[str]()
    curves = Curves(experiment.get("data_by_trial") or {})
    history = []
    for key, trial in (experiment.get("trials") or {}).items():
        status = status_of(trial)
        statuses[status] += 1
        if status != "COMPLETED":
            continue
        for arm in arms_of(trial):
            measured = finals(curves.of(key), arm["name"])
            if measured:
                history.append(Measured(space.arm(arm["parameters"]), measured))
    for status, why in _NOT_TAKEN.items():
        if count := statuses[status]:
            losses.add(f"{count} {status} trial{'' if count == 1 else 's'}", why)
    if curves.steps:
        why = "a history holds final values; schedd keeps curves of its own trials"
        losses.add("curves of metrics, except their last values", why)
    return tuple(history)


def _note_the_rest(
    snapshot: Mapping[str, Any], experiment: Mapping[str, Any], losses: Losses
) -> None:
    strategy = snapshot.get("generation_strategy")
    if strategy:
        name = strategy.get("name") or "of its own"
        why = "schedd chooses Sobol, then BoTorch; write generation_strategy: nodes to choose"
        losses.add(f"the generation strategy {name}", why)
    if snapshot.get("early_stopping_strategy"):
        losses.add("the early stopping strategy", "schedd does not stop trials early yet")
    if experiment.get("runner"):
        why = "it is a Python class; a trial here is a command: runner.command"
        losses.add(f"the runner {experiment['runner'].get('__type', '')}".rstrip(), why)
    elif not snapshot.get("runner"):
        why = "it is in the Python that calls Ax; a trial here is a command: runner.command"
        losses.add("how trials are evaluated", why)
