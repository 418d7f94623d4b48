"""What users of Ax write, as the keys of an experiment's file."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler.python.errors import UnsupportedError, UserInputError, translated

Written = dict[str, Any]
"""Keys as they stand in a file."""

TOTAL_TRIALS = 1000
"""Where no budget is given: more than a loop of a program asks for."""
MAX_PENDING = 10


@dataclass(frozen=True)
class ObjectiveProperties:
    """The direction of a metric, and with several objectives how good it must be at least."""

    minimize: bool
    threshold: float | None = None


def name_of(name: str | None) -> str:
    """Return a name as schedd has them: lower case, digits and hyphens, at most 40 characters."""
    text = re.sub(r"[^a-z0-9]+", "-", (name or "experiment").lower()).strip("-")
    return text[:40].strip("-") or "experiment"


def parameters_of(parameters: Iterable[Any]) -> list[Written]:
    """Return parameters given as Ax's dictionaries, as ours, or as objects."""
    return [_parameter(each) for each in parameters]


def _parameter(given: Any) -> Written:
    if hasattr(given, "model_dump"):
        written: Written = given.model_dump(mode="json", exclude_unset=True)
        return written | {"type": given.type, "name": given.name}
    if not isinstance(given, Mapping):
        raise UserInputError(f"{given!r} is not a parameter, for example {EXAMPLE}")
    written = {_OURS.get(str(key), str(key)): value for key, value in given.items()}
    for key in _SILENT & written.keys():
        written.pop(key)
    if written.get("type") == "range":
        _range(written, given)
    if isinstance(given.get("value_type"), str):
        written["parameter_type"] = _TYPES.get(given["value_type"], given["value_type"])
    return {str(key): value for key, value in written.items() if value is not None}


EXAMPLE = '{"name": "x", "type": "range", "bounds": [0.0, 1.0]}'
_OURS = {"value_type": "parameter_type", "dependents": "dependent_parameters"}
_SILENT = frozenset({"sort_values", "log_scale"})
"""What Ax's dictionaries may say besides, told otherwise or not at all."""
_TYPES = {"integer": "int", "string": "str", "boolean": "bool"}


def _range(written: Written, given: Mapping[str, Any]) -> None:
    """Complete a range in place: as in Ax, whole bounds make whole values by default."""
    bounds = given.get("bounds")
    if given.get("log_scale"):
        written["scaling"] = "log"
    if "parameter_type" not in written and isinstance(bounds, Sequence):
        whole = all(type(bound) is int for bound in bounds)
        written["parameter_type"] = "int" if whole and bounds else "float"
    digits = written.pop("digits", None)
    if digits is not None and not given.get("log_scale"):
        written["step_size"] = 10.0 ** -int(digits)


def objectives_of(objectives: Mapping[str, Any]) -> Written:
    """Return ``{metric: ObjectiveProperties or {minimize, threshold}}`` as keys."""
    several = [_objective(metric, properties) for metric, properties in objectives.items()]
    return {"objective": several[0]} if len(several) == 1 else {"objectives": several}


def _objective(metric: str, properties: Any) -> Written:
    if isinstance(properties, ObjectiveProperties):
        properties = vars(properties)
    if not isinstance(properties, Mapping) or "minimize" not in properties:
        raise UserInputError(
            f"the objective {metric!r} is {properties!r}; write ObjectiveProperties(minimize=True)"
        )
    written = {"metric": metric, **properties}
    return {key: value for key, value in written.items() if value is not None}


def with_thresholds(objective: str, outcome_constraints: Iterable[str]) -> Written:
    """Return an objective as text, and its outcome constraints, as keys.

    As in Ax, a constraint on one of several objectives is that objective's threshold.
    """
    parts = [part.strip() for part in objective.split(",")]
    if len(parts) == 1:
        return {"objective": objective, "outcome_constraints": list(outcome_constraints)}
    from scheduler.model.objectives import Objective, OutcomeConstraint

    with translated():
        several = [Objective.model_validate(part) for part in parts]
        given = {text: OutcomeConstraint.model_validate(text) for text in outcome_constraints}
    written = [each.model_dump(exclude_defaults=True) for each in several]
    constraints = []
    for text, constraint in given.items():
        index = next((i for i, o in enumerate(several) if o.metric == constraint.metric), None)
        if index is None:
            constraints.append(text)
            continue
        if constraint.relative or (constraint.op == "<=") is not several[index].minimize:
            raise UserInputError(f"{text!r} is no threshold of the objective {parts[index]!r}")
        written[index]["threshold"] = constraint.bound
    return {"objectives": written, "outcome_constraints": constraints}


def strategy_of(given: Any, seed: int | None, open_end: bool) -> Written:
    """Return a generation strategy: a model of ours, its keys, or what Ax's keywords say.

    ``open_end``: nobody said how many trials there will be, so that a grid has no end to fit.
    """
    written = keys_of(given or {})
    if seed is not None:
        written["seed"] = seed
    if open_end and not written.get("nodes") and not written.get("method"):
        written["method"] = "fast"
    return written


def chosen(
    method: str = "fast",
    initialization_budget: int | None = None,
    initialization_random_seed: int | None = None,
) -> Written:
    """Return the strategy that Ax's ``configure_generation_strategy`` is asked for."""
    if method not in ("fast", "quality", "random_search"):
        raise UnsupportedError(f"the method {method!r} is not fast, quality or random_search")
    seed = {} if initialization_random_seed is None else {"seed": initialization_random_seed}
    if initialization_budget is None or method == "random_search":
        return {"method": method, **seed}
    from scheduler.model.strategy import FAST, QUALITY

    model = QUALITY if method == "quality" else FAST
    start = [{"generator": "sobol", "num_trials": initialization_budget}]
    nodes = start if initialization_budget else []
    return {"nodes": [*nodes, model.model_dump(mode="json", exclude_unset=True)], **seed}


def whole(draft: Mapping[str, Any], strategy: Any, seed: int | None) -> Written:
    """Return the experiment that was drafted, complete."""
    written = dict(draft)
    trials = {"max_pending_trials": MAX_PENDING, **written.get("trials", {})}
    open_end = trials.get("total_trials") is None
    written["trials"] = trials | ({"total_trials": TOTAL_TRIALS} if open_end else {})
    chosen_before = written.get("generation_strategy")
    written["generation_strategy"] = strategy_of(strategy or chosen_before, seed, open_end)
    tracked = written.pop("tracking", [])
    if tracked:
        written["metrics"] = {name: {} for name in [*_needed(written), *tracked]}
    return written


def _needed(written: Mapping[str, Any]) -> list[str]:
    """Return the metrics that objectives and outcome constraints are on."""
    from scheduler.model.objectives import Objective, OutcomeConstraint

    with translated():
        given = written.get("objectives") or _parts(written["objective"])
        objectives = [Objective.model_validate(each) for each in given]
        limits = [OutcomeConstraint.model_validate(c) for c in written["outcome_constraints"]]
    return [*(m for o in objectives for m in o.weights), *(c.metric for c in limits)]


def keys_of(given: Any) -> Written:
    """Return a model of ours, or a mapping, as keys."""
    if hasattr(given, "model_dump"):
        given = given.model_dump(mode="json", exclude_unset=True)
    if not isinstance(given, Mapping):
        raise UserInputError(f"{given!r} is not a mapping of keys")
    return dict(given)


def _parts(objective: Any) -> list[Any]:
    """Return the objectives that text names, or the one that is given otherwise."""
    return objective.split(",") if isinstance(objective, str) else [objective]
