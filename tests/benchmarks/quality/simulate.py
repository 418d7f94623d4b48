"""Plays one run in virtual time: workers that are never idle ask, trials take a while, and end."""

import heapq
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .problem import WORST, Metrics, Parameters, Problem, Regret

WORKERS = {"seq": 1, "par4": 4}
EVERY = 5
"""Trials between two checkpoints."""


class System(Protocol):
    """What is measured."""

    def ask(self) -> tuple[Any, Parameters] | None:
        """Return a trial of the system's own and its arm; None where no new arm is left."""

    def tell(self, trial: Any, metrics: Metrics | None) -> None:
        """Take what a trial reported; None where it failed."""


@dataclass
class Run:
    """What one run came to, trial by trial in the order they ended."""

    problem: Problem
    regrets: list[float] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """CPU of each proposal, in the order they were made."""
    arms: list[tuple[Parameters, Metrics | None]] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return it in few words: regret at every fifth trial and the last, CPU of proposals."""
        ends = sorted({*range(EVERY, len(self.regrets) + 1, EVERY), len(self.regrets)})
        record: dict[str, Any] = {
            "trials": ends,
            "regret": [_short(self.regrets[n - 1]) for n in ends],
        }
        if self.problem.noise:
            record["chosen"] = [_short(self.chosen[n - 1]) for n in ends]
        failed = sum(metrics is None for _, metrics in self.arms)
        infeasible = sum(m is not None and not self.problem.admits(a, m) for a, m in self.arms)
        counts = {"failed": failed, "infeasible": infeasible}
        record |= {name: count for name, count in counts.items() if count}
        late = self.seconds[len(self.seconds) // 2 :]
        return record | {
            "cpu": round(sum(self.seconds), 2),
            "cpu_ask": round(float(np.median(late)), 4),
        }

    def trace(self) -> list[dict[str, Any]]:
        """Return all there is, by trial."""
        rows = zip(self.arms, self.regrets, strict=True)
        return [{"arm": dict(a), "metrics": m, "regret": _short(r)} for (a, m), r in rows]


def play(problem: Problem, mode: str, seed: int, system: System) -> Run:
    """Run ``problem`` to the end of its budget.

    Trial i takes LogNormal(0, 0.5), the same in every system; in ``seq`` that does not matter.
    """
    run, regret = Run(problem), Regret(problem)
    durations = np.random.default_rng(seed).lognormal(0.0, 0.5, problem.budget)
    ends: list[tuple[float, int, Any, Parameters]] = []
    now, asked = 0.0, 0
    while True:
        while len(ends) < WORKERS[mode] and asked < problem.budget:
            start = time.process_time()
            answer = system.ask()
            run.seconds.append(time.process_time() - start)
            if answer is None:
                asked = problem.budget
                break
            heapq.heappush(ends, (now + durations[asked], asked, *answer))
            asked += 1
        if not ends:
            return run
        now, index, trial, arm = heapq.heappop(ends)
        metrics = problem.measure(arm, seed, index)
        system.tell(trial, metrics)
        regret.add(arm, metrics)
        run.arms.append((arm, metrics))
        run.regrets.append(regret.value)
        run.chosen.append(regret.chosen)


def _short(value: float) -> float | None:
    """Return six digits; None for infinity, which JSON lacks."""
    return None if value == WORST else float(f"{value:.6g}")
