"""CPU of the peers per trial, by the same rules as ``overhead.py``; run in the peers' own venv.

    python peers_overhead.py ax|optuna N      prints the figures of one run as a line of JSON

Six floats, trials that end at once, ten at a time, SQLite; imports and tables not counted. Ax: the
Orchestrator with Sobol and without its pauses; Optuna: random sampling in ten threads.
"""

import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from overhead import PARALLEL, PARAMETERS, Marks

NAMES = [axis["name"] for axis in PARAMETERS]
Mark = Callable[[int], None]
"""Notes the CPU used so far, and that so many trials have ended."""


def ax_run(url: str, trials: int) -> Callable[[Mark], None]:
    """Return a function that runs an experiment that is made already."""
    from ax.adapter.registry import Generators
    from ax.generation_strategy.generation_node import GenerationNode
    from ax.generation_strategy.generation_strategy import GenerationStrategy
    from ax.generation_strategy.generator_spec import GeneratorSpec
    from ax.orchestration.orchestrator import Orchestrator, OrchestratorOptions
    from ax.storage.sqa_store import db
    from ax.storage.sqa_store.structs import DBSettings

    logging.disable(logging.CRITICAL)
    db.init_engine_and_session_factory(url=url)
    db.create_all_tables(db.get_engine())
    experiment = ax_experiment()
    node = GenerationNode("sobol", [GeneratorSpec(Generators.SOBOL)])
    options = OrchestratorOptions(
        max_pending_trials=PARALLEL,
        total_trials=trials,
        min_seconds_before_poll=0.0,
        init_seconds_between_polls=0,
        logging_level=logging.CRITICAL,
    )
    strategy = GenerationStrategy(name="sobol", nodes=[node])
    orchestrator = Orchestrator(experiment, strategy, options, DBSettings(url=url))

    def run(mark: Mark) -> None:
        orchestrator.run_n_trials(trials, idle_callback=lambda _: mark(completed(experiment)))
        assert completed(experiment) == trials
        mark(trials)

    return run


def ax_experiment():
    from ax.core.experiment import Experiment
    from ax.core.objective import Objective
    from ax.core.optimization_config import OptimizationConfig
    from ax.core.parameter import ParameterType, RangeParameter
    from ax.core.search_space import SearchSpace
    from ax.metrics.hartmann6 import Hartmann6Metric
    from ax.runners.synthetic import SyntheticRunner

    metric = Hartmann6Metric("y", NAMES, noise_sd=0.0, lower_is_better=True)
    return Experiment(
        name="bench",
        search_space=SearchSpace([RangeParameter(n, ParameterType.FLOAT, 0, 1) for n in NAMES]),
        optimization_config=OptimizationConfig(Objective(metric=metric, minimize=True)),
        metrics=[metric],
        runner=SyntheticRunner(),
    )


def completed(experiment) -> int:
    from ax.core.base_trial import TrialStatus

    return len(experiment.trial_indices_by_status[TrialStatus.COMPLETED])


def optuna_run(url: str, trials: int) -> Callable[[Mark], None]:
    """Return a function that runs a study that is made already."""
    import optuna
    from optuna.samplers import RandomSampler
    from optuna.storages import RDBStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ended = iter(range(1, trials + 1))
    study = optuna.create_study(storage=RDBStorage(url), sampler=RandomSampler(seed=0))

    def objective(trial) -> float:
        return sum((trial.suggest_float(n, 0.0, 1.0) - 0.3) ** 2 for n in NAMES)

    def run(mark: Mark) -> None:
        callbacks = [lambda *_: mark(next(ended))]
        study.optimize(objective, n_trials=trials, n_jobs=PARALLEL, callbacks=callbacks)
        assert len(study.trials) == trials

    return run


def measure(peer: str, trials: int, folder: Path) -> dict[str, float]:
    """Run ``trials`` in ``folder``; return milliseconds per trial, as overhead.py does."""
    run = {"ax": ax_run, "optuna": optuna_run}[peer](f"sqlite:///{folder / 'peer.db'}", trials)
    imports = time.process_time()
    marks = Marks(time.process_time)
    run(marks.note)
    return {**marks.per_trial(trials), "imports_s": imports}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    name, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="peers-bench-") as place:
        print(json.dumps({"peer": name, "trials": count, **measure(name, count, Path(place))}))
