"""Says what the files of results come to: tables, and which targets are met.

    python -m quality.report [--ours NAME] [--against NAME ...] [--problems a,b] [--modes seq]
                             [--development] [--path FILE ...]

Regret is the best feasible value so far, without noise, less the least there is; with several
objectives the hypervolume that is missing. A run without a feasible trial counts as infinite.
CPU is the median of a proposal in the later half of a run.
"""

import math
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import results
from .development import DEVELOPMENT
from .ours import version
from .problem import Problem
from .problems import PROBLEMS, by_name
from .simulate import WORKERS

RIVALS = ("ax", "optuna_gp")
PEERS = (*RIVALS, "optuna_tpe", "sobol")
HELD_OUT = 10
"""Defaults were chosen with the seeds before it in sight, so those prove little."""
RESOLUTION = 1e-7
"""Regrets below it are equal: the known optimum has no more digits."""

Runs = dict[int, results.Record]
"""By seed."""
Setting = tuple[str, str]
"""Problem, mode."""


class Table:
    """All runs, by setting and system."""

    def __init__(self, records: Iterable[results.Record]) -> None:
        self._runs: dict[tuple[str, str, str], Runs] = {}
        for record in records:
            system, problem, mode, seed = results.key_of(record)
            self._runs.setdefault((system, problem, mode), {})[seed] = record

    def runs(self, system: str, setting: Setting) -> Runs:
        return self._runs.get((system, *setting), {})

    def median(self, system: str, setting: Setting, seeds: int | None = None) -> float | None:
        """Return the median final regret of the first ``seeds`` seeds; None without runs."""
        runs = self.runs(system, setting)
        finals = [final(runs[seed]) for seed in sorted(runs)][:seeds]
        return quantile(finals, 0.5) if finals else None

    def is_held_out(self, ours: str, other: str, setting: Setting) -> bool:
        """Whether both have seeds that were held out."""
        mine, theirs = self.runs(ours, setting), self.runs(other, setting)
        return any(seed >= HELD_OUT for seed in mine.keys() & theirs.keys())

    def paired(self, ours: str, other: str, setting: Setting) -> tuple[float, float, int] | None:
        """Return both medians over the seeds that both have, and how many; None without any.

        Where some of them were held out when defaults were chosen, over those alone.
        """
        mine, theirs = self.runs(ours, setting), self.runs(other, setting)
        shared = sorted(mine.keys() & theirs.keys())
        if not shared:
            return None
        shared = [seed for seed in shared if seed >= HELD_OUT] or shared
        medians = (quantile([final(runs[s]) for s in shared], 0.5) for runs in (mine, theirs))
        first, second = medians
        return first, second, len(shared)


def final(record: results.Record) -> float:
    """Return the regret at the last trial."""
    regret = record["regret"][-1] if record["regret"] else None
    return math.inf if regret is None else max(0.0, float(regret))


