"""A bounded reader of YAML: plain data and where each value stands, or one clear error.

The data is built from the parser's events, one after the other. PyYAML's own constructors are not
used: they recurse (a deep file ends the process), expand aliases and follow YAML 1.1.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from scheduler.config.errors import mistake
from scheduler.config.scalars import is_reference, substitute, typed

LARGEST_FILE = 2**20
DEEPEST = 32
MOST_NODES = 200_000

KeyPath = tuple[str | int, ...]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_TEXT = re.compile(r"[\0\ud800-\udfff]")
_SCALAR_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("float", "int", "bool", "str")}
"""Tags that say what YAML 1.2 sees by itself, where YAML 1.1 does not: ``!!float 1e-5``."""
_ADVICE = (
    ("cannot start any token", "put the value in quotes"),
    ("mapping values are not allowed", "a value that holds ': ' must be in quotes"),
    ("expected ',' or", "close every bracket, and quote what holds brackets or braces"),
    ("block end", "check the indentation of this line and of those above it"),
    ("could not find expected ':'", "check the indentation, or put the value in quotes"),
)


@dataclass(slots=True)
class Document:
    """What a file holds, and the line and column, from 1, of each value and each key."""

    data: Any
    values: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    keys: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)


def read_file(path: Path, environment: Mapping[str, str] | None) -> Document:
    """Return what a YAML file holds; raises ConfigError."""
    return read_bytes(_bytes(path), str(path), environment)


def read_bytes(raw: bytes, name: str, environment: Mapping[str, str] | None) -> Document:
    """Return what YAML in UTF-8 holds, with references to ``environment`` replaced.

    Without one they are left as they stand, as in the files of other tools, where ``${x}`` means
    something else. ``name`` stands for the file in errors. Raises ConfigError.
    """
    return _Builder(name, environment).document(_text(raw, name))


def _bytes(path: Path) -> bytes:
    try:
        # Not blocking: opening a FIFO would wait for somebody to write.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise mistake("this is not a regular file; name the YAML file itself", str(path))
            return file.read(LARGEST_FILE + 1)
    except IsADirectoryError:
        raise mistake("this is a folder; name the YAML file in it", str(path)) from None
    except FileNotFoundError:
        raise mistake("there is no such file", str(path)) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise mistake(f"the file cannot be read: {why}", str(path)) from None


def _text(raw: bytes, name: str) -> str:
    if len(raw) > LARGEST_FILE:
        raise mistake("the file is larger than 1 MiB, the most an experiment may have", name)
    if b"\0" in raw[:4096]:
        raise mistake("this is a binary file, not YAML text", name)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        what = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise mistake(what, name, *_place(before)) from None
    if found := _UNPRINTABLE.search(text):
        what = f"the character U+{ord(found[0]):04X} is not allowed in YAML; remove it"
        raise mistake(what, name, *_place(text[: found.start()]))
    return text


def _place(before: str) -> tuple[int, int]:
    """Return line and column of what follows the text ``before``."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet."""

    items: Any
    path: KeyPath
    key: str | None = None
    """The key that waits for its value, in a mapping."""


