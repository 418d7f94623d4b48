"""Optuna's studies. Pure: from the rows of a study to a translation; ``optuna_rdb`` reads them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler.model.base import plain
from scheduler.translate.conditional import explained
from scheduler.translate.result import Losses, Measured, Translation
from scheduler.translate.space import Range, Space

_STATES = {
    "PRUNED": "a pruned trial has no final value, and a history holds final values",
    "FAIL": "a history holds what was measured, and a failed trial has no value",
    "RUNNING": "it was still running",
    "WAITING": "it was still waiting",
}


@dataclass(frozen=True, slots=True)
class OptunaTrial:
    """A COMPLETE trial: its values in the order of the objectives, None where not finite."""

    number: int
    values: Sequence[float | None]
    parameters: Mapping[str, tuple[float, str]]
    """Value as stored, and distribution in JSON."""


@dataclass(frozen=True, slots=True)
class Study:
    """What an Optuna storage holds of one study."""

    name: str
    directions: Sequence[str]
    """``MINIMIZE`` or ``MAXIMIZE``."""
    trials: Sequence[OptunaTrial]
    states: Mapping[str, int]
    """How many trials there are in each state."""
    other_distributions: Mapping[str, str]
    """Of parameters that no COMPLETE trial has."""
    metric_names: Sequence[str] = ()
    user_attributes: Mapping[str, Any] | None = None
    constrained: bool = False
    """Whether a sampler was given constraints."""
    reports: int = 0
    """Intermediate values."""


def translate(study: Study) -> Translation:
    """Return a study in our words. Raises ValueError with a sentence for what cannot be one."""
    losses = Losses()
    space = Space(losses)
    distributions = _distributions(study, losses)
    for name, distribution in distributions.items():
        _add(space, name, distribution)
    if not space.parameters:
        raise ValueError(f"the study {study.name!r} has no trial with parameters yet")
    rows = [_row(trial, distributions) for trial in study.trials]
    _add_conditions(rows, distributions, space, losses)
    metrics = _metrics(study)
    _note_the_rest(study, losses)
    history = tuple(
        Measured(space.arm(row), _measured(trial, metrics))
        for trial, row in zip(study.trials, rows, strict=True)
    )
    return Translation(
        f"Optuna's study {study.name!r}",
        {
            "name": study.name,
            **_described(study),
            "parameters": space.parameters,
            **_objectives(study, metrics),
        },
        history,
        tuple(losses.found),
        {},
    )


def _distributions(study: Study, losses: Losses) -> dict[str, dict[str, Any]]:
    """Return each parameter's distribution in present terms; of several ranges the widest."""
    found: dict[str, dict[str, Any]] = {}
    for trial in study.trials:
        for name, (_, text) in trial.parameters.items():
            found[name] = _joined(name, found.get(name), _present(name, text), losses)
    for name, text in study.other_distributions.items():
        if name not in found:
            found[name] = _present(name, text)
    return found


def _present(name: str, text: str) -> dict[str, Any]:
    """Return a distribution; those before Optuna 3 as what replaced them."""
    try:
        data = json.loads(text)
        kind, given = data["name"], dict(data["attributes"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"the distribution of {name} cannot be read: {text[:80]!r}") from None
    whole = kind.startswith("Int")
    if kind == "CategoricalDistribution" and isinstance(given.get("choices"), list):
        return {"choices": given["choices"]}
    if not kind.endswith(("FloatDistribution", "IntDistribution", "UniformDistribution")):
        raise ValueError(f"the distribution of {name} is of an unknown kind, {kind!r}")
    log = bool(given.get("log", "LogUniform" in kind))
    step = given.get("step", given.get("q"))
    bounds = (given.get("low"), given.get("high"))
    if not all(isinstance(b, (int, float)) for b in bounds):
        raise ValueError(f"the distribution of {name} has no bounds: {text[:80]!r}")
    return {"low": bounds[0], "high": bounds[1], "whole": whole, "log": log, "step": step}


def _joined(
    name: str, before: dict[str, Any] | None, now: dict[str, Any], losses: Losses
) -> dict[str, Any]:
    if before is None or before == now:
        return now
    if "choices" in before or "choices" in now:
        losses.add(f"{name}: its first distribution", "it changed; the last one counts")
        return now
    low, high = min(before["low"], now["low"]), max(before["high"], now["high"])
    why = f"they changed between trials; here they are the widest, {plain(low)} to {plain(high)}"
    if (low, high) != (before["low"], before["high"]):
        losses.found = [each for each in losses.found if each.what != f"{name}: its bounds"]
    losses.add(f"{name}: its bounds", why)
    return {**now, "low": low, "high": high}


def _add(space: Space, name: str, given: Mapping[str, Any]) -> None:
    if "choices" in given:
        space.add_choice(name, given["choices"], ordered=_order(given["choices"]))
        return
    space.add_range(
        name, Range(given["low"], given["high"], given["whole"], given["log"], given["step"])
    )


def _order(choices: Sequence[Any]) -> bool | None:
    """Optuna's categories have no order; numbers that rise have one that is worth knowing."""
    numbers = all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in choices)
    return False if numbers and list(choices) != sorted(choices) else None


