"""What of a definition may change while its experiment lives: its budget, not its question."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from scheduler.model.definition import ExperimentDefinition

MAY_CHANGE = (
    *("trials", "stopping_criteria", "failures", "missing_metrics", "polling"),
    *("notifications", "logs"),
)
"""What a later run of the same experiment, or ``schedd set``, may set anew."""
RUNNER = "runner"
"""What a later run may set anew besides, where ``on_resume`` allows it and no job is pending."""
IGNORED = ("description", "tags", "storage", "on_resume")
"""What may change besides, and makes no difference to anything that runs."""
FIXED = ("trials.batch_size", "trials.replicates")
"""What may not, within these: trials that wait have their arms already."""


class DefinitionChanged(Exception):
    """A definition differs in what cannot change; the message is for people."""


def differences(before: ExperimentDefinition, after: ExperimentDefinition) -> list[str]:
    """Return the dotted keys whose values differ, in order."""
    return [key for key, _, _ in diff(before, after)]


def diff(
    before: ExperimentDefinition, after: ExperimentDefinition
) -> list[tuple[str, object, object]]:
    """Return (dotted key, old value, new value) of what differs, in order; None: not there."""
    old, new = (each.model_dump(by_alias=True, mode="json") for each in (before, after))
    return _differing(old, new, "")


def changes(before: ExperimentDefinition, after: ExperimentDefinition) -> list[str]:
    """Return the dotted keys that are set anew.

    Raises :class:`DefinitionChanged` where one of them cannot change, by ``after.on_resume``.
    """
    changed = [key for key in differences(before, after) if key.split(".")[0] not in IGNORED]
    rule = after.on_resume.config_change
    if changed and rule == "reject":
        raise DefinitionChanged(
            f"the stored experiment {after.name!r} has another {', '.join(changed)}, and "
            "on_resume says config_change: reject"
        )
    allowed = (*MAY_CHANGE, RUNNER) if rule == "allow" else MAY_CHANGE
    fixed = [key for key in changed if key.split(".")[0] not in allowed or key in FIXED]
    if fixed:
        raise DefinitionChanged(
            f"the stored experiment {after.name!r} has another {', '.join(fixed)}; "
            "give the new one a name of its own"
        )
    return changed


def having(before: ExperimentDefinition, values: Mapping[str, Any]) -> ExperimentDefinition:
    """Return the definition with ``values``, by dotted key.

    Raises :class:`DefinitionChanged` for a key that does not exist or cannot be set, and for a
    value that it cannot have.
    """
    data = before.model_dump(by_alias=True, mode="json", exclude_unset=True)
    for key, value in values.items():
        _set(data, before.model_dump(by_alias=True, mode="json"), key, value)
    try:
        return ExperimentDefinition.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DefinitionChanged(f"{where or 'the definition'}: {first['msg']}") from None


def _set(data: dict[str, Any], known: Any, key: str, value: Any) -> None:
    """Set one value, in place; ``known`` has every key that there is."""
    first, *rest = key.split(".")
    if first not in (*MAY_CHANGE, *IGNORED) or key in FIXED:
        allowed = ", ".join((*MAY_CHANGE, "description", "tags"))
        raise DefinitionChanged(f"{key} cannot be changed; what can: {allowed}")
    place, parts = data, [first, *rest]
    for depth, part in enumerate(parts):
        optional = known is None
        if not optional and (not isinstance(known, dict) or part not in known) and first != "tags":
            raise DefinitionChanged(f"there is no key {'.'.join(parts[: depth + 1])!r}")
        known = None if optional else known.get(part)
        if depth == len(parts) - 1:
            place[part] = value
        else:
            inner = place.get(part)
            place[part] = place = dict(inner) if isinstance(inner, dict) else {}


def _differing(before: Any, after: Any, path: str) -> list[tuple[str, object, object]]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            difference
            for key in keys
            for difference in _differing(before.get(key), after.get(key), f"{path}.{key}")
        ]
    return [] if before == after else [(path.lstrip("."), before, after)]
