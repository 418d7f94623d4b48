"""Makes the snapshots of Ax and the storage of Optuna that test_translate.py reads.

Run it in an environment of its own: ``pip install ax-platform optuna``, then ``python make.py ax``
(1.3.1), ``python make.py optuna`` (5.0.0), and with ax-platform 0.5.0 ``python make.py ax05``. In
schedd's own, ``python make.py expected`` writes again what comes of them, to be read with care.
"""

import json
import sqlite3
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
warnings.filterwarnings("ignore")


def ax() -> None:
    import pandas
    from ax.api.client import Client
    from ax.api.configs import (
        ChoiceParameterConfig,
        DerivedParameterConfig,
        RangeParameterConfig,
    )
    from ax.core.arm import Arm
    from ax.core.data import Data

    client = Client(random_seed=1)
    int_range = {"parameter_type": "int"}
    client.configure_experiment(
        name="net",
        description="Tune a network",
        parameters=[
            RangeParameterConfig("lr", (1e-5, 0.1), "float", scaling="log"),
            RangeParameterConfig("epochs", (10, 50), "int", step_size=10),
            RangeParameterConfig("warmup", (0, 20), **int_range),
            RangeParameterConfig("width", (1, 50), **int_range),
            ChoiceParameterConfig(
                "optimizer",
                ["sgd", "adamw"],
                "str",
                is_ordered=False,
                dependent_parameters={"sgd": ["momentum"]},
            ),
            RangeParameterConfig("momentum", (0.0, 0.99), "float"),
            ChoiceParameterConfig("data", ["cifar"], "str"),
            DerivedParameterConfig("size", expression_str="2 * width + warmup", **int_range),
        ],
        parameter_constraints=["warmup + width <= 60", "warmup <= epochs"],
    )
    client.configure_optimization(
        objective="-loss", outcome_constraints=["latency <= 50", "memory <= 1.1 * baseline"]
    )
    client.configure_tracking_metrics(["accuracy"])
    quo = {"lr": 0.01, "epochs": 50, "warmup": 5, "width": 8, "data": "cifar", "size": 21}
    sgd = {**quo, "optimizer": "sgd", "momentum": 0.9}
    adamw = {**quo, "optimizer": "adamw"}
    client.attach_baseline(sgd)
    client.complete_trial(0, {"loss": (0.5, 0.1), "latency": 30.0, "memory": 5})
    paper = client.attach_trial({**sgd, "lr": 0.02}, arm_name="paper")
    client.complete_trial(paper, {"loss": (0.4, 0.05), "latency": 30.0, "memory": 5})
    client.mark_trial_failed(client.attach_trial({**adamw, "lr": 0.03}))
    left = client.attach_trial({**adamw, "lr": 0.04})
    client.attach_data(left, {"loss": 0.7}, progression=2)
    client.mark_trial_abandoned(left)
    curve = client.attach_trial({**adamw, "lr": 0.05})
    client.attach_data(curve, {"loss": 1.0, "latency": 30.0}, progression=1)
    last = {"loss": 0.7, "latency": 31.0, "memory": 3, "accuracy": 0.9}
    client.attach_data(curve, last, progression=2)
    client.complete_trial(curve)
    early = client.attach_trial({**adamw, "lr": 0.06})
    client.attach_data(early, {"loss": 1.0}, progression=1)
    client.mark_trial_early_stopped(early)
    client.attach_trial({**adamw, "lr": 0.07})
    client.save_to_json_file(str(HERE / "ax.json"))
    client = Client()
    client.configure_experiment(
        name="front",
        parameters=[
            RangeParameterConfig("x", (0, 1), "float"),
            RangeParameterConfig("y", (0, 1), "float"),
        ],
    )
    client.configure_optimization(
        objective="accuracy, -latency", outcome_constraints=["latency <= 9"]
    )
    client.complete_trial(
        client.attach_trial({"x": 0.5, "y": 0.5}), {"accuracy": 0.9, "latency": 3}
    )
    batch = client._experiment.new_batch_trial()
    batch.add_arms_and_weights([Arm({"x": 0.1, "y": 0.2}), Arm({"x": 0.3, "y": 0.4})], [1, 2])
    batch.mark_running(no_runner_required=True)
    rows = [
        {
            "trial_index": 1,
            "arm_name": arm.name,
            "metric_name": m,
            "metric_signature": m,
            "sem": 0.1,
        }
        | {"mean": arm.parameters["x"]}
        for arm in batch.arms
        for m in ("accuracy", "latency")
    ]
    client._experiment.attach_data(Data(df=pandas.DataFrame(rows)))
    batch.mark_completed()
    client.save_to_json_file(str(HERE / "ax-front.json"))
    client.configure_optimization(objective="2 * accuracy - 0.5 * latency")
    client.save_to_json_file(str(HERE / "ax-sum.json"))


