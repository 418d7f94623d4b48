"""What is noted in a task's folder before sbatch is called: under which name Slurm may know it."""

import os
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runners import wrapper
from runners.folder import Folder, Unreadable, read_small
from runners.slurm.queue import Key


class Given(BaseModel):
    """One try to give the task to Slurm."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    """Of the Slurm job."""
    index: int | None = None
    """Its element, where the job is an array."""
    at: float = Field(allow_inf_nan=False)
    """When, in seconds since the epoch."""

    @property
    def key(self) -> Key:
        """How the queue names it."""
        return self.name, self.index


class Seen(BaseModel):
    """Something of which Slurm has to say it again before it is believed."""

    model_config = ConfigDict(frozen=True, strict=True)

    state: str
    since: float = Field(allow_inf_nan=False)
    """When the first answer was taken that said so; none since has said anything else."""


class Note(BaseModel):
    """The tries to give one task to Slurm, oldest first, and what was last seen of them.

    A try that Slurm has refused for certain is taken out again.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    job: str
    given: tuple[Given, ...] = Field(default=(), strict=False)
    tries: int = 0
    """How many there were; a name that was refused is not used again."""
    resume: bool = False
    """Whether a requeued task runs again in its folder."""
    limit: float | None = None
    """Seconds after which Slurm was asked to end it."""
    seen: Seen | None = None


class Seat(Folder):
    """The folder of one task that is given to Slurm."""

    __slots__ = ()

    def note(self) -> Note | None:
        """Return the note, ``None`` where there is none of this job or it is spoilt."""
        try:
            data = read_small(f"{self.place}/slurm.json")
            note = None if data is None else Note.model_validate_json(data)
        except (Unreadable, ValidationError):
            return None
        return note if note is not None and note.job == self.job else None

    def write_note(self, note: Note, *, durably: bool) -> None:
        """Write the note; on return it is on disk, if ``durably``."""
        path, place = os.fsencode(f"{self.place}/slurm.json"), os.fsencode(self.place)
        temp = b"%s.%d" % (path, os.getpid())
        data = note.model_dump_json().encode()
        if durably:
            wrapper.put(temp, data)
        else:
            with open(temp, "wb") as file:
                file.write(data)
        os.replace(temp, path)
        if durably:
            wrapper.sync(place)

    def has_disk(self) -> bool:
        """Return whether the folder that this one would lie in is there."""
        return os.path.isdir(os.path.dirname(self.path))

    def refresh(self) -> None:
        """Have a shared disk look for files that another machine has just written."""
        with suppress(OSError):
            os.listdir(self.place)

    def runs(self) -> bool:
        """Return whether somebody surely has its lock; no answer of the disk's is no proof."""
        try:
            return self.is_held()
        except OSError:
            return False

    def complaint(self) -> str:
        """Return the end of its stderr.log, where Slurm's own words stand too."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with open(os.open(f"{self.path}/stderr.log", flags), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                return file.read(4096).decode("utf-8", "replace")
        except OSError:
            return ""
