"""Whose file it is, and its translation."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from scheduler.config.errors import ConfigError, mistake
from scheduler.model.base import without_password
from scheduler.translate import ax, katib, nni, optuna, wandb
from scheduler.translate.node import Node, document
from scheduler.translate.optuna_rdb import read_study
from scheduler.translate.result import Translation

FORMATS = ("ax", "optuna", "katib", "wandb", "nni", "schedd")
LARGEST = 256 * 1024 * 1024
_SQLITE = b"SQLite format 3\0"
_NNI = frozenset({"trialCommand", "trialConcurrency", "searchSpacePath", "trial"})
_WANDB = frozenset({"program", "method", "metric", "command"})
_JOURNAL = '"op_code"'


_TRANSLATORS: Mapping[str, Callable[[Node], Translation]] = {
    "katib": katib.translate,
    "nni": lambda config: nni.translate(config, _beside),
    "wandb": wandb.translate,
}


def format_of(given: str) -> str:
    """Return which of :data:`FORMATS` a file or URL is in. Raises ConfigError."""
    if "://" in given:
        return "optuna"
    raw = read(given)
    if raw.startswith(_SQLITE):
        return "optuna"
    first = raw[:4096].split(b"\n", 1)[0].decode("utf-8", "replace")
    if '"schedd-export"' in first:
        return "schedd"
    if _JOURNAL in first:
        text = "a journal of Optuna's is not read; optuna.copy_study() copies it to a database"
        raise mistake(text, given, 1)
    if b'"__type"' in raw:
        return "ax"
    return _of_keys(document(raw, given))


def _of_keys(root: Node) -> str:
    """Return whose YAML or JSON it is, by its keys. Raises ConfigError."""
    keys = set(root.data) if isinstance(root.data, dict) else set()
    if str(root["schema"].data).startswith("schedd/"):
        raise mistake("this is an experiment of schedd already: schedd run it", root.file, 1)
    if str(root["apiVersion"].data).startswith("kubeflow.org/"):
        return "katib"
    if keys & _NNI:
        return "nni"
    if "parameters" in keys and keys & _WANDB:
        return "wandb"
    raise mistake("it is of no format that is known; name one with --format", root.file, 1)


def translate(given: str, kind: str, study: str | None) -> Translation:
    """Return what a file or URL in the format ``kind`` means here. Raises ConfigError, NoStudy."""
    if kind == "optuna":
        url = given if "://" in given else f"sqlite:///{Path(given).absolute()}"
        shown = without_password(given)
        return _sound(lambda: optuna.translate(read_study(url, study, shown)), shown)
    raw = read(given)
    if kind == "ax":
        return _sound(lambda: ax.translate(_json_object(raw, given)), given)
    return _TRANSLATORS[kind](document(raw, given))


def read(file: str) -> bytes:
    """Return what a file holds. Raises ConfigError."""
    try:
        with Path(file).open("rb") as opened:
            raw = opened.read(LARGEST + 1)
    except OSError as error:
        raise mistake(f"it cannot be read: {error.strerror}", file) from None
    if len(raw) > LARGEST:
        raise mistake(f"it is larger than {LARGEST >> 20} MiB", file)
    return raw


def _beside(path: str, named: Node) -> Node:
    """Return what a file holds that is named in another one, relative to that. ConfigError."""
    file = Path(named.file).parent / path
    if not file.is_file():
        raise named.wrong(f"there is no file {file}")
    return document(read(str(file)), str(file))


def _sound(translated: Callable[[], Translation], file: str) -> Translation:
    try:
        return translated()
    except ConfigError:
        raise
    except ValueError as error:
        raise mistake(str(error), file) from None


def _json_object(raw: bytes, file: str) -> dict[str, object]:
    """Return the object in a JSON file. Raises ConfigError with the place of what is wrong."""
    try:
        data = json.loads(raw)
    except json.JSONDecodeError as error:
        text = f"this is not JSON: {error.msg.lower()}"
        raise mistake(text, file, error.lineno, error.colno) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise mistake(f"this is not JSON: {type(error).__name__}", file) from None
    if not isinstance(data, dict):
        raise mistake("this is not a JSON object", file, 1)
    return data
