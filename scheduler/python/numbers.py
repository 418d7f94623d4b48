"""The forms in which results are given, brought to one: arm -> metric -> (mean, sem)."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scheduler.python.errors import UserInputError

if TYPE_CHECKING:
    from scheduler.model.definition import ExperimentDefinition
    from scheduler.model.trial import Trial

Pair = tuple[float, float | None]
"""A mean, and its standard error where that is known."""
RawData = Any
"""A number; (mean, sem); metric -> either; arm -> any of these."""


def data_of(
    raw: RawData, definition: "ExperimentDefinition", trial: "Trial"
) -> dict[str, dict[str, Pair]]:
    """Return results by arm and metric. Raises UserInputError.

    A number, or (mean, sem), is the objective's, where there is one of a single metric. Metrics
    without an arm are those of a trial's only arm.
    """
    arms = [arm.name for arm in trial.arms]
    if isinstance(raw, Mapping):
        if any(isinstance(value, Mapping) for value in raw.values()) or set(arms) >= raw.keys():
            return {str(arm): _of_arm(each, definition, str(arm)) for arm, each in raw.items()}
        values = _metrics(raw, "the trial")
    else:
        values = _of_arm(raw, definition, "the result")
    if len(arms) > 1:
        raise UserInputError(
            f"trial {trial.index} has several arms, {', '.join(arms)}: give {{arm: {{metric: "
            "value}}"
        )
    return {arms[0]: values}


def pair_of(value: Any, where: str) -> Pair:
    """Return a number, or (mean, sem), as a pair. Raises UserInputError."""
    if not isinstance(value, (str, bytes)) and isinstance(value, Sequence):
        if len(value) != 2:
            raise UserInputError(f"{where} is {value!r}, not a number or (mean, sem)")
        mean, sem = value
        known = sem is not None and not _is_nan(sem)
        return number_of(mean, where), number_of(sem, f"the sem of {where}") if known else None
    return number_of(value, where), None


def number_of(value: Any, where: str) -> float:
    """Return a finite number, numpy's and torch's too. Raises UserInputError."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserInputError(f"{where} is {value!r}, not a number or (mean, sem)")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserInputError(f"{where} is {value!r}, not a finite number")
    return number


def _of_arm(raw: RawData, definition: "ExperimentDefinition", where: str) -> dict[str, Pair]:
    if isinstance(raw, Mapping):
        return _metrics(raw, where)
    return {_only_metric(definition, raw): pair_of(raw, where)}


def _metrics(metrics: Any, where: str) -> dict[str, Pair]:
    if not isinstance(metrics, Mapping):
        raise UserInputError(f"the results of {where} are {metrics!r}, not {{metric: value}}")
    return {str(name): pair_of(value, str(name)) for name, value in metrics.items()}


def _only_metric(definition: "ExperimentDefinition", raw: Any) -> str:
    objectives = definition.all_objectives
    if len(objectives) == 1 and objectives[0].metric is not None:
        return objectives[0].metric
    names = ", ".join(definition.metric_specs)
    raise UserInputError(f"{raw!r} may be any of {names}: give {{metric: value}}")


def _is_nan(value: Any) -> bool:
    """Whether a standard error is NaN, which is how Ax writes one that is not known."""
    return bool(value != value)  # noqa: PLR0124  # true of NaN alone, numpy's and torch's too


def plain(given: Any) -> Any:
    """Return numbers, of numpy or torch too, and what is made of them as JSON has them.

    A standard error that is NaN is one that is not known.
    """
    if isinstance(given, Mapping):
        return {str(key): plain(value) for key, value in given.items()}
    if not isinstance(given, (str, bytes)) and isinstance(given, Sequence):
        first, *others = given or [None]
        return [plain(first), *(None if _is_nan(each) else plain(each) for each in others)]
    return given.item() if hasattr(given, "item") else given
