"""A value in another tool's file, with its place, so that what is wrong with it can be said."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from scheduler.config.errors import ConfigError, mistake
from scheduler.config.reader import Document, KeyPath, read_bytes
from scheduler.translate.result import Losses

_NOTHING: tuple[Any, ...] = (None, False, 0, "", [], {})
"""Values of a setting that ask for nothing, so that nothing is lost with them."""


@dataclass(frozen=True, slots=True)
class Node:
    """One value; ``data`` is None where there is nothing at ``path``."""

    file: str
    document: Document
    path: KeyPath
    data: Any

    @property
    def place(self) -> str | None:
        """``file:line`` of the key that leads here, else of the value; None where it is not."""
        found = self.document.keys.get(self.path) or self.document.values.get(self.path)
        return f"{self.file}:{found[0]}" if found else None

    @property
    def label(self) -> str:
        """The path as people write it."""
        return ".".join(map(str, self.path)) or "the file"

    def __bool__(self) -> bool:
        return self.data is not None

    def __getitem__(self, key: str | int) -> "Node":
        inside = isinstance(self.data, dict) and key in self.data
        inside = inside or (isinstance(self.data, list) and isinstance(key, int))
        value = self.data[key] if inside else None
        return Node(self.file, self.document, (*self.path, key), value)

    def wrong(self, message: str) -> ConfigError:
        """Return an error at this place, or at the nearest one around it."""
        path = self.path
        while path and path not in self.document.values:
            path = path[:-1]
        line, column = self.document.values.get(path, (1, 1))
        return mistake(message, self.file, line, column)

    def mapping(self) -> "dict[str, Node]":
        """Return the values of a mapping; of nothing, none."""
        if self.data is None:
            return {}
        if not isinstance(self.data, dict):
            raise self.wrong(f"{self.label} must be a mapping of keys to values")
        return {key: self[key] for key in self.data}

    def items(self) -> "list[Node]":
        """Return the values of a list; of nothing, none."""
        if self.data is None:
            return []
        if not isinstance(self.data, list):
            raise self.wrong(f"{self.label} must be a list")
        return [self[i] for i in range(len(self.data))]

    def text(self, default: str | None = None) -> str:
        """Return a scalar as text."""
        if self.data is None and default is not None:
            return default
        if self.data is None or isinstance(self.data, (dict, list)):
            raise self.wrong(f"{self.label} must be text")
        return str(self.data).lower() if isinstance(self.data, bool) else str(self.data)

    def number(self) -> float | int:
        """Return a number, also where it is written as text."""
        value = self.data
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                value = _float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(f"{self.label} must be a number")
        if not abs(value) < math.inf:
            raise self.wrong(f"{self.label} must be finite")
        return value

    def whole(self) -> int:
        """Return a whole number."""
        value = self.number()
        if value != int(value):
            raise self.wrong(f"{self.label} must be a whole number")
        return int(value)

    def unused(self, losses: Losses, known: Collection[str], why: dict[str, str]) -> None:
        """Note every key of this mapping that is not ``known``, with the reason in ``why``."""
        for key, node in self.mapping().items():
            if key not in known and node.data not in _NOTHING:
                losses.add(node.label, why.get(key, "schedd has nothing like it"), node.place)


def document(raw: bytes, file: str) -> Node:
    """Return the root of a YAML or JSON file of another tool; raises ConfigError."""
    found = read_bytes(raw, file, None)
    return Node(file, found, (), found.data)


def walk(node: Node) -> Iterator[Node]:
    """Yield a value and all that it holds."""
    yield node
    if isinstance(node.data, dict):
        for child in node.mapping().values():
            yield from walk(child)
    elif isinstance(node.data, list):
        for child in node.items():
            yield from walk(child)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
