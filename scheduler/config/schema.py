"""The JSON Schema of the YAML file, for editors: what ``schedd schema`` prints."""

from typing import Any

from scheduler.model.definition import ExperimentDefinition

_TEXT_FORMS = {
    "Objective": "'-loss' minimizes, 'accuracy' maximizes, '-loss + 0.5 * accuracy' a sum",
    "OutcomeConstraint": "such as 'latency_ms <= 50', 'memory <= 1.1 * baseline', 'acc >= -5%'",
    "ParameterConstraint": "for example '2 * warmup <= epochs'",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema, with the text that may stand for some mappings."""
    result = ExperimentDefinition.model_json_schema(by_alias=True)
    result["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    for name, description in _TEXT_FORMS.items():
        forms: list[Any] = [{"type": "string", "description": description}]
        forms.append(result["$defs"][name])
        result["$defs"][name] = {"anyOf": forms}
    result["$defs"]["ParameterConstraint"]["anyOf"] += [_order(), _sum()]
    return result


def _order() -> dict[str, Any]:
    keys = {"lower_parameter": {"type": "string"}, "upper_parameter": {"type": "string"}}
    return _mapping({"type": {"const": "order"}, **keys}, ["type", *keys])


def _sum() -> dict[str, Any]:
    keys: dict[str, Any] = {
        "type": {"const": "sum"},
        "parameters": {"type": "array", "items": {"type": "string"}},
        "bound": {"type": "number"},
        "is_upper_bound": {"type": "boolean", "default": True},
    }
    return _mapping(keys, ["type", "parameters", "bound"])


def _mapping(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
