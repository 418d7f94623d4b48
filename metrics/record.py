"""How a job reports values: one line each call, for the fetcher ``type: jsonl``.

Imports little, since ``schedd record`` and jobs call it often.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

FILE = "metrics.jsonl"
"""What it appends to, in the job's folder."""

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def record(
    values: Mapping[str, float], step: float | None = None, directory: Path | None = None
) -> Path:
    """Append ``values``, by metric, seen at ``step``; return the file they are now in.

    ``directory`` is by default the folder in the environment variable ``SCHEDD_TRIAL_DIR``, which
    runners set. The line is appended by one write: lines of several processes do not mix on a
    local file system (NFS gives no such promise).

    Raises ``ValueError`` where something is not a finite number or there is no folder, and
    ``OSError`` where the line could not be written; then no value was recorded.
    """
    line = _line(values, step)
    file = (directory or _directory()) / FILE
    descriptor = os.open(file, _FLAGS, 0o644)
    try:
        whole = _lead(descriptor) + line
        if os.write(descriptor, whole) != len(whole):
            raise OSError(f"{file} took only a part of the line: is the disk full?")
    finally:
        os.close(descriptor)
    return file


def _line(values: Mapping[str, float], step: float | None) -> bytes:
    if not values:
        raise ValueError("there is no value to record")
    row: dict[str, float] = {} if step is None else {"step": _number(step, "the step")}
    for name, value in values.items():
        if not isinstance(name, str) or not name or name == "step":
            raise ValueError(f"{name!r} is no possible name of a metric")
        row[name] = _number(value, f"metric {name!r}")
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _number(value: object, what: str) -> float:
    """Return an int or float as it is; take NumPy's and PyTorch's numbers for floats."""
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        number: float = value if type(value) in (int, float) else float(value)  # type: ignore[assignment,arg-type]  # the TypeError says it
        finite = math.isfinite(number)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError(f"{what} is {value!r:.60}, which is not a number") from None
    if not finite:
        raise ValueError(f"{what} is {number}, which is not finite")
    return number


def _directory() -> Path:
    name = os.environ.get("SCHEDD_TRIAL_DIR")
    if not name:
        raise ValueError(
            "SCHEDD_TRIAL_DIR is not set: record() is for jobs of schedd, or needs a directory"
        )
    return Path(name)


def _lead(descriptor: int) -> bytes:
    """Return a line end if the last writer died within its line, so that ours is not spoilt.

    A writer that is in the middle of its line looks the same: then a blank line follows it, which
    readers skip.
    """
    size = os.fstat(descriptor).st_size
    return b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
