"""Pydantic's errors as sentences about the file: what is wrong, and what would be right."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from scheduler.config.hints import (
    LISTS,
    NOT_YET,
    PATTERNS,
    flat,
    key_hint,
    value_hint,
)
from scheduler.model.base import Path, did_you_mean

_NUMBER = "must be a number"
_WHOLE = "must be a whole number"
_SWITCH = "must be true or false"
_TYPES = "range, choice, fixed or derived"
_MAPPING = "must be a mapping of keys to values"
_LIST = "must be a list"
_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("bool_type", "bool_parsing"), _SWITCH),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), _MAPPING),
    **dict.fromkeys(("tuple_type", "list_type"), _LIST),
    "finite_number": "must be finite",
    "string_type": "must be text",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "needs at least {min_length} item(s)",
    "too_long": "may have at most {max_length} items",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "may have at most {max_length} characters",
    "literal_error": "must be {expected}",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence, and which value or which key of the file it is about."""

    path: Path
    message: str
    at_key: bool = False


def findings(
    error: ValidationError, data: Any, model: type[BaseModel], prefix: Path = ()
) -> Iterator[Finding]:
    """Yield a finding for each error of ``model`` on ``data``, which lies at ``prefix``."""
    for item in error.errors(include_url=False):
        path, value = _walk(data, item["loc"])
        yield from _Item(item, prefix + path, value, model, data).findings()


