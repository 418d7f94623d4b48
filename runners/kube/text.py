"""Manifests as people read them."""

from collections.abc import Mapping
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they stand."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dumped(document: Mapping[str, Any]) -> str:
    """Return a manifest as YAML, its keys in their own order."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=999, allow_unicode=True)
    return text


def quantity(size: int) -> str:
    """Return a number of bytes as Kubernetes writes it, exactly."""
    for unit, name in ((1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)