def ax05() -> None:
    from ax.service.ax_client import AxClient, ObjectiveProperties

    client = AxClient(random_seed=1, verbose_logging=False)
    client.create_experiment(
        name="branin",
        parameters=[
            {"name": "x1", "type": "range", "bounds": [-5.0, 10.0]},
            {"name": "x2", "type": "range", "bounds": [0.0, 10.0], "digits": 2},
            {"name": "n", "type": "range", "bounds": [1, 10], "log_scale": True},
            {"name": "k", "type": "choice", "values": ["a", "b", "c"], "is_ordered": False},
            {"name": "f", "type": "fixed", "value": 3},
            {"name": "b", "type": "choice", "values": [True, False]},
        ],
        objectives={
            "branin": ObjectiveProperties(minimize=True, threshold=10.0),
            "l2": ObjectiveProperties(minimize=False, threshold=1),
        },
        outcome_constraints=["q <= 1.25", "r >= 5%"],
        parameter_constraints=["x1 + x2 <= 15", "x1 <= x2"],
        tracking_metric_names=["t"],
        status_quo={"x1": 0.0, "x2": 1.0, "n": 1, "k": "a", "f": 3, "b": True},
    )
    for number in range(4):
        _, index = client.get_next_trial()
        if number == 1:
            client.log_trial_failure(index)
        else:
            values = {"branin": (number + 1.0, 0.1), "l2": 2.0, "q": 1.0, "r": 2.0, "t": 3.0}
            client.complete_trial(index, values)
    client.save_to_json_file(str(HERE / "ax-0.5.json"))
    client = AxClient(random_seed=1, verbose_logging=False)
    client.create_experiment(
        name="curves",
        parameters=[
            {"name": "x", "type": "range", "bounds": [-5.0, 10.0]},
            {
                "name": "h",
                "type": "choice",
                "values": ["p", "q"],
                "is_ordered": True,
                "dependents": {"p": ["x"]},
            },
        ],
        objectives={"loss": ObjectiveProperties(minimize=True)},
        support_intermediate_data=True,
    )
    curve = [({"epoch": k}, {"loss": (1.0 / k, 0.0)}) for k in (1, 2)]
    stopped = client.attach_trial({"x": 1.0, "h": "p"})[1]
    client.update_running_trial_with_intermediate_data(stopped, curve)
    client.stop_trial_early(stopped)
    client.complete_trial(client.attach_trial({"x": 2.0, "h": "p"})[1], curve)
    client.save_to_json_file(str(HERE / "ax-0.5-curves.json"))


def optuna() -> None:
    import optuna

    file = HERE / "optuna.db"
    url = f"sqlite:///{file}"

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        layers = trial.suggest_int("layers", 1, 8)
        trial.suggest_int("width", 16, 256, log=True)
        trial.suggest_float("drop", 0, 0.5, step=0.05)
        trial.suggest_int("epochs", 10, 50, step=20)
        trial.suggest_categorical("flag", [True, False])
        trial.suggest_categorical("mix", [None, 1, "a"])
        if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
            trial.suggest_float("momentum", 0, 0.99)
        if layers > 4:
            trial.suggest_float("decay", 0, 0.1)
        trial.report(lr, 1)
        if trial.number == 2:
            raise optuna.TrialPruned
        if trial.number == 3:
            raise ValueError
        return lr * layers

    sampler = optuna.samplers.RandomSampler(seed=2)
    study = optuna.create_study(storage=url, study_name="My Net", sampler=sampler)
    study.set_metric_names(["loss"])
    study.set_user_attr("team", "vision")
    study.optimize(objective, n_trials=11, catch=(ValueError,))
    study.ask()
    front = optuna.create_study(
        storage=url, study_name="front", directions=["minimize", "maximize"], sampler=sampler
    )
    front.optimize(lambda t: (t.suggest_float("x", 0, 1), t.suggest_int("y", 0, 3)), n_trials=3)
    dump = [line for line in sqlite3.connect(file).iterdump() if "alembic" not in line]
    (HERE / "optuna.sql").write_text("\n".join(dump) + "\n")
    file.unlink()


def smaller() -> None:
    """Leave out of the snapshots what takes most of their room and is never looked at."""
    for path in HERE.glob("ax*.json"):
        snapshot = json.loads(path.read_text())
        for trial in snapshot["experiment"]["trials"].values():
            for run in trial.get("generator_runs") or [trial["generator_run"]]:
                for key in run.keys() - {"__type", "arms", "weights", "generator_run_type"}:
                    del run[key]
        strategy = snapshot["generation_strategy"]
        if strategy:
            snapshot["generation_strategy"] = {k: strategy[k] for k in ("__type", "name")}
        path.write_text(json.dumps(snapshot, indent=1) + "\n")


def expected() -> None:
    sys.path.insert(0, str(HERE.parent.parent))
    from translated import CASES, imported

    for name in CASES:
        made = imported(name)
        (HERE / f"{name}.expected.yaml").write_text(made.text)
        if made.history is not None:
            (HERE / f"{name}.expected.csv").write_text(made.history)


if __name__ == "__main__":
    {"ax": ax, "ax05": ax05, "optuna": optuna, "expected": expected}[sys.argv[1]]()
    smaller()