def _row(trial: OptunaTrial, distributions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: _value(stored, distributions[name], json.loads(text))
        for name, (stored, text) in trial.parameters.items()
    }


def _value(stored: float, distribution: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    """Return a value as the objective function got it; of a category the number is stored."""
    choices = own["attributes"].get("choices")
    if choices is not None:
        return choices[int(stored)] if 0 <= stored < len(choices) else None
    return round(stored) if distribution.get("whole") else float(stored)


def _add_conditions(
    rows: Sequence[Mapping[str, Any]],
    distributions: Mapping[str, Mapping[str, Any]],
    space: Space,
    losses: Losses,
) -> None:
    """Make parameters dependent that only some trials have, where it is certain on what."""
    choices = {n: d["choices"] for n, d in distributions.items() if "choices" in d}
    some = [
        n for n in distributions if rows and sum(n in row for row in rows) not in (0, len(rows))
    ]
    for name in some:
        condition = explained(name, rows, choices)
        have = sum(name in row for row in rows)
        text = f"{have} of {len(rows)} trials have it"
        if condition is None:
            why = f"{text}, and it is not certain on what that depends; here every arm has it"
            losses.add(f"{name}: that it is conditional", why)
            continue
        parent, values = condition
        for value in values:
            space.depend(parent, value, [name])
    never = [n for n in distributions if rows and not any(n in row for row in rows)]
    for name in never:
        losses.add(
            f"{name}: that it is conditional", "no completed trial has it; here every arm has"
        )


def _metrics(study: Study) -> list[str]:
    count = len(study.directions)
    if len(study.metric_names) == count:
        return list(study.metric_names)
    return ["value"] if count == 1 else [f"value_{i}" for i in range(count)]


def _objectives(study: Study, metrics: Sequence[str]) -> dict[str, Any]:
    several = [
        {"metric": name, "minimize": direction != "MAXIMIZE"}
        for name, direction in zip(metrics, study.directions, strict=True)
    ]
    return {"objective": several[0]} if len(several) == 1 else {"objectives": several}


def _described(study: Study) -> dict[str, Any]:
    given = study.user_attributes or {}
    tags = {k: v if isinstance(v, str) else json.dumps(v) for k, v in given.items()}
    return {"tags": tags} if tags else {}


def _measured(trial: OptunaTrial, metrics: Sequence[str]) -> dict[str, tuple[float, float | None]]:
    pairs = zip(metrics, trial.values, strict=False)
    return {n: (v, None) for n, v in pairs if v is not None and math.isfinite(v)}


def _note_the_rest(study: Study, losses: Losses) -> None:
    for state, why in _STATES.items():
        if count := study.states.get(state, 0):
            losses.add(f"{count} {state} trial{'' if count == 1 else 's'}", why)
    if study.reports:
        why = "a history holds final values; schedd keeps curves of its own trials"
        losses.add(f"{study.reports} intermediate values", why)
    if study.constrained:
        why = "Optuna keeps them without names; write outcome_constraints on metrics"
        losses.add("the constraints of the sampler", why)
    losses.add("sampler and pruner", "a storage of Optuna does not name them")
    losses.add("the objective function", "it is Python; a trial here is a command: runner.command")
