"""What sbatch is given: its arguments, and the script. Pure."""

import math
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from runners.base import STDERR, STDOUT, Job, Resources
from runners.folder import PLACE
from runners.slurm.options import SlurmOptions


def array_name(leader: Job, number: int) -> str:
    """Return the name of the ``number``-th Slurm job that ``leader`` is the first task of.

    It follows from what is on disk, so that a crash leads to the same name again.
    """
    return f"{leader.name}-s{number}"


def folder_of(leader: Job, name: str) -> Path:
    """Return the folder of a Slurm job: the code that runs on the nodes, and who is which."""
    return leader.tasks[0].directory / PLACE / name


def argv(jobs: Sequence[Job], name: str, options: SlurmOptions) -> list[str]:
    """Return the command line that submits ``jobs``, which have equal needs, under ``name``."""
    leader = jobs[0]
    count = sum(len(job.tasks) for job in jobs)
    stdout, stderr = _outputs(jobs, name, count)
    return [
        "sbatch",
        "--parsable",
        f"--job-name={name}",
        "--comment=schedd",
        *([f"--array=0-{count - 1}"] if count > 1 else []),
        f"--chdir={leader.workdir or leader.tasks[0].directory}",
        f"--output={stdout}",
        f"--error={stderr}",
        "--open-mode=append",
        "--export=ALL",
        *(["--hold"] if leader.hold else []),
        "--requeue" if options.requeue else "--no-requeue",
        *([f"--signal=B:{options.signal}"] if options.signal else []),
        *_needs(leader.resources),
        *(f"--{key}={value}" for key, value in _where(options) if value),
        *([f"--exclude={','.join(leader.avoid)}"] if leader.avoid else []),
        *options.sbatch_args,
    ]


def _outputs(jobs: Sequence[Job], name: str, count: int) -> tuple[str, str]:
    """Return where the output goes; an array finds its tasks' logs by links in its folder."""
    if count == 1:
        folder = jobs[0].tasks[0].directory
        return _literal(folder / STDOUT), _literal(folder / STDERR)
    folder = folder_of(jobs[0], name)
    return f"{_literal(folder)}/%a.out", f"{_literal(folder)}/%a.err"


def _literal(path: Path) -> str:
    return str(path).replace("%", "%%")


def _needs(resources: Resources) -> list[str]:
    gpus, memory, time = resources.gpus, resources.memory, resources.time
    given = {
        "nodes": resources.nodes,
        "cpus-per-task": resources.cpus,
        "gres": f"gpu:{gpus}" if gpus else None,
        "mem": None if memory is None else f"{math.ceil(memory / (1 << 20))}M",
        "time": None if time is None else math.ceil(time / 60),
    }
    return [f"--{key}={value}" for key, value in given.items() if value is not None]


def _where(options: SlurmOptions) -> tuple[tuple[str, str | None], ...]:
    return (
        ("partition", options.partition),
        ("account", options.account),
        ("qos", options.qos),
    )


def text(folder: Path, options: SlurmOptions) -> str:
    """Return the script; ``folder`` is that of the Slurm job."""
    python = options.python or sys.executable
    run = shlex.join([python, "-ISB", os.fspath(folder)])
    shell = "#!/bin/bash -l" if options.environment == "login" else "#!/bin/bash"
    lines = [
        shell,
        '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK',
        *([f"trap : {options.signal[:4]}"] if options.signal else []),
        *(_setup(options.setup, run) if options.setup else []),
        f"exec {run}",
    ]
    return "\n".join(lines) + "\n"


def _setup(lines: Sequence[str], run: str) -> list[str]:
    """Run each line in this shell; record the first that fails as the end of the task."""
    steps = [f'step={shlex.quote(line)}; eval "$step" || exit' for line in lines]
    failed = shlex.quote(f'exec {run} "$?" "$step"')
    return [f"trap {failed} EXIT", *steps, "trap - EXIT"]


def fault(job: Job) -> str | None:
    """Return why Slurm could never run ``job``, ``None`` where it may."""
    texts = [str(task.directory) for task in job.tasks] + [str(job.workdir or "")]
    for path in texts:
        if "\\" in path or "\n" in path:
            return f"{path!r} has a character in it that Slurm cannot write to"
    for name in job.avoid:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is None:
            return f"{name!r} is not the name of a node"
    return None


def shown(line: Sequence[str], script: str) -> str:
    """Return a command line and its input, as text for people and shells."""
    options = " \\\n  ".join(shlex.quote(word) for word in line)
    return f"{options} <<'SCRIPT'\n{script}SCRIPT\n"