class _Builder:
    """Builds the data of one document from events, with a stack of its own."""

    def __init__(self, name: str, environment: Mapping[str, str] | None) -> None:
        self.name = name
        self.environment = environment
        self.nodes = 0
        self.documents = 0
        self.open: list[_Open] = []
        self.result = Document(None)

    def document(self, text: str) -> Document:
        """Return what the single document in ``text`` holds."""
        for event in self._events(text):
            self._take(event)
        if self.nodes == 0 or (self.nodes == 1 and self.result.data is None):
            raise mistake("the file is empty; `schedd init` writes one to start from", self.name)
        return self.result

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise mistake(_problem(error, text, mark), self.name, line, column) from None
        except yaml.YAMLError as error:
            raise mistake(f"this is not YAML: {error}", self.name, 1) from None

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.NodeEvent):
            self._refuse_foreign(event)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._fail(event, "a second document begins here; one file holds one experiment")

    def _refuse_foreign(self, event: Any) -> None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            self._fail(event, f"the file holds more than {MOST_NODES} values")
        if isinstance(event, yaml.AliasEvent):
            self._fail(
                event, f"aliases are not allowed; write out what *{event.anchor} stands for"
            )
        if event.anchor is not None:
            self._fail(event, f"anchors are not allowed; remove &{event.anchor}")
        foreign = self.environment is None and event.tag in _SCALAR_TAGS
        if event.tag is not None and not foreign:
            self._fail(event, f"tags are not allowed; remove {event.tag!r}")

    def _begin(self, event: Any) -> None:
        if len(self.open) >= DEEPEST:
            self._fail(event, f"values are nested deeper than {DEEPEST} levels")
        parent = self.open[-1] if self.open else None
        if parent and isinstance(parent.items, dict) and parent.key is None:
            self._fail(
                event, "a key must be text; put it in quotes if it holds braces or brackets"
            )
        items: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self.open.append(_Open(items, self._put(items, event)))

    def _end(self, event: Any) -> None:
        assert self.open, event
        self.open.pop()

    def _scalar(self, event: Any) -> None:
        parent = self.open[-1] if self.open else None
        if parent and isinstance(parent.items, dict) and parent.key is None:
            self._key(parent, event)
        else:
            self._put(self._value(event), event)

    def _key(self, parent: _Open, event: Any) -> None:
        key = event.value
        if key == "<<" and event.implicit[0]:
            self._fail(event, "merge keys are not allowed; write the keys out")
        if event.implicit[0] and not isinstance(self._typed(key, event), str):
            self._fail(event, f"the key {key or 'null'} is not text; put it in quotes")
        self._check_text(key, event)
        path = (*parent.path, key)
        if key in parent.items:
            first = self.result.keys[path][0]
            self._fail(event, f"the key {key!r} is given twice; the first is in line {first}")
        parent.key, parent.items[key] = key, None
        self.result.keys[path] = _position(event)

    def _value(self, event: Any) -> Any:
        plain = event.implicit[0] or (event.tag in _SCALAR_TAGS and not event.tag.endswith(":str"))
        text = self._substituted(event)
        self._check_text(text, event)
        if plain and (text == event.value or is_reference(event.value)):
            return self._typed(text, event)
        return text

    def _substituted(self, event: Any) -> str:
        if self.environment is None:
            return str(event.value)
        try:
            return substitute(event.value, self.environment)
        except ValueError as error:
            self._fail(event, str(error))

    def _typed(self, text: str, event: Any) -> Any:
        try:
            return typed(text)
        except ValueError as error:
            self._fail(event, str(error))

    def _check_text(self, text: str, event: Any) -> None:
        if _NOT_TEXT.search(text):
            self._fail(event, "the text holds a NUL or half a surrogate pair; remove it")

    def _put(self, value: Any, event: Any) -> KeyPath:
        """Hang a value where the innermost open collection expects one; return its path."""
        path: KeyPath = ()
        if self.open:
            path = self._hang(self.open[-1], value)
        else:
            self.result.data = value
        self.result.values[path] = _position(event)
        return path

    @staticmethod
    def _hang(parent: _Open, value: Any) -> KeyPath:
        if isinstance(parent.items, list):
            parent.items.append(value)
            return (*parent.path, len(parent.items) - 1)
        assert parent.key is not None
        key, parent.key = parent.key, None
        parent.items[key] = value
        return (*parent.path, key)

    def _fail(self, event: Any, message: str) -> NoReturn:
        raise mistake(message, self.name, *_position(event))


def _position(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _problem(error: yaml.MarkedYAMLError, text: str, mark: Any) -> str:
    problem = " ".join(str(error.problem or error.context).split())
    lines = text.split("\n")
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if mark and line[mark.column : mark.column + 1] == "\t":
        return "a tab cannot indent in YAML; use spaces"
    advice = next((advice for words, advice in _ADVICE if words in problem), None)
    context = ""
    if error.context and error.problem and error.context_mark:
        context = f" {error.context} that begins in line {error.context_mark.line + 1}"
    return f"this is not YAML: {problem}{context}" + (f"; {advice}" if advice else "")
