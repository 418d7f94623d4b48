"""Runs schedd's generators on the problems, in process.

    python -m quality.ours [--seeds 0-19] [--problems branin,mixed] [--modes seq,par4] [--jobs 2]
                           [--tag NAME] [--development] [--trace FILE] [--stored]

Appends to results/NAME.jsonl (``schedd``; with ``--sobol`` also the baseline, to results/sobol).
A run that is there already is not done again, unless the generators' code has changed since; with
``--stored`` not even then.
"""

import functools
import hashlib
import json
import os
import sys
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
)

from scheduler import candidates, registry
from scheduler.generation.base import Generator
from scheduler.generation.child import make
from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.generation.space import GenerationError
from scheduler.generation.worker import of_sobol
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Changes, ExperimentState, evolve
from scheduler.model.observation import Arms, MeasuredArms, Observation
from scheduler.model.strategy import is_exhausted, nodes_of
from scheduler.model.trial import Arm, Trial, TrialStatus

from . import results
from .development import DEVELOPMENT
from .problem import Metrics, Parameters, Problem
from .problems import PROBLEMS, by_name
from .simulate import WORKERS, play

TOLD_BY = (("hartmann6", "seq"), ("mixed", "par4"), ("constrained", "seq"), ("multiobj", "seq"))
"""Runs of which the first arms tell one version of the generators from another."""
FIRST = 15
"""How many trials of each."""


def definition_of(
    problem: Problem, seed: int, *, sobol: bool = False, budget: int | None = None
) -> ExperimentDefinition:
    """Return ``problem`` as an experiment that leaves the choice of generator to schedd."""
    several = len(problem.objectives) > 1
    objectives = [
        {"metric": name, "minimize": True, "threshold": threshold}
        for name, threshold in zip(problem.objectives, problem.reference, strict=False)
    ]
    strategy: dict[str, Any] = {"seed": seed}
    if sobol:
        strategy["nodes"] = [{"generator": "sobol"}]
    return ExperimentDefinition.model_validate(
        {
            "schema": "schedd/v1",
            "name": problem.name.replace("_", "-"),
            "parameters": problem.parameters,
            "parameter_constraints": problem.parameter_constraints,
            **(
                {"objectives": objectives}
                if several
                else {"objective": f"-{problem.objectives[0]}"}
            ),
            "outcome_constraints": [f"{name} <= 0" for name in problem.constraints],
            "generation_strategy": strategy,
            "trials": {"total_trials": budget or problem.budget},
            "runner": {"command": ["true"]},
        }
    )


class Schedd:
    """What the loop and the worker do about generation, without the processes between them."""

    def __init__(self, definition: ExperimentDefinition) -> None:
        self.state = ExperimentState(definition, generators=registry.traits_of(definition))
        self.notes: list[str] = []
        self._made: dict[tuple[str, ...], Generator] = {}
        self._arms: dict[int, Parameters] = {}
        self._measured: dict[int, Mapping[str, tuple[float, float | None]]] = {}
        self._failed: list[int] = []

    def measured(self) -> MeasuredArms:
        """Return (parameters, metrics) of measured arms, in order of trial."""
        return tuple((self._arms[i], self._measured[i]) for i in sorted(self._measured))

    def failed(self, _reasons: Collection[str]) -> Arms:
        """Return arms that failed, in order of trial."""
        return tuple(self._arms[i] for i in sorted(self._failed))

    def arms(self) -> Arms:
        """Return all arms there are."""
        return tuple(self._arms.values())

    def ask(self) -> tuple[int, Parameters] | None:
        """Return the next trial's index and arm; None where no node has a new one."""
        while not is_exhausted(self.state):
            request = candidates.request(self.state, 1, candidates.known(self.state, self))
            reply = self._reply(request)
            arrived = candidates.arrivals(self.state, reply, 0.0)
            spent = candidates.spent(self.state, reply)
            self.state = replace(evolve(self.state, arrived), spent_nodes=spent)
            for trial in arrived.trials:
                return self._start(trial)
        return None

    def attach(self, arm: Parameters) -> int:
        """Take an arm written elsewhere as a trial that runs; return the trial's index."""
        index = self.state.tally.created
        admitted = self.state.definition.admit(arm)
        return self._start(Trial(index, (Arm(f"{index}_0", admitted),)))[0]

    def skip_the_start(self) -> None:
        """Count the strategy's first nodes as used up, so that a model is asked next."""
        nodes = nodes_of(self.state.definition)
        done = {index: node.trials or 0 for index, node in enumerate(nodes[:-1])}
        self.state = replace(self.state, tally=replace(self.state.tally, generated=done))

    def tell(self, index: int, metrics: Metrics | None) -> None:
        """Complete a trial, or fail it."""
        trial = self.state.active[index]
        if metrics is None:
            self._failed.append(index)
            self._change(trial.move(TrialStatus.FAILED, reason="EXIT_CODE"))
            return
        name = trial.arms[0].name
        self._measured[index] = {metric: (value, None) for metric, value in metrics.items()}
        observations = (Observation(index, 1, name, m, value) for m, value in metrics.items())
        self._change(trial.move(TrialStatus.COMPLETED), *observations)

    def _start(self, trial: Trial) -> tuple[int, Parameters]:
        self._arms[trial.index] = trial.arms[0].parameters
        self._change(trial.move(TrialStatus.STAGED).move(TrialStatus.RUNNING))
        return trial.index, self._arms[trial.index]

    def _change(self, trial: Trial, *observations: Observation) -> None:
        self.state = evolve(self.state, Changes(trials=(trial,), observations=observations))

    def _reply(self, request: GenerationRequest) -> GenerationReply:
        """Return the generator's reply, or Sobol's where it cannot answer, as the worker does."""
        try:
            reply, note = self._asked(request), ""
        except (GenerationError, MemoryError) as error:
            note = f"{request.generator} cannot answer ({error}); Sobol instead"
            self.notes.append(note)
            reply = self._asked(of_sobol(request))
        return replace(reply, note=note, node=request.node)

    def _asked(self, request: GenerationRequest) -> GenerationReply:
        key = request.generator, json.dumps(dict(request.options), sort_keys=True)
        if key not in self._made:
            self._made[key] = make(request)
        return self._made[key].generate(request)


