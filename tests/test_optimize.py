"""The loop door: a function is optimized by one call."""

import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from places import either, urls

from scheduler import EvaluationsFailed, ObjectNotFoundError, UserInputError, optimize

__all__ = ["either", "urls"]

SPACE = [
    {"name": "x", "type": "range", "bounds": [-5.0, 10.0]},
    {"name": "y", "type": "range", "bounds": [0.0, 15.0]},
]
SOBOL = {"nodes": [{"generator": "sobol"}]}


def bowl(parameters):
    return (parameters["x"] - 1) ** 2 + parameters["y"], 0.0


def run(function=bowl, **more):
    given = {"objective_name": "bowl", "minimize": True, "generation_strategy": SOBOL}
    return optimize(SPACE, function, **{**given, "total_trials": 4, **more})


def rows(optimized):
    return optimized.experiment.get_trials()


def test_the_best_of_all_that_was_evaluated_is_returned():
    best, values, experiment, _ = found = run()
    assert len(rows(found)) == 4
    assert values[0]["bowl"] == min(row["bowl"] for row in rows(found)) == bowl(best)[0]
    assert values[1] == {"bowl": {"bowl": 0.0}}
    experiment.close()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # gpytorch's import
def test_a_model_finds_what_sobol_does_not():
    found = run(generation_strategy=None, total_trials=9)
    assert {row["generation_node"] for row in rows(found)} == {"sobol", "botorch"}
    assert found.values[0]["bowl"] < 0.1
    (moments,) = found.model.predict([{"x": 1.0, "y": 0.0}])
    assert abs(moments["bowl"][0]) < 1


def test_constraints_hold_and_metrics_may_be_several():
    found = run(
        lambda p: {"bowl": bowl(p), "size": (p["y"], 0.0)},
        parameter_constraints=["x + y <= 10"],
        outcome_constraints=["size >= 3"],
        total_trials=6,
    )
    assert all(row["x"] + row["y"] <= 10 for row in rows(found))
    assert found.best_parameters["y"] >= 3
    feasible = [row["bowl"] for row in rows(found) if row["size"] >= 3]
    assert found.values[0]["bowl"] == min(feasible)


def test_where_no_arm_is_feasible_the_nearest_is_returned_and_that_is_said(caplog):
    found = run(
        lambda p: {"bowl": bowl(p), "size": (p["y"], 0.0)}, outcome_constraints=["size <= -1"]
    )
    assert "no arm is feasible" in caplog.text
    assert found.values[0]["size"] == min(row["size"] for row in rows(found))


def test_several_run_at_a_time():
    together = threading.Barrier(3)

    def waits_for_the_others(parameters):
        together.wait(timeout=60)
        return bowl(parameters)

    found = run(waits_for_the_others, n_jobs=3, total_trials=6)
    assert [row["trial_status"] for row in rows(found)] == ["COMPLETED"] * 6


def test_processes_of_ones_own_may_evaluate():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        found = run(executor=executor, total_trials=2)
    assert len(rows(found)) == 2


def test_arms_of_a_batch_come_with_their_weights():
    seen = []

    def weighted(parameters, weight):
        seen.append(weight)
        return bowl(parameters)

    found = run(weighted, arms_per_trial=2, total_trials=2)
    assert seen == [1.0] * 4
    assert [row["arm_name"] for row in rows(found)] == ["0_0", "0_1", "1_0", "1_1"]


def test_equal_calls_give_equal_arms_and_another_seed_others():
    first, again, other = (rows(run(random_seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert [r["x"] for r in first] != [r["x"] for r in other]


# -- what goes wrong


def test_an_exception_fails_its_trial_and_is_logged(caplog):
    def breaks_once(parameters):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of luck")
        return float("nan") if len(calls) == 3 else bowl(parameters)

    calls: list[int] = []
    found = run(breaks_once)
    statuses = [row["trial_status"] for row in rows(found)]
    assert statuses == ["COMPLETED", "FAILED", "FAILED", "COMPLETED"]
    trial = found.experiment.session.record(1).trial
    assert trial.message == "RuntimeError: out of luck"
    assert "RuntimeError: out of luck" in caplog.text
    assert "the result is nan, not a finite number" in caplog.text


def test_where_most_evaluations_fail_that_is_raised(caplog):
    def broken(_parameters):
        raise ZeroDivisionError("by zero")

    sentence = "5 of 5 trials failed; 50% are tolerated; the last: ZeroDivisionError: by zero"
    with pytest.raises(EvaluationsFailed, match=sentence) as raised:
        run(broken, total_trials=20)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(EvaluationsFailed, match="all 2 trials have ended, and none of them"):
        run(broken, total_trials=2)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_keeps_what_is_done_and_another_call_goes_on(n_jobs, either):
    calls: list[int] = []

    def interrupted(parameters):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return bowl(parameters)

    found = run(interrupted, storage=either, n_jobs=n_jobs)
    statuses = [row["trial_status"] for row in rows(found)]
    assert statuses.count("COMPLETED") >= 2 - (n_jobs - 1)
    assert set(statuses) == {"COMPLETED", "ABANDONED"}
    assert found.best_parameters
    found.experiment.close()
    more = run(storage=either)
    assert len(rows(more)) == 4
    assert [row["x"] for row in rows(more)][:2] == [row["x"] for row in rows(found)][:2]


def test_ctrl_c_before_anything_is_done_leaves_nothing_to_return():
    def interrupted(_parameters):
        raise KeyboardInterrupt

    with pytest.raises(ObjectNotFoundError, match="no trial has completed"):
        run(interrupted)


def test_a_bar_is_drawn_where_it_is_wanted(capsys):
    run(progress=True, total_trials=2)
    assert "trials" in capsys.readouterr().err
    run(total_trials=2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_jobs": 0}, "n_jobs is 0; it is at least 1"),
        ({"total_trials": 0}, "total_trials"),
        ({"outcome_constraints": ["bowl <= 1"]}, "cannot be constrained as well"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(arguments, sentence):
    with pytest.raises(UserInputError, match=sentence):
        run(**arguments)
