"""Measures how busy slots are: trials of 5 s, 4 slots, the real thing and a model that learns.

    python -m quality.slots [--systems schedd,ax] [--trials 40] [--stored]
    python -m quality.slots --ax N LOG        in the peers' venv: runs Ax's Orchestrator

A job writes when it began and ended. Counted is the time from the start of the last of the first
four jobs to the start of the last one: before, slots fill; after, none is wanted any more. Ax is
driven by ``Client.run_trials``, its Orchestrator at its defaults, with a runner of processes.
Appends to results/slots.jsonl.
"""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import results

FILE = results.FOLDER / "slots.jsonl"
PEERS = Path(__file__).parents[3] / ".venv" / "peers" / "bin" / "python"
SLOTS, SECONDS = 4, 5.0
BUSY = 0.98
Span = tuple[float, float]
"""Start and end of a job, in seconds since the epoch."""

# Arguments: seconds, the log, the file of the result, x0 and x1.
JOB = """\
start=$(date +%s.%N); sleep $1
awk -v a=$4 -v b=$5 'BEGIN {printf "{\\"y\\": %.9f}\\n", (a-.3)^2 + (b-.6)^2 + a*b/3}' > $3
echo $start $(date +%s.%N) >> $2
"""
EXPERIMENT = """\
schema: schedd/v1
name: slots
parameters:
  - {{name: x0, type: range, bounds: [0, 1]}}
  - {{name: x1, type: range, bounds: [0, 1]}}
objective: -y
metrics:
  y: {{fetcher: {{type: json}}}}
trials: {{total_trials: {trials}, max_pending_trials: {slots}}}
runner:
  command: [sh, {job}, "{seconds}", {log}, "{{trial_dir}}/metrics.json",
            "{{params.x0}}", "{{params.x1}}"]
"""


def schedd(trials: int, folder: Path, log: Path) -> None:
    """Run an experiment as a user does."""
    job = folder / "job.sh"
    job.write_text(JOB)
    text = EXPERIMENT.format(trials=trials, slots=SLOTS, seconds=SECONDS, job=job, log=log)
    (folder / "slots.yaml").write_text(text)
    program = Path(sys.executable).with_name("schedd")
    command = [program, "run", "slots.yaml", "--storage", f"sqlite:///{folder / 'slots.db'}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def ax(trials: int, folder: Path, log: Path) -> None:
    """Run the same with Ax's Orchestrator, in the peers' venv."""
    command = [PEERS, "-W", "ignore", "-m", "quality.slots", "--ax", str(trials), log]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)


def ax_here(trials: int, log: Path) -> None:
    """Run Ax's Orchestrator in this process."""
    from ax.api.client import Client
    from ax.api.configs import RangeParameterConfig
    from ax.api.protocols.metric import IMetric
    from ax.api.protocols.runner import IRunner
    from ax.core.trial_status import TrialStatus

    jobs: dict[int, subprocess.Popen[bytes]] = {}

    def result(index: int) -> Path:
        return log.with_name(f"{index}.json")

    class Processes(IRunner):
        def run_trial(self, trial_index: int, parameterization: Mapping[str, Any]):
            point = [str(parameterization[name]) for name in ("x0", "x1")]
            command = ["sh", "-c", JOB, "job", str(SECONDS), log, result(trial_index), *point]
            jobs[trial_index] = subprocess.Popen(command)
            return {"job": trial_index}

        def poll_trial(self, trial_index: int, trial_metadata: Mapping[str, Any]):
            ended = jobs[trial_index].poll() is not None
            return TrialStatus.COMPLETED if ended else TrialStatus.RUNNING

        def stop_trial(self, trial_index: int, trial_metadata: Mapping[str, Any]):
            jobs[trial_index].terminate()
            return {}

    class Value(IMetric):
        def fetch(self, trial_index: int, trial_metadata: Mapping[str, Any]):
            return 0, float(result(trial_index).read_text().split(":")[1].strip(" }\n"))

    client = Client(random_seed=0)
    bounds = (0.0, 1.0)
    client.configure_experiment(
        [RangeParameterConfig(name=n, parameter_type="float", bounds=bounds) for n in ("x0", "x1")]
    )
    client.configure_optimization(objective="-y")
    client.configure_runner(Processes())
    client.configure_metrics([Value("y")])
    client.run_trials(max_trials=trials, parallelism=SLOTS)


