"""Trials per second with a real process each: ``schedd run`` against ``xargs -P10``.

    python throughput.py N [rounds]     prints both as a line of JSON, the best of all rounds

Both start the same wrapper around ``true``, ten at a time. For xargs every folder, file and order
is made beforehand and not counted; schedd makes them as it goes, chooses arms, reads a metric and
commits. Its rate is taken from its own events, first submission to last completion; its CPU is
that of everything, from its own start on. Where other work takes turns with ours, CPU tells more.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

PARALLEL = 10
EXPERIMENT = """\
schema: schedd/v1
name: bench
parameters:
{parameters}
objective: -x0
metrics:
  x0: {{fetcher: {{type: json, path: parameters.json}}}}
generation_strategy: {{nodes: [{{generator: sobol}}]}}
trials: {{total_trials: {trials}, max_pending_trials: {parallel}}}
runner: {{type: local, command: ["true"]}}
"""
# What runners.launch starts, but that it takes its input and its lock from the folder itself.
STUB = """\
import sys; sys.path.append(sys.argv[1]); import posix, wrapper
place = sys.argv[2]
for fd, name, mode in ((0, "order", 0), (1, "stdout.log", 1025), (2, "stderr.log", 1025)):
    posix.dup2(posix.open(place + "/" + name, mode), fd)
lock = posix.dup2(posix.open(place + "/.schedd/lock", 2), 100)
wrapper.main()
"""


def schedd(trials: int, folder: Path) -> dict[str, float]:
    """Run an experiment; return its trials per second, and of the whole command with its start."""
    axes = "\n".join(f"  - {{name: x{i}, type: range, bounds: [0, 1]}}" for i in range(6))
    text = EXPERIMENT.format(parameters=axes, trials=trials, parallel=PARALLEL)
    (folder / "bench.yaml").write_text(text)
    start, before = time.perf_counter(), cpu_of_children()
    program = Path(sys.executable).with_name("schedd")
    storage = f"sqlite:///{folder / 'bench.db'}"
    command = [program, "run", "bench.yaml", "--storage", storage]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    whole, used = time.perf_counter() - start, cpu_of_children() - before
    with sqlite3.connect(folder / "bench.db") as connection:
        query = "select min(staged_at), max(completed_at), count(*) from trial where status = ?"
        first, last, count = connection.execute(query, ["COMPLETED"]).fetchone()
    assert count == trials, f"{count} of {trials} completed"
    cpu = 1e3 * used / trials
    return {"schedd": trials / (last - first), "whole": trials / whole, "schedd_cpu": cpu}


def xargs(trials: int, folder: Path) -> dict[str, float]:
    """Run the wrapper on prepared folders; return how many end per second."""
    folders = [prepared(folder / str(i), f"bench-{i}") for i in range(trials)]
    from runners import wrapper

    library = str(Path(wrapper.__file__).parent)
    # A session each, as schedd's: Linux may share the CPU between sessions, not processes.
    command = ["setsid", sys.executable, "-I", "-S", "-E", "-c", STUB, library]
    start, before = time.perf_counter(), cpu_of_children()
    subprocess.run(
        ["xargs", f"-P{PARALLEL}", "-n1", *command],
        input="\n".join(map(str, folders)),
        text=True,
        check=True,
        env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
    )
    seconds, used = time.perf_counter() - start, cpu_of_children() - before
    ended = sum((place / ".schedd/exit.json").exists() for place in folders)
    assert ended == trials, f"{ended} of {trials} ended"
    return {"xargs": trials / seconds, "xargs_cpu": 1e3 * used / trials}


def prepared(folder: Path, name: str) -> Path:
    """Return the folder of a job that is ready to start, its order in a file."""
    from runners import launch
    from runners.base import Job, Task

    env = {f"SCHEDD_PARAM_X{i}": str(0.1 * i) for i in range(6)}
    job = Job(name, (Task("0_0", ("true",), folder, env, {"parameters.json": "{}"}),))
    with ExitStack() as stack:
        seat = launch._take(job.tasks[0], job, stack)
        order = launch._order(seat, job, -1, 10.0, 256 << 20)
    fields = order.split(b"\0")
    fields[4] = b"100"  # the number of the lock, as the stub opens it
    (folder / "order").write_bytes(b"\0".join(fields))
    return folder


def cpu_of_children() -> float:
    """Return the seconds of CPU of children that have ended, and of theirs."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(trials: int, folder: Path) -> dict[str, float]:
    """Return trials per second of both, one after the other."""
    folder.mkdir()
    return {**schedd(trials, folder), **xargs(trials, folder / "xargs")}


if __name__ == "__main__":
    count, rounds = int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 3
    with tempfile.TemporaryDirectory(prefix="schedd-bench-") as place:
        found = [measure(count, Path(place) / str(i)) for i in range(rounds)]
    best = {
        name: (min if name.endswith("_cpu") else max)(figures[name] for figures in found)
        for name in found[0]
    }
    print(json.dumps({"trials": count, **best}))
