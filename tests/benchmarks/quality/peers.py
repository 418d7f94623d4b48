"""Runs Ax and Optuna on the problems, at their defaults; in the peers' own venv.

    python -m quality.peers SYSTEM[,SYSTEM] [--into FILE] [--seeds 0-9] [--problems branin,mixed]
                            [--modes seq,par4]

SYSTEM is ax, optuna_gp or optuna_tpe. A run that is in FILE already is not done again; by default
FILE is the system's own in the folder of results. ``python -m quality.results FILE`` takes runs of
another file over into it.
"""

import importlib.metadata
import logging
import os
import sys
import time
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
)

from . import results
from .design import design
from .problem import Metrics, Parameters, Problem, excess
from .problems import PROBLEMS, by_name
from .simulate import WORKERS, play

PACKAGES = {
    "ax": ("ax-platform", "botorch", "torch"),
    "optuna_gp": ("optuna", "torch"),
    "optuna_tpe": ("optuna",),
}


SAMPLERS = {"optuna_gp": "GPSampler", "optuna_tpe": "TPESampler"}
SEEDS = {("ax", "constrained"): "0-4"}
"""Where not ten: a run of Ax takes minutes, with a linear constraint."""


class Ax:
    """``Client`` with its default generation strategy; the initial design as trials attached."""

    def __init__(self, problem: Problem, seed: int, given: Sequence[Parameters]) -> None:
        import torch
        from ax.api.client import Client
        from botorch.acquisition.multi_objective import logei

        # It would compile C++ at the first use, and wait for ever on what a killed one left.
        logei._load_attempted = True
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self._client = Client(random_seed=seed)
        self._client.configure_experiment(
            [ax_parameter(p) for p in problem.parameters],
            parameter_constraints=list(problem.parameter_constraints) or None,
        )
        # With several objectives Ax takes bounds on them as the reference point.
        bounds = zip(problem.objectives, problem.reference, strict=False)
        limits = [f"{name} <= {bound}" for name, bound in bounds]
        self._client.configure_optimization(
            objective=", ".join(f"-{name}" for name in problem.objectives),
            outcome_constraints=[*limits, *(f"{name} <= 0" for name in problem.constraints)]
            or None,
        )
        self._given = iter(given)

    def ask(self) -> tuple[int, Parameters]:
        arm = next(self._given, None)
        if arm is not None:
            return self.attach(arm), arm
        (trial,) = self._client.get_next_trials(max_trials=1).items()
        return trial

    def attach(self, arm: Parameters) -> int:
        return self._client.attach_trial(arm)

    def tell(self, trial: int, metrics: Metrics | None) -> None:
        if metrics is None:
            self._client.mark_trial_failed(trial)
        else:
            self._client.complete_trial(trial, raw_data=dict(metrics))


def ax_parameter(parameter: Any) -> Any:
    """Return a parameter written in schedd's words in Ax's."""
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    if parameter["type"] == "choice":
        return ChoiceParameterConfig(
            name=parameter["name"],
            parameter_type="str",
            values=parameter["values"],
            is_ordered=parameter["is_ordered"],
        )
    kind = parameter.get("parameter_type", "float")
    bounds = tuple(parameter["bounds"])
    return RangeParameterConfig(name=parameter["name"], parameter_type=kind, bounds=bounds)


class Optuna:
    """A study at its sampler's defaults; the initial design as trials in its queue.

    It knows no parameter constraints: one is an outcome constraint like the others.
    """

    def __init__(
        self, problem: Problem, seed: int, given: Sequence[Parameters], sampler: str
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._problem = problem
        self._study = optuna.create_study(
            directions=["minimize"] * len(problem.objectives),
            sampler=getattr(optuna.samplers, sampler)(seed=seed),
        )
        for arm in given:
            self._study.enqueue_trial(arm)

    def ask(self) -> tuple[Any, Parameters]:
        trial = self._study.ask()
        return trial, {p["name"]: suggested(trial, p) for p in self._problem.parameters}

    def attach(self, arm: Parameters) -> Any:
        self._study.enqueue_trial(arm)
        return self.ask()[0]

    def tell(self, trial: Any, metrics: Metrics | None) -> None:
        from optuna.trial import TrialState

        if metrics is None:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for name in self._problem.constraints:
            trial.set_constraint(name, metrics[name])
        for k, text in enumerate(self._problem.parameter_constraints):
            trial.set_constraint(f"linear{k}", excess(text, trial.params))
        self._study.tell(trial, [metrics[name] for name in self._problem.objectives])


def suggested(trial: Any, parameter: Any) -> Any:
    """Return the trial's value of ``parameter``."""
    if parameter["type"] == "choice":
        return trial.suggest_categorical(parameter["name"], parameter["values"])
    kind = parameter.get("parameter_type", "float")
    suggest = trial.suggest_int if kind == "int" else trial.suggest_float
    return suggest(parameter["name"], *parameter["bounds"])


def system_of(name: str, problem: Problem, seed: int, *, given: bool = True) -> Ax | Optuna:
    """Return a peer that is ready to be asked; ``given``: that begins with the shared design."""
    arms = design(problem, seed) if given else []
    if name == "ax":
        return Ax(problem, seed, arms)
    return Optuna(problem, seed, arms, SAMPLERS[name])


def version_of(name: str) -> str:
    """Return the versions that matter, without the local part that says for which device."""
    versions = {p: importlib.metadata.version(p).partition("+")[0] for p in PACKAGES[name]}
    return ", ".join(f"{package} {version}" for package, version in versions.items())


def do(key: results.Key, into: Path) -> None:
    """Do one run, unless it is there."""
    if not results.missing(into, [(key, version_of(key[0]))]):
        return
    name, problem, mode, seed = key
    start = time.perf_counter()
    run = play(by_name()[problem], mode, seed, system_of(name, by_name()[problem], seed))
    names = dict(zip(("system", "problem", "mode", "seed"), key, strict=True))
    record = {**names, "version": version_of(name), **run.record()}
    results.append(into, record)
    spent = f"{record['cpu']} s CPU, {time.perf_counter() - start:.0f} s"
    print(time.strftime("%H:%M:%S"), *key, record["regret"][-1], spent, flush=True)


def main() -> int:
    parser = ArgumentParser(description="Run Ax and Optuna on the benchmark problems.")
    parser.add_argument("systems", help=f"some of {','.join(PACKAGES)}")
    parser.add_argument("--into", type=Path, help="the file of their results")
    parser.add_argument("--seeds", help="default: 0-9, fewer where a run takes many minutes")
    parser.add_argument("--problems", default=",".join(p.name for p in PROBLEMS))
    parser.add_argument("--modes", default=",".join(WORKERS))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for name, problem in product(arguments.systems.split(","), arguments.problems.split(",")):
        into = arguments.into or results.FOLDER / f"{name}.jsonl"
        seeds = results.numbers(arguments.seeds or SEEDS.get((name, problem), "0-9"))
        for seed, mode in product(seeds, arguments.modes.split(",")):
            do((name, problem, mode, seed), into)
    return 0


if __name__ == "__main__":
    sys.exit(main())