def spans(log: Path) -> list[Span]:
    """Return when each job ran, in order of their starts."""
    lines = (line.split() for line in log.read_text().splitlines())
    return sorted((float(start), float(end)) for start, end in lines)


def busy(jobs: Sequence[Span], slots: int) -> float:
    """Return the share of slot time in which a job ran, between start-up and the last start."""
    first, last = jobs[slots - 1][0], jobs[-1][0]
    used = sum(max(0.0, min(end, last) - max(start, first)) for start, end in jobs)
    return used / (slots * (last - first))


def longest_gap(jobs: Sequence[Span], slots: int) -> float:
    """Return the longest wait of a slot for its next job; jobs go to the slot free first."""
    free: list[list[Span]] = [[job] for job in jobs[:slots]]
    for job in jobs[slots:]:
        min(free, key=lambda slot: slot[-1][1]).append(job)
    gaps = (b[0] - a[1] for slot in free for a, b in pairwise(slot))
    return max(gaps, default=0.0)


def measure(system: str, trials: int) -> dict[str, Any]:
    """Return what a run of one system came to."""
    with tempfile.TemporaryDirectory(prefix="schedd-slots-") as place:
        folder = Path(place)
        log = folder / "log"
        start = time.perf_counter()
        {"schedd": schedd, "ax": ax}[system](trials, folder, log)
        jobs = spans(log)
        assert len(jobs) == trials, f"{len(jobs)} of {trials} jobs ended"
        return {
            "busy": round(busy(jobs, SLOTS), 4),
            "longest_gap": round(longest_gap(jobs, SLOTS), 2),
            "wall": round(time.perf_counter() - start, 1),
            "load": round(os.getloadavg()[0], 1),
        }


def version(system: str) -> str:
    if system == "ax":
        code = "from importlib.metadata import version; print(version('ax-platform'))"
        printed = subprocess.check_output([PEERS, "-c", code], text=True)
        return f"ax-platform {printed.strip()}"
    return f"schedd {importlib.metadata.version('schedd')}"


def main() -> int:
    arguments = _arguments()
    if arguments.ax:
        ax_here(int(arguments.ax[0]), Path(arguments.ax[1]))
        return 0
    for system in [] if arguments.stored else arguments.systems.split(","):
        names = {"system": system, "problem": "slots", "mode": "par4", "seed": arguments.trials}
        if system == "ax" and (not PEERS.exists() or results.key_of(names) in results.read(FILE)):
            continue
        figures = measure(system, arguments.trials)
        results.append(FILE, {**names, "version": version(system), **figures})
    met = show()
    return 0 if met and all(met) else 1


def show() -> list[bool]:
    """Print what is stored; return whether the target is met."""
    from .report import target

    print(f"\nSlots: trials of {SECONDS:g} s, {SLOTS} at a time, after start-up")
    met = []
    for record in results.read(FILE).values():
        said = f"{record['system']}: busy {record['busy']:.1%} of the time, "
        said += f"the longest wait {record['longest_gap']:.2f} s"
        if record["system"] == "schedd":
            met.append(target(said, f"at least {BUSY:.0%}", record["busy"] >= BUSY))
        else:
            print(f"    {said}")
    return met


def _arguments() -> Namespace:
    parser = ArgumentParser(description="Measure how busy slots are.")
    parser.add_argument("--systems", default="schedd,ax")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--stored", action="store_true", help="only show what is there")
    parser.add_argument("--ax", nargs=2, metavar=("N", "LOG"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