def quantile(values: Sequence[float], q: float) -> float:
    """Return a quantile; where it lies between a finite and an infinite value, infinity."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below, share = math.floor(position), position % 1
    if not share:
        return ordered[below]
    low, high = ordered[below], ordered[below + 1]
    return high if math.isinf(high) else low + share * (high - low)


def ratio(ours: float, theirs: float) -> float:
    """Return ``ours`` over ``theirs``; what is below the resolution counts as the resolution."""
    if math.isinf(ours):
        return 1.0 if math.isinf(theirs) else math.inf
    return max(ours, RESOLUTION) / max(theirs, RESOLUTION)


def print_setting(table: Table, systems: Sequence[str], problem: Problem, mode: str) -> None:
    """Print the systems side by side in one setting."""
    there = [s for s in systems if table.runs(s, (problem.name, mode))]
    if not there:
        return
    what = "missing hypervolume" if len(problem.objectives) > 1 else "regret"
    print(f"\n{problem.name}, {mode}: {what} after {problem.budget} trials")
    names = ("seeds", "median", "q1", "q3", f"< {problem.basin:g}", "half way", "CPU s")
    print(f"    {'':14}" + "".join(f"{name:>10}" for name in names))
    for system in there:
        runs = list(table.runs(system, (problem.name, mode)).values())
        ends = [final(run) for run in runs]
        cells = [f"{len(runs)}", *(f"{quantile(ends, q):.3g}" for q in (0.5, 0.25, 0.75))]
        cells.append(f"{sum(end < problem.basin for end in ends) / len(ends):.0%}")
        cells.append(f"{quantile([half_way(run) for run in runs], 0.5):.3g}")
        cells.append(f"{float(np.median([run['cpu_ask'] for run in runs])):.3f}")
        notes = _notes(system, problem, runs)
        print(f"    {system:14}" + "".join(f"{cell:>10}" for cell in cells) + notes)


def half_way(record: results.Record) -> float:
    """Return the regret at half of the trials."""
    trials = record["trials"]
    index = min(range(len(trials)), key=lambda i: abs(trials[i] - trials[-1] / 2))
    regret = record["regret"][index]
    return math.inf if regret is None else max(0.0, float(regret))


def _notes(system: str, problem: Problem, runs: Sequence[results.Record]) -> str:
    """Return what the figures leave out: steps down to Sobol, code that is no longer this."""
    down = sum(run.get("stepped_down", 0) for run in runs)
    # A peer's version has its name in it; one of ours is a digest.
    own = [run["version"] for run in runs if " " not in run["version"]]
    old = sum(each != version(problem, sobol=system == "sobol") for each in own)
    words = [f"{down} step-downs"] if down else []
    words += [f"{old} of older code"] if old else []
    return f"   ({', '.join(words)})" if words else ""


def targets(table: Table, ours: str, settings: Sequence[Setting]) -> list[bool]:
    """Print whether each target is met; return that.

    Runs are compared with a peer's on the seeds that both have: they begin with the same arms.
    """
    print("\nTargets: median final regret against Ax and Optuna's GP, on the seeds that both have")
    met, ratios = [], []
    for setting in settings:
        pairs = {name: table.paired(ours, name, setting) for name in RIVALS}
        known = {name: pair for name, pair in pairs.items() if pair is not None}
        if not known:
            continue
        name = max(known, key=lambda rival: ratio(*known[rival][:2]))
        mine, theirs, seeds = known[name]
        ratios.append(ratio(mine, theirs))
        said = f"{', '.join(setting):24} {mine:.3g} against {theirs:.3g} of {name}, {seeds} seeds"
        if not table.is_held_out(ours, name, setting):
            said += " in sight"
        met.append(target(f"{said}: {ratios[-1]:.2f} times", "at most 1", ratios[-1] <= 1))
    if ratios:
        halves = sum(r <= 0.5 for r in ratios)
        said = f"half of it or less in {halves} of {len(ratios)} settings"
        met.append(target(said, "the majority", halves > len(ratios) / 2))
    return met + [
        sober(table, ours, setting) for setting in settings if _both(table, ours, setting)
    ]


def _both(table: Table, ours: str, setting: Setting) -> bool:
    return bool(table.runs(ours, setting)) and bool(table.runs("sobol", setting))


def sober(table: Table, ours: str, setting: Setting) -> bool:
    """Print whether ours is at least as good as Sobol, however many seeds are looked at."""
    most = min(len(table.runs(name, setting)) for name in (ours, "sobol"))
    worst = max(
        (ratio(_sure(table, ours, setting, n), _sure(table, "sobol", setting, n)), n)
        for n in range(1, most + 1)
    )
    said = f"{', '.join(setting):24} at most {worst[0]:.2f} times Sobol's, with {worst[1]} seeds"
    return target(said, "at most 1", worst[0] <= 1)


def _sure(table: Table, system: str, setting: Setting, seeds: int) -> float:
    median = table.median(system, setting, seeds)
    assert median is not None
    return median


def target(said: str, wanted: str, met: bool) -> bool:
    print(f"{'ok ' if met else 'NO '} {said} ({wanted})")
    return met


def main(argv: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description="Print what the benchmark's results come to.")
    parser.add_argument("--ours", default="schedd", help="the name that the targets are about")
    parser.add_argument("--against", nargs="*", default=[], help="further systems to show")
    parser.add_argument("--problems")
    parser.add_argument("--modes", default=",".join(WORKERS))
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--path", nargs="*", type=Path, default=[], help="further files to read")
    arguments: Any = parser.parse_args(argv)
    files = [*sorted(results.FOLDER.glob("*.jsonl")), *arguments.path]
    table = Table(results.read(*files).values())
    chosen = DEVELOPMENT if arguments.development else PROBLEMS
    if arguments.problems:
        chosen = tuple(by_name()[name] for name in arguments.problems.split(","))
    systems = list(dict.fromkeys([arguments.ours, *arguments.against, *PEERS]))
    settings = [(problem.name, mode) for problem in chosen for mode in arguments.modes.split(",")]
    for name, mode in settings:
        print_setting(table, systems, by_name()[name], mode)
    met = targets(table, arguments.ours, settings)
    print(f"{sum(met)} of {len(met)} targets met")
    return 0 if met and all(met) else 1  # nothing measured is nothing met


if __name__ == "__main__":
    sys.exit(main())
