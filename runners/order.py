"""What a wrapper is told to do, and which jobs no wrapper could ever carry out."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runners import wrapper
from runners.base import Job, Task
from runners.folder import PLACE, RESERVED

_ONE_STRING = 128 * 1024
"""Linux takes no longer argument."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a wrapper keeps a command to."""

    grace: float
    """Seconds from SIGTERM to SIGKILL."""
    output: int
    """Bytes of each of stdout.log and stderr.log."""


def encode(
    task: Task,
    job: Job,
    limits: Limits,
    environ: Mapping[bytes, bytes],
    *,
    who: Mapping[str, str],
    fds: tuple[int, int] = (-1, -1),
) -> bytes:
    """Return an order, as :class:`runners.wrapper.Order` reads it.

    ``who`` goes into the claim; ``fds`` are those of the lock and of the pipe that lets several
    wrappers go, where the wrapper inherits them.
    """
    numbers: Sequence[float] = (*fds, limits.output, limits.grace, len(task.argv))
    environ = {**environ, **{os.fsencode(k): os.fsencode(v) for k, v in task.env.items()}}
    fields = [
        wrapper.VERSION,
        os.fsencode(f"{task.directory}/{PLACE}"),
        os.fsencode(job.workdir or task.directory),
        json.dumps(who)[1:-1].encode(),
        *(str(number).encode() for number in numbers),
        *map(os.fsencode, task.argv),
        *(name + b"=" + value for name, value in environ.items()),
    ]
    return b"\0".join(fields)


def fault(job: Job) -> str | None:
    """Return why ``job`` can never run, ``None`` where it may."""
    if re.fullmatch(r"[a-z0-9-]{1,63}", job.name) is None:
        return "its name is not made of 1 to 63 of a-z, 0-9 and -"
    if not job.tasks or len({task.directory for task in job.tasks}) < len(job.tasks):
        return "each of its tasks, one or more, needs a folder of its own"
    if job.workdir is not None and (not job.workdir.is_absolute() or "\0" in str(job.workdir)):
        return f"workdir {str(job.workdir)!r} is not an absolute path"
    return next(filter(None, map(_task_fault, job.tasks)), None)


def _task_fault(task: Task) -> str | None:
    if not task.argv or not task.argv[0]:
        return f"task {task.name!r} has no command"
    if not task.directory.is_absolute():
        return f"folder {str(task.directory)!r} is not absolute"
    for name in task.files:
        if name in RESERVED or "/" in name or "\0" in name:
            return f"{name!r} cannot be the name of a file"
    for name in task.env:
        if not name or "=" in name:
            return f"{name!r} cannot be the name of an environment variable"
    return _size_fault(task)


def _size_fault(task: Task) -> str | None:
    texts = [*task.argv, str(task.directory)]
    texts += [f"{name}={value}" for name, value in task.env.items()]
    if any("\0" in text for text in texts):
        return f"task {task.name!r} has a NUL character in its command, folder or environment"
    try:
        sizes = [len(os.fsencode(text)) + 9 for text in texts]
        "".join((*task.files, *task.files.values())).encode()
    except UnicodeEncodeError as error:
        return f"task {task.name!r} has text that cannot be encoded: {error.reason}"
    if max(sizes) > _ONE_STRING or sum(sizes) > os.sysconf("SC_ARG_MAX"):
        return f"the command and environment of task {task.name!r} are too long for this system"
    return None
