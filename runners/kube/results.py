"""What a Pod that has ended leaves: its termination message, and files within its output."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from runners.base import STDOUT
from runners.folder import RESERVED, write_aside

RESULT = "metrics.json"
"""What a termination message that is a JSON object becomes."""
BEGIN = re.compile(rb"-----BEGIN SCHEDD FILE ([A-Za-z0-9_][A-Za-z0-9_.-]{0,99})-----\s*")
END = b"-----END SCHEDD FILE-----"
LARGEST = 8 << 20
"""Bytes of one file within the output; more is left out."""
MOST = 100
"""Files within one output; more are left out."""


def take_message(message: str, directory: Path) -> bytes:
    """Write a termination message that is a JSON object as a file; return it as one line.

    Returns nothing where it is something else. Raises OSError.
    """
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        return b""
    if not isinstance(found, dict):
        return b""
    write_aside(str(directory / RESULT), message.strip() + "\n")
    return json.dumps(found).encode() + b"\n"


def take_files(directory: Path) -> None:
    """Write the files that lie between markers in stdout.log. Raises OSError."""
    try:
        descriptor = os.open(directory / STDOUT, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with open(descriptor, "rb") as log:
        for name, content in islice(_files(log), MOST):
            if name not in RESERVED:
                _write(directory / name, content)


def _files(lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file that is whole and not too large."""
    name, size = "", 0
    content: list[bytes] = []
    for line in lines:
        begin = BEGIN.fullmatch(line)
        if begin:
            name, content, size = begin[1].decode(), [], 0
        elif name and line.strip() == END:
            if size <= LARGEST:
                yield name, b"".join(content)
            name = ""
        elif name:
            size += len(line)
            if size <= LARGEST:
                content.append(line)


def _write(path: Path, content: bytes) -> None:
    temp = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temp.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temp, path)
