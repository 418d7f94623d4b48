"""What starting costs: ``--help``, ``status``, the doors for Python, the first trial, memory.

python startup.py [repetitions]      prints the figures as a line of JSON
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

HEAVY = ("numpy", "scipy", "torch")
SCHEDD = str(Path(sys.executable).with_name("schedd"))
EXPERIMENT = """\
schema: schedd/v1
name: start
parameters:
  - {name: x0, type: range, bounds: [0, 1]}
  - {name: x1, type: range, bounds: [0, 1]}
objective: -x0
metrics: {x0: {fetcher: {type: json, path: parameters.json}}}
generation_strategy: {nodes: [{generator: sobol, num_trials: 2}, {generator: botorch}]}
trials: {total_trials: 12, max_pending_trials: 2}
runner: {type: local, command: [sleep, "1"]}
"""


def cpu(command: Sequence[str], repetitions: int, cwd: Path) -> float:
    """Return the median of milliseconds, user and system, that ``command`` takes."""
    used = []
    for _ in range(repetitions + 1):
        before = getrusage(RUSAGE_CHILDREN)
        subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
        after = getrusage(RUSAGE_CHILDREN)
        used.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return 1e3 * median(used[1:])


def modules_of_status(folder: Path) -> list[str]:
    """Return which heavy modules ``schedd status`` has imported when it ends."""
    program = (
        "import atexit, sys; from scheduler.cli import main; sys.argv[1:] = ['status'];"
        f"atexit.register(lambda: print(*(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr));"
        "main()"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stderr.split()


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def resident(pid: int) -> float:
    """Return the memory of a process in MiB, as far as it is resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def worker_of(pid: int) -> int | None:
    """Return the process that makes arms for the daemon ``pid``, if it stands."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [child for task in tasks for child in task.read_text().split()]
    found = (c for c in children if b"generation" in Path(f"/proc/{c}/cmdline").read_bytes())
    return next(map(int, found), None)


def first_trial(folder: Path) -> dict[str, float | bool]:
    """Run an experiment; look at its processes when its first trial starts, and near its end."""
    start, nothing = time.perf_counter(), subprocess.DEVNULL
    daemon = subprocess.Popen(
        [SCHEDD, "run", "start.yaml"], cwd=folder, stdout=nothing, stderr=nothing
    )
    claim = folder / "start.trials/0/a1/.schedd/claim"
    wait_until(claim.exists, daemon)
    seconds, worker = time.perf_counter() - start, worker_of(daemon.pid)
    before = worker is not None and "libtorch" not in maps(worker)
    late = folder / "start.trials/8/a1/.schedd/claim"
    wait_until(late.exists, daemon)
    figures = {
        "first_trial_s": seconds,
        "first_trial_before_torch": before,
        "daemon_mib": resident(daemon.pid),
        "daemon_has_torch": "libtorch" in maps(daemon.pid),
        "worker_mib": resident(worker_of(daemon.pid) or daemon.pid),
    }
    daemon.wait()
    return figures


def wait_until(true, daemon: subprocess.Popen) -> None:
    while not true():
        assert daemon.poll() is None, "schedd run has ended early"
        time.sleep(0.005)


CLIENT = """
import sys, time
from scheduler import Client
times = int(sys.argv[1])
space = [{"name": "x", "type": "range", "bounds": [0.0, 1.0]}]
with Client(generation_strategy={"nodes": [{"generator": "sobol"}]}) as client:
    client.create_experiment(space, objective_name="loss")
    for i in range(times + 1):
        if i == 1:
            start = time.process_time()
        parameters, index = client.get_next_trial()
        client.complete_trial(index, parameters["x"])
    print(1e3 * (time.process_time() - start) / times)
"""


def client(repetitions: int, folder: Path) -> dict[str, object]:
    """Return what the doors for Python cost: the import, and a trial asked for and completed."""
    door = [sys.executable, "-c", "from scheduler import optimize"]
    command = [sys.executable, "-c", CLIENT, str(10 * repetitions)]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return {"optimize_ms": cpu(door, repetitions, folder), "client_ms": float(done.stdout)}


def measure(repetitions: int, folder: Path) -> dict[str, object]:
    (folder / "start.yaml").write_text(EXPERIMENT)
    figures: dict[str, object] = dict(first_trial(folder))
    figures["help_ms"] = cpu([SCHEDD, "--help"], repetitions, folder)
    figures["click_ms"] = cpu([sys.executable, "-c", "import click"], repetitions, folder)
    figures["status_ms"] = cpu([SCHEDD, "status"], max(3, repetitions // 3), folder)
    figures |= client(repetitions, folder)
    return {**figures, "status_imports": modules_of_status(folder)}


if __name__ == "__main__":
    count = int(sys.argv[1]) if sys.argv[1:] else 15
    with tempfile.TemporaryDirectory(prefix="schedd-bench-") as place:
        print(json.dumps(measure(count, Path(place))))
