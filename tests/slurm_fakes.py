"""Commands of Slurm that say what a test wants, and a clock that goes when it is told to."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from runners.base import Job, JobRef, Task
from runners.folder import Claim
from runners.slurm import SlurmOptions, SlurmRunner
from runners.slurm.note import Note, Seat

HEADER = "JOBID|STATE|REASON|NODELIST|EXIT_CODE|RESTART_COUNT|NAME\n"
ACCOUNTS = "JobID|State|ExitCode|NodeList|JobName\n"
COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")
_FAKE = """#!/bin/sh
me=$(basename "$0")
{ printf %s "$me"; for word in "$@"; do printf '\\t%s' "$word"; done; echo; } >> FOLDER/calls
test -x FOLDER/$me.do && exec FOLDER/$me.do "$@"
test -f FOLDER/$me.err && cat FOLDER/$me.err >&2
test -f FOLDER/$me.out && cat FOLDER/$me.out
test -f FOLDER/$me.status && exit $(cat FOLDER/$me.status)
exit 0
"""


class Clock:
    """Seconds since the epoch, when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class FakeSlurm:
    """A folder of fake commands, what they are to say, and how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for name in COMMANDS:
            self.executable(self.bin / name, _FAKE.replace("FOLDER", str(folder)))
        self.queue()
        self.says("sacct", err="Slurm accounting storage is disabled\n", status=1)

    @staticmethod
    def executable(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def says(self, name: str, out: str = "", err: str = "", status: int = 0) -> None:
        """Let a command answer so from now on."""
        for suffix, text in (("out", out), ("err", err), ("status", str(status))):
            (self.folder / f"{name}.{suffix}").write_text(text)

    def does(self, name: str, script: str) -> None:
        """Let a command be this script of the shell."""
        self.executable(self.folder / f"{name}.do", f"#!/bin/sh\n{script}\n")

    def queue(self, *rows: str) -> None:
        """Let squeue list these jobs; see :func:`row`."""
        self.says("squeue", HEADER + "".join(f"{row}\n" for row in rows))

    def accounts(self, *rows: str) -> None:
        self.says("sacct", ACCOUNTS + "".join(f"{row}\n" for row in rows))

    def calls(self, name: str) -> list[list[str]]:
        """Return the arguments of each call of a command, in order."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        words = (line.split("\t") for line in lines)
        return [line[1:] for line in words if line[0] == name]


def row(
    job: str,
    state: str,
    name: str,
    reason: str = "None",
    nodes: str = "n1",
    code: int = 0,
    restarts: int = 0,
) -> str:
    return f"{job}|{state}|{reason}|{nodes}|{code}|{restarts}|{name}"


def task(folder: Path, *argv: str, name: str = "0_0", **fields: object) -> Task:
    return Task(name, argv or ("true",), folder, **fields)  # type: ignore[arg-type]


def make_job(folder: Path, name: str = "job", *argv: str, **fields: object) -> Job:
    return Job(name, (task(folder / name, *argv),), **fields)  # type: ignore[arg-type]


def make_runner(clock: Clock, **options: object) -> SlurmRunner:
    values = {"python": "/usr/bin/python3", **options}
    return SlurmRunner(SlurmOptions.model_validate(values), lambda: None, clock)


def seat_of(job: Job, index: int = 0) -> Seat:
    return Seat(job.tasks[index].directory, job.name)


def note_of(job: Job, index: int = 0) -> Note:
    note = seat_of(job, index).note()
    assert note is not None
    return note


def ref(job: Job, job_id: str | None = None) -> JobRef:
    return JobRef(job.name, job_id, tuple(task.directory for task in job.tasks))


def claim(job: Job, batch_id: str, restart: int = 0, at: float = 1_000_000.0) -> None:
    """Leave what the wrapper of a Slurm job leaves when it takes the first task of ``job``."""
    seat = seat_of(job)
    made = Claim(job=job.name, batch_id=batch_id, restart=restart, node="n1", pid=7, started_at=at)
    Path(seat.place, "claim").write_text(made.model_dump_json())


def record(job: Job, fields: str = '"ended_by": "itself"', rc: int = 0, signal: int = 0) -> None:
    """Leave what it leaves at the end."""
    text = f'{{"rc": {rc}, "signal": {signal}, "ended_at": 1000050.0, {fields}}}'
    Path(seat_of(job).place, "exit.json").write_text(text)


def path_with(fakes: Sequence[FakeSlurm]) -> str:
    return os.pathsep.join([*(str(fake.bin) for fake in fakes), os.environ["PATH"]])