def version(of: Problem, *, sobol: bool = False) -> str:
    """Return what changes when arms for such a problem do: a digest of those of short runs.

    What looks for a front is not what looks for one optimum, so each has runs of its own.
    """
    return _digest(front=len(of.objectives) > 1, sobol=sobol)


@functools.cache
def _digest(*, front: bool, sobol: bool) -> str:
    digest = hashlib.blake2b(digest_size=6)
    told_by = ((by_name()[name], mode) for name, mode in TOLD_BY)
    for whole, mode in told_by:
        if (len(whole.objectives) > 1) is not front:
            continue
        problem, name = replace(whole, budget=FIRST), whole.name
        system = Schedd(definition_of(by_name()[name], 0, sobol=sobol))
        play(problem, mode, 0, system)
        for arm in system.arms():
            digest.update(json.dumps([_rounded(value) for value in arm.values()]).encode())
    return digest.hexdigest()


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def measure(name: str, mode: str, seed: int, *, sobol: bool = False) -> tuple[dict[str, Any], Any]:
    """Return the record of one run, and its trace."""
    warnings.simplefilter("ignore")  # jitter added to a kernel: the worker's stderr, never shown
    problem = by_name()[name]
    system = Schedd(definition_of(problem, seed, sobol=sobol))
    start = time.perf_counter()
    run = play(problem, mode, seed, system)
    record = run.record() | {"wall": round(time.perf_counter() - start, 1)}
    if system.notes:
        record |= {"stepped_down": len(system.notes), "note": system.notes[0][:200]}
    return record, run.trace()


def main() -> int:
    arguments = _arguments()
    path = results.FOLDER / f"{arguments.tag}.jsonl"
    wanted = [
        ((arguments.tag, p, m, s), version(by_name()[p], sobol=arguments.sobol))
        for s, p, m in _jobs(arguments)
    ]
    versions = dict(wanted)
    todo = results.missing(path, wanted, any_version=arguments.stored)
    print(f"{len(wanted) - len(todo)} runs are in {path}, {len(todo)} to do", flush=True)
    for key, (record, trace) in _done(todo, arguments):
        names = dict(zip(("system", "problem", "mode", "seed"), key, strict=True))
        results.append(path, {**names, "version": versions[key], **record})
        if arguments.trace:
            with arguments.trace.open("a") as file:
                file.write(json.dumps({**names, "trace": trace}) + "\n")
        print(*key, record["regret"][-1], f"{record['wall']} s", flush=True)
    return 0


def _jobs(arguments: Namespace) -> Iterator[tuple[int, str, str]]:
    chosen = DEVELOPMENT if arguments.development else PROBLEMS
    names = arguments.problems.split(",") if arguments.problems else [p.name for p in chosen]
    unknown = set(names) - by_name().keys()
    if unknown:
        sys.exit(f"there is no problem {min(unknown)!r}; there are {', '.join(by_name())}")
    return product(results.numbers(arguments.seeds), names, arguments.modes.split(","))


def _done(todo: list[results.Key], arguments: Namespace) -> Iterator[tuple[results.Key, Any]]:
    """Yield each run as soon as it is done and those before it are."""
    if arguments.jobs == 1:
        for _, *job in todo:
            yield (arguments.tag, *job), measure(*job, sobol=arguments.sobol)
        return
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        futures = [(key, pool.submit(measure, *key[1:], sobol=arguments.sobol)) for key in todo]
        for key, future in futures:
            yield key, future.result()


def _arguments() -> Namespace:
    parser = ArgumentParser(description="Run schedd's generators on the benchmark problems.")
    parser.add_argument("--seeds", default="0-19")
    parser.add_argument("--problems", help="default: all that are reported")
    parser.add_argument("--development", action="store_true", help="those to choose defaults on")
    parser.add_argument("--modes", default=",".join(WORKERS))
    parser.add_argument("--tag", help="the system's name, and its file's; default: schedd")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--sobol", action="store_true", help="the baseline: nothing but Sobol")
    parser.add_argument("--stored", action="store_true", help="keep results of older code")
    parser.add_argument("--trace", type=Path, help="append every arm to this file")
    arguments = parser.parse_args()
    arguments.tag = arguments.tag or ("sobol" if arguments.sobol else "schedd")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
