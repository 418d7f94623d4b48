"""Measures how long a proposal takes: CPU seconds on one thread, Hartmann6, by observations.

    python -m quality.latency [--systems schedd,ax,optuna_gp] [--observations 10,30] [--stored]
                              [--tag NAME]
    python -m quality.latency --one SYSTEM N     in the system's own venv: prints a line of JSON

Every figure is of a fresh process: N points of a Sobol sequence are told, then proposals are made
one after the other, each told before the next. Also the process's CPU and time from its start to
the first proposal. Appends to results/latency.jsonl; what is there is not measured again, unless
schedd's code has changed. CPU time is not free of the machine's load either: read it when quiet.
"""

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Protocol

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
)

import numpy as np

from . import results
from .design import points
from .problem import Parameters, Problem
from .problems import by_name
from .simulate import System

FILE = results.FOLDER / "latency.jsonl"
PEERS = Path(__file__).parents[3] / ".venv" / "peers" / "bin" / "python"
OBSERVATIONS = (10, 30, 100, 300, 1000)
SYSTEMS = ("schedd", "ax", "optuna_gp")
REPEAT = 7
"""Proposals; 5 where there are 1000 observations."""


class Told(System, Protocol):
    """A system that can be given trials that it did not propose."""

    def attach(self, arm: Parameters) -> Any:
        """Take an arm as a trial that runs; return it."""


def one(name: str, observations: int) -> dict[str, Any]:
    """Return the figures of one system, in this process."""
    problem = by_name()["hartmann6"]
    system = told(name, problem, observations)
    for arm in points(problem, 0, observations):
        system.tell(system.attach(arm), problem.function(arm))
    if name == "ax":  # its next arm is the centre of the space, which no model proposes
        centre, arm = system.ask()
        system.tell(centre, problem.function(arm))
    seconds: list[float] = []
    first: dict[str, float] = {}
    for _ in range(5 if observations >= 1000 else REPEAT):
        start = time.process_time()
        answer = system.ask()
        seconds.append(time.process_time() - start)
        assert answer is not None
        first = first or {"first_cpu": round(time.process_time(), 2), "first_at": time.time()}
        system.tell(answer[0], problem.function(answer[1]))
    median = round(float(np.median(seconds)), 4)
    return {"version": version(name), "cpu": median, "each": _rounded(seconds), **first}


def told(name: str, problem: Problem, observations: int) -> Told:
    """Return a system that is past its initial design once it has been told ``observations``."""
    if name in SYSTEMS[1:]:
        from .peers import system_of

        return system_of(name, problem, 0, given=False)
    from .ours import Schedd, definition_of

    system = Schedd(definition_of(problem, 0, budget=observations + 20))
    system.skip_the_start()
    return system


def version(name: str) -> str:
    if name in SYSTEMS[1:]:
        from .peers import version_of

        return version_of(name)
    from .ours import version as own
    from .problems import by_name

    return own(by_name()["hartmann6"])


def _rounded(seconds: list[float]) -> list[float]:
    return [round(s, 3) for s in seconds]


def fresh(name: str, observations: int) -> dict[str, Any]:
    """Return the figures of one system, measured in a process of its own."""
    python = str(PEERS) if name in SYSTEMS[1:] else sys.executable
    command = [python, "-W", "ignore", "-m", "quality.latency", "--one", name, str(observations)]
    start = time.time()
    folder = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    figures["first_wall"] = round(figures.pop("first_at") - start, 2)
    return {**figures, "load": round(os.getloadavg()[0], 1)}


def table() -> dict[tuple[str, int], results.Record]:
    """Return what is stored, by system and observations."""
    stored = results.read(FILE)
    return {(system, seed): record for (system, _, _, seed), record in stored.items()}


def show(systems: list[str], sizes: list[int]) -> list[bool]:
    """Print the figures side by side; return which targets are met."""
    stored = table()
    print("\nCPU seconds of a proposal, Hartmann6, one thread, by observations")
    print(
        f"    {'':14}" + "".join(f"{size:>10}" for size in sizes) + "   first proposal: CPU, wall"
    )
    for system in systems:
        found = [stored.get((system, size)) for size in sizes]
        cells = "".join(f"{'-' if r is None else format(r['cpu'], '.3f'):>10}" for r in found)
        first = stored.get((system, 10))
        start = f"   {first['first_cpu']} s, {first['first_wall']} s" if first else ""
        print(f"    {system:14}{cells}{start}")
    return targets(stored, systems[0])


def targets(stored: dict[tuple[str, int], results.Record], ours: str) -> list[bool]:
    from .report import target

    met = []
    for size in OBSERVATIONS[:-1]:
        mine, theirs = (stored.get((name, size)) for name in (ours, "ax"))
        if mine and theirs:
            share = mine["cpu"] / theirs["cpu"]
            said = f"{share:.2f} of Ax's CPU for a proposal at {size} observations"
            met.append(target(said, "at most a third", share <= 1 / 3))
    if large := stored.get((ours, 1000)):
        said = f"{large['cpu']:.2f} s for a proposal at 1000 observations"
        met.append(target(said, "within 3 s", large["cpu"] <= 3))
    return met


def main() -> int:
    arguments = _arguments()
    if arguments.one:
        print(json.dumps(one(arguments.one[0], int(arguments.one[1]))))
        return 0
    systems = arguments.systems.split(",")
    sizes = [int(n) for n in arguments.observations.split(",")]
    for name in [] if arguments.stored else systems:
        for size in sizes:
            label = arguments.tag if name == "schedd" else name
            there = table().get((label, size))
            if _stands(name, there):
                continue
            names = {"system": label, "problem": "hartmann6", "mode": "latency", "seed": size}
            figures = fresh(name, size)
            results.append(FILE, {**names, **figures})
            print(label, size, figures["each"], flush=True)
    met = show([arguments.tag, *(s for s in systems if s != "schedd")], sizes)
    return 0 if met and all(met) else 1


def _stands(name: str, there: results.Record | None) -> bool:
    """Whether a stored figure need not be measured again."""
    if name != "schedd" and (there is not None or not PEERS.exists()):
        return True
    return there is not None and there["version"] == version(name)


def _arguments() -> Namespace:
    parser = ArgumentParser(description="Measure how long a proposal takes.")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--observations", default=",".join(map(str, OBSERVATIONS)))
    parser.add_argument("--tag", default="schedd", help="the name that schedd's figures are under")
    parser.add_argument("--stored", action="store_true", help="only show what is there")
    parser.add_argument("--one", nargs=2, metavar=("SYSTEM", "N"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
