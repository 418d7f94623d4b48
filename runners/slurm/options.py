"""The section ``slurm:`` of the YAML."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from runners.base import RunnerOptions
from runners.units import Duration, Size

OURS = (
    *("array", "job-name", "output", "error", "input", "open-mode", "chdir", "comment"),
    *("export", "export-file", "hold", "requeue", "no-requeue", "signal", "parsable", "wait"),
    *("wrap", "test-only", "help", "usage", "version", "clusters", "uid", "gid", "quiet"),
)
"""Options of sbatch that schedd sets itself, or that would keep it from finding its jobs."""


def _word(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.,:+@=%/-]+", text) is None or text.startswith("-"):
        raise ValueError(f"{text!r} is not a name that Slurm can have")
    return text


def _option(text: str) -> str:
    match = re.fullmatch(r"--([a-z][a-z0-9-]*)(=[^\x00-\x1f\x7f]*)?", text)
    if match is None:
        raise ValueError(f"{text!r} must be one long option, like --constraint=a100")
    taken = next((name for name in OURS if name.startswith(match[1])), None)
    if taken is not None:
        raise ValueError(f"{text!r} cannot be given: --{taken} is set by schedd itself")
    return text


def _signal(text: str) -> str:
    match = re.fullmatch(r"(?:SIG)?(USR[12])@(\d{1,5})", text)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"{text!r} must be like USR1@120: USR1 or USR2, and seconds")
    return f"{match[1]}@{match[2]}"


def _text(text: str) -> str:
    if "\0" in text or not text.strip():
        raise ValueError("must be a line of shell")
    return text


Word = Annotated[str, AfterValidator(_word)]


class SlurmOptions(RunnerOptions):
    """The section ``slurm:``; what is left out, the cluster decides."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    sbatch_args: tuple[Annotated[str, AfterValidator(_option)], ...] = ()
    """Further options of sbatch, one long option an element: ``--constraint=a100``."""
    setup: tuple[Annotated[str, AfterValidator(_text)], ...] = ()
    """Lines of bash before the command, such as ``module load cuda``; one that fails fails it."""
    environment: Literal["submit", "login"] = "submit"
    """What the command finds: the environment of whoever submits, or of a login on the node."""
    signal: Annotated[str, AfterValidator(_signal)] | None = None
    """``USR1@120``: send the command this signal so many seconds before its time limit."""
    requeue: bool = False
    """Whether Slurm may put a job that it had to stop back into its queue."""
    on_requeue: Literal["fail", "resume"] = "fail"
    """What becomes of a command that had begun: a new attempt, or again in the same folder."""
    prefix: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Before every command of Slurm: ``[ssh, login-node]``."""
    python: Annotated[str, AfterValidator(_text)] | None = None
    """A Python from 3.9 on, as the nodes see it; default: the one that runs schedd."""
    poll_floor: Duration = 60.0
    """At most one squeue in so many seconds, for all experiments of this process."""
    lost_after: Duration = 120.0
    """How long a job must be unknown to Slurm before it is taken for lost."""
    term_grace: Duration = 20.0
    """From SIGTERM to SIGKILL; of use only below KillWait of the cluster."""
    output_limit: Size = Field(default=256 << 20, ge=4096)
    """For each of stdout.log and stderr.log; the middle of longer ones is left out."""
