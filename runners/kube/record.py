"""What the runner keeps of a job in its folder: why it is deleted, and how it ended.

All else follows from the server's objects, which may be gone when they are asked for again.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from runners.base import JobReport, JobState
from runners.folder import PLACE, Unreadable, read_small, write_aside

_FILE = "kubernetes.json"


class End(BaseModel):
    """What a job that schedd deletes is reported as, once it is gone."""

    model_config = ConfigDict(frozen=True)

    state: JobState
    reason: str | None = None
    message: str = ""
    node: str | None = None


class Record(BaseModel):
    """The record of one job."""

    model_config = ConfigDict(frozen=True)

    token: str = ""
    context: str | None = None
    """The context that was the current one when the job was created, where none was named."""
    stuck_since: float | None = None
    """The server's time at which its containers were first seen unable to start."""
    silent_since: float | None = None
    """The server's time at which it first could not give the output of the ended job."""
    undeleted_since: float | None = None
    """The server's time at which the Job of the ended job first could not be deleted."""
    node: str | None = None
    """Where it was seen last: its Pods may be gone when it is over."""
    disruption: JobReport | None = None
    """Why the infrastructure ends a Pod of it: the Pod is gone soon, and the Job knows less."""
    end: End | None = None
    outcome: JobReport | None = None
    """Its final report, when its output lies in its folders. Counts only once the server says that
    the Job is over or gone: a task on a shared disk could have written it."""


class Records:
    """The record of a job in the folder of its first task."""

    __slots__ = ("_path", "token")

    def __init__(self, directories: Sequence[Path], token: str) -> None:
        self._path = f"{directories[0]}/{PLACE}/{_FILE}"
        self.token = token

    def read(self) -> Record:
        """Return the record; an empty one where there is none, or another's, or a spoilt one.

        Raises OSError where the disk does not answer.
        """
        try:
            data = read_small(self._path)
            found = Record() if data is None else Record.model_validate_json(data)
        except (Unreadable, ValidationError, NotADirectoryError):
            return Record(token=self.token)
        return found if found.token == self.token else Record(token=self.token)

    def write(self, record: Record) -> None:
        """Replace the record. Raises OSError."""
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        write_aside(self._path, record.model_dump_json())

    def note(self, **changes: object) -> None:
        """Change fields of the record. Raises OSError."""
        before = self.read()
        after = before.model_copy(update=changes)
        if after != before:
            self.write(after)