def label(path: Path) -> str:
    """Return a path as people write it: ``parameters[0].bounds``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the file"


def unknown_key(path: Path, allowed: list[str]) -> Finding:
    """Return what to say of a key that is not known."""
    key, parent = str(path[-1]), path[:-1]
    where = f" in {label(parent)}" if parent else ""
    if flat(path) in NOT_YET:
        return Finding(path, f"the key {key!r}{where} is not implemented yet; remove it", True)
    advice = f"; {hint}" if (hint := key_hint(path)) else did_you_mean(key, allowed)
    if not advice and 0 < len(allowed) <= 12:
        advice = f"; the keys are {', '.join(allowed)}"
    return Finding(path, f"there is no key {key!r}{where}{advice}", True)


def shown(value: Any) -> str:
    """Return a value as an error shows it."""
    if value is None:
        return "empty"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def _walk(data: Any, loc: tuple[int | str, ...]) -> tuple[Path, Any]:
    """Return the path and value in ``data`` that a location of pydantic's means.

    A location also holds the tag of the union (``parameters, 0, range, bounds``), which is no key.
    """
    path: list[str | int] = []
    for i, part in enumerate(loc):
        if i == 2 and loc[0] == "parameters" and isinstance(part, str):
            continue
        inside = isinstance(data, list) and isinstance(part, int) and part < len(data)
        key = _written(part, data)
        if inside or (isinstance(data, dict) and key in data):
            data = data[key]
            path.append(key)
    return tuple(path), data


def _written(part: str | int, data: Any) -> str | int:
    """Return the key that stands for ``part``: ``objective: "-a, b"`` gives ``objectives``."""
    several = part == "objectives" and isinstance(data, dict) and "," in str(data.get("objective"))
    return "objective" if several else part


@dataclass(frozen=True, slots=True)
class _Item:
    """One error of pydantic's, and where it lies in the file."""

    error: Any
    path: Path
    value: Any
    model: type[BaseModel]
    data: Any

    def findings(self) -> Iterator[Finding]:
        kind = self.error["type"]
        if kind == "definition":
            yield from self._of_definition()
        elif kind == "missing":
            yield from self._missing()
        elif kind == "extra_forbidden":
            yield unknown_key(self.path, _keys(self.model, self.error["loc"][:-1]))
        elif kind == "union_tag_not_found":
            yield from self._untyped()
        elif kind == "union_tag_invalid":
            yield self._wrong_type()
        elif not (kind == "too_short" and self._long_enough()):
            yield Finding(self.path, self._sentence(kind))

    def _of_definition(self) -> Iterator[Finding]:
        for found, text in self.error["ctx"]["problems"]:
            path = tuple(_written(part, self.data) for part in found)
            if len(path) == 2 and path[0] == "runner" and path[1] not in self.model.model_fields:
                keys = [*_keys(self.model, ("runner",)), self.data["runner"].get("type", "local")]
                yield unknown_key(path, keys)
            else:
                yield Finding(path, text)

    def _missing(self) -> Iterator[Finding]:
        key = self.error["loc"][-1]
        if isinstance(key, int):
            need = 2 if flat(self.path) == "parameters.bounds" else key + 1
            yield Finding(self.path, f"{label(self.path)} needs {need} items")
        elif not self._explained(_keys(self.model, self.error["loc"][:-1])):
            yield Finding(self.path, f"{label(self.path)} lacks the key {key!r}")

    def _explained(self, allowed: list[str]) -> bool:
        """Whether a key of another tool's in the same mapping says what is meant."""
        given = self.value if isinstance(self.value, dict) else {}
        foreign = (key for key in given if key not in allowed)
        return bool(self.path) and any(key_hint((*self.path, key)) for key in foreign)

    def _untyped(self) -> Iterator[Finding]:
        own = {"bounds": "range", "values": "choice", "value": "fixed", "expression": "derived"}
        guess = next((kind for key, kind in own.items() if key in self.value), None)
        known = _keys(self.model, self.error["loc"])
        foreign = [k for k in self.value if k not in known and key_hint((*self.path, k))]
        for key in foreign:
            yield unknown_key((*self.path, key), [])
        if not foreign:
            advice = f"; write type: {guess}" if guess else f": {_TYPES}"
            yield Finding(self.path, f"{label(self.path)} lacks the key 'type'{advice}")

    def _wrong_type(self) -> Finding:
        path, tag = (*self.path, "type"), str(self.error["ctx"]["tag"])
        hint = value_hint(path, tag)
        advice = f"; {hint}" if hint else did_you_mean(tag, _TYPES.replace(" or", ",").split(", "))
        return Finding(path, f"{label(path)} must be {_TYPES}, not {tag!r}{advice}")

    def _long_enough(self) -> bool:
        """Whether the list is only short of items because each of them has an error."""
        wanted = self.error["ctx"]["min_length"]
        return isinstance(self.value, (list, dict)) and len(self.value) >= wanted

    def _sentence(self, kind: str) -> str:
        where, context = label(self.path), self.error.get("ctx", {})
        if kind == "value_error":
            return str(context["error"])
        if kind == "string_pattern_mismatch":
            allowed = PATTERNS.get(flat(self.path)) or f"text that matches {context['pattern']}"
            return f"{where} must be {allowed}, not {shown(self.value)}"
        if kind not in _WORDS:
            message = self.error["msg"].removeprefix("Value error, ")
            return f"{where}: {message[:1].lower()}{message[1:]}"
        text = _WORDS[kind].format(**context).replace("'", "")
        text = "must not be empty" if context.get("min_length") == 1 else text
        got = "is empty but" if self.value is None else ""
        tail = (
            "" if self.value is None or kind.startswith("too_") else f", not {shown(self.value)}"
        )
        return " ".join(filter(None, (where, got, text))) + tail + self._advice(kind, context)

    def _advice(self, kind: str, context: Mapping[str, Any]) -> str:
        value = self.value
        if kind in ("tuple_type", "list_type"):
            hint = LISTS.get(flat(self.path), "write [a, b] or one '- item' per line")
            return f"; {hint}"
        if kind == "string_type":
            return _quoting(value)
        if kind == "literal_error":
            near = did_you_mean(str(value), context["expected"].replace("'", "").split(" or "))
            return f"; {hint}" if (hint := value_hint(self.path, value)) else near
        return ""


def _quoting(value: Any) -> str:
    """Return the advice for something that was meant as text."""
    if isinstance(value, dict) and len(value) == 1 and list(value.values()) == [None]:
        return f"; write '{{{next(iter(value))}}}' in quotes, for braces begin a mapping"
    return "" if value is None or isinstance(value, (dict, list)) else "; put it in quotes"


def _keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that a mapping at a location of pydantic's may have."""
    kinds = [model]
    for part in loc:
        tagged = [k for k in kinds if "type" in k.model_fields and _tag(k) == part]
        deeper = [n for k in kinds for n in _models(_fields(k).get(str(part)))]
        kinds = tagged or deeper or kinds
    return [key for kind in kinds for key in _fields(kind)]


def _tag(kind: type[BaseModel]) -> Any:
    return kind.model_fields["type"].default


def _fields(kind: type[BaseModel]) -> dict[str, Any]:
    return {f.alias or name: f.annotation for name, f in kind.model_fields.items()}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation mentions, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
