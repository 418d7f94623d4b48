"""The service door: a program asks for trials, carries them out and tells what came of them."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from places import either, url, urls

import scheduler
from scheduler import (
    Client,
    MaxParallelismReached,
    ModelError,
    ObjectiveProperties,
    ObjectNotFoundError,
    OptimizationComplete,
    ScheddError,
    UserInputError,
    outside,
)
from scheduler.loop import Loop
from scheduler.storage.store import Store

__all__ = ["either", "url", "urls"]

SPACE = [
    {"name": "x", "type": "range", "bounds": [-5.0, 10.0]},
    {"name": "layers", "type": "range", "bounds": [1, 8]},
    {"name": "kind", "type": "choice", "values": ["a", "b"], "sort_values": False},
]
MINIMIZE = ObjectiveProperties(minimize=True)
ONE_BY_ONE = {"max_pending_trials": 1}
SOBOL = {"nodes": [{"generator": "sobol"}]}


@pytest.fixture
def client(either):
    """A function that makes clients of one store, which are closed in the end."""
    made = []

    def make(**options) -> Client:
        options = {"storage": either, "generation_strategy": SOBOL} | options
        made.append(Client(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def begun(client):
    """A client whose experiment has two metrics."""
    mine = client()
    mine.create_experiment(
        SPACE,
        name="My_Test",
        objectives={"loss": MINIMIZE},
        outcome_constraints=["size <= 10"],
        tracking_metric_names=["seconds"],
        total_trials=20,
    )
    return mine


def statuses(client: Client) -> list[str]:
    return [row["trial_status"] for row in client.get_trials()]


# -- a whole experiment


def test_the_calls_of_ax_client_carry_an_experiment_to_its_end(client):
    mine = client(storage=None)
    mine.create_experiment(SPACE, objective_name="loss", minimize=True, total_trials=4)
    for number in range(4):
        parameters, index = mine.get_next_trial()
        assert (index, type(parameters["layers"])) == (number, int)
        mine.complete_trial(trial_index=index, raw_data=(parameters["x"] ** 2, 0.0))
    with pytest.raises(OptimizationComplete, match="all 4 trials have ended"):
        mine.get_next_trial()
    best, (means, covariances) = mine.get_best_parameters()
    assert means["loss"] == pytest.approx(best["x"] ** 2)
    assert covariances == {"loss": {"loss": 0.0}}
    assert means["loss"] == min(row["loss"] for row in mine.get_trials())


def test_the_calls_of_the_newer_client_do_too(client):
    mine = client(storage=None, generation_strategy=None)
    mine.configure_experiment(
        [{"name": "x", "type": "range", "bounds": [0.0, 1.0]}, SPACE[2]],
        name="n",
        parameter_constraints=["x <= 0.9"],
    )
    mine.configure_optimization("-loss", outcome_constraints=["size >= 1"])
    mine.configure_generation_strategy(method="random_search", initialization_random_seed=3)
    trials = mine.get_next_trials(max_trials=3)
    assert list(trials) == [0, 1, 2]
    for index, parameters in trials.items():
        mine.complete_trial(index, raw_data={"loss": parameters["x"], "size": (2, 0.1)})
    best, prediction, index, name = mine.get_best_parameterization(use_model_predictions=False)
    assert (prediction["size"], name) == ((2.0, 0.1), f"{index}_0")
    assert prediction["loss"][0] == best["x"] == min(p["x"] for p in trials.values())


def test_several_objectives_have_a_frontier(client):
    mine = client()
    mine.configure_experiment(SPACE[:1], name="m")
    mine.configure_optimization("a, -b", outcome_constraints=["a >= 0", "c <= 1"])
    a, b = mine.made.definition.objectives
    assert (a.threshold, b.threshold) == (0.0, None)
    for pair in [(1, 1), (2, 2), (1, 2), (-1, 0)]:
        _, index = mine.get_next_trial()
        mine.complete_trial(index, dict(zip("abc", (*pair, 0), strict=True)))
    frontier = mine.get_pareto_frontier(use_model_predictions=False)
    assert [index for _, _, index, _ in frontier] == [0, 1]
    assert list(mine.get_pareto_optimal_parameters(use_model_predictions=False)) == [0, 1]
    with pytest.raises(UserInputError, match="use get_pareto_frontier"):
        mine.get_best_parameterization()


# -- trials


def test_each_trial_knows_what_was_measured_until_it_was_asked_for(begun):
    """No more is proposed, or deployed, than was asked for."""
    for number in range(3):
        _, index = begun.get_next_trial()
        begun.complete_trial(index, {"loss": 1, "size": 1})
        state = begun.session.state()
        assert not any(t.status.is_pending for t in state.active.values()), number


def test_results_may_be_numbers_of_any_library(begun):
    import numpy

    _, index = begun.get_next_trial()
    raw = {"loss": (numpy.float32(0.5), numpy.nan), "size": numpy.int64(3), "seconds": [1, None]}
    begun.complete_trial(index, raw)
    (row,) = begun.get_trials()
    assert (row["loss"], row["loss_sem"], row["size"], row["seconds"]) == (0.5, None, 3.0, 1.0)


def test_data_attached_while_a_trial_runs_complete_it(begun):
    _, index = begun.get_next_trial()
    begun.attach_data(index, {"loss": 5, "size": 2})
    begun.update_running_trial_with_intermediate_data(index, {"loss": (3, 0.1)}, progression=10)
    begun.attach_data(index, {"loss": (2, 0.2)})
    assert statuses(begun) == ["RUNNING"]
    begun.complete_trial(index, {"seconds": 7})
    (row,) = begun.get_trials()
    assert (row["loss"], row["loss_sem"], row["size"], row["seconds"]) == (2.0, 0.2, 2.0, 7.0)
    from scheduler.storage import read

    record = begun.session.record(index)
    points = read.curves(begun.session.place.store, record, begun.session.experiment.id)
    assert [(p.metric, p.step, p.mean) for p in points] == [
        ("loss", 0.0, 5.0),
        ("loss", 10.0, 3.0),
        ("loss", 11.0, 2.0),
        ("size", 0.0, 2.0),
    ]


def test_trials_of_ones_own_come_with_their_names(begun):
    begun.get_next_trial()
    parameters, index = begun.attach_trial({"x": 1, "layers": 2, "kind": "a"}, arm_name="mine")
    assert (parameters, index) == ({"x": 1.0, "layers": 2, "kind": "a"}, 1)
    assert begun.get_trials()[1]["arm_name"] == "mine"
    assert statuses(begun) == ["RUNNING", "RUNNING"]
    with pytest.raises(UserInputError, match="there is an arm called 'mine' already"):
        begun.attach_trial(parameters, arm_name="mine")
    with pytest.raises(UserInputError, match=r"x = 11 is outside \[-5, 10\]"):
        begun.attach_trial(parameters | {"x": 11})


def test_a_trial_ends_as_it_is_said_to(begun):
    for _ in range(4):
        begun.get_next_trial()
    begun.mark_trial_failed(0, "it broke")
    begun.mark_trial_abandoned(1, "not wanted")
    begun.mark_trial_early_stopped(2, "hopeless")
    begun.log_trial_failure(3, {"node": 7})
    assert statuses(begun) == ["FAILED", "ABANDONED", "EARLY_STOPPED", "FAILED"]
    messages = [begun.session.record(index).trial.message for index in range(4)]
    assert messages == ["it broke", "not wanted", "hopeless", "node: 7"]
    for method in (begun.mark_trial_failed, begun.mark_trial_early_stopped, begun.complete_trial):
        with pytest.raises(UserInputError, match="trial 0 is FAILED; it awaits no result"):
            method(0)
    with pytest.raises(UserInputError, match="trial 0 has ended already: it is FAILED"):
        begun.mark_trial_abandoned(0)


def test_the_last_trials_of_others_are_not_waited_for(client):
    mine = client()
    mine.create_experiment(SPACE, objectives={"loss": MINIMIZE}, total_trials=2)
    mine.get_next_trials(2)
    with pytest.raises(
        OptimizationComplete, match="all 2 trials of experiment are made; 2 of the"
    ):
        mine.get_next_trial()
    mine.complete_trial(0, 1.0)
    with pytest.raises(OptimizationComplete, match="1 of them still run"):
        mine.get_next_trial()


def test_a_driver_that_has_none_to_give_is_not_waited_for(client, monkeypatch):
    mine = client()
    mine.create_experiment(SPACE, objectives={"loss": MINIMIZE}, max_pending_trials=2)
    mine.get_next_trials(2)

    def looks(_wait):
        yield False
        pytest.fail("it waits")

    monkeypatch.setattr(outside, "looks", looks)
    lease = mine.session.place.store.acquire(mine.session.experiment, 1.0)
    try:
        with pytest.raises(MaxParallelismReached):
            mine.get_next_trial()
    finally:
        lease.release()


def test_no_more_are_pending_than_may_be(client):
    mine = client()
    mine.create_experiment(SPACE, objectives={"loss": MINIMIZE}, max_pending_trials=2)
    assert list(mine.get_next_trials(max_trials=5)) == [0, 1]
    with pytest.raises(MaxParallelismReached, match="2 trials of experiment are pending"):
        mine.get_next_trial()
    with pytest.raises(UserInputError, match="2 trials of experiment are pending"):
        mine.attach_trial({"x": 0, "layers": 2, "kind": "a"})
    assert mine.get_max_parallelism() == [(-1, 2)]


def test_arms_of_a_batch_trial_are_reported_by_name(client):
    mine = client()
    options = {"trials": {"batch_size": 2, "total_trials": 5}}
    mine.create_experiment(SPACE, objectives={"loss": MINIMIZE}, options=options)
    arms, index = mine.get_next_trial()
    assert list(arms) == ["0_0", "0_1"]
    with pytest.raises(UserInputError, match="trial 0 has several arms, 0_0, 0_1"):
        mine.complete_trial(index, 1.0)
    mine.complete_trial(index, {"0_0": {"loss": 1}, "0_1": {"loss": (2, 0.1)}})
    assert [row["loss"] for row in mine.get_trials()] == [1.0, 2.0]


def test_the_baseline_is_the_status_quo(client):
    mine = client()
    mine.create_experiment(
        SPACE[:1],
        objectives={"loss": MINIMIZE},
        outcome_constraints=["qps >= 0.5 * baseline"],
        status_quo={"x": 1.0},
    )
    parameters, index = mine.get_next_trial()
    assert (parameters, mine.get_trials()[0]["arm_name"]) == ({"x": 1.0}, "status_quo")
    mine.complete_trial(index, {"loss": 1, "qps": 100})
    index = mine.attach_baseline()
    assert mine.get_trials()[index]["x"] == 1.0
    mine.complete_trial(index, {"loss": 0.5, "qps": 40})
    with_less = mine.get_best_parameterization(use_model_predictions=False)
    assert with_less[3] == "status_quo"


# -- the same experiment elsewhere


def test_an_experiment_is_shared_and_goes_on(begun, client, tmp_path):
    _, index = begun.get_next_trial()
    other = client()
    other.load_experiment("my-test")
    other.complete_trial(index, {"loss": 1, "size": 1})
    assert statuses(begun) == ["COMPLETED"]
    again = client()
    again.create_experiment(
        SPACE,
        name="My_Test",
        objectives={"loss": MINIMIZE},
        outcome_constraints=["size <= 10"],
        tracking_metric_names=["seconds"],
        total_trials=20,
    )
    assert again.get_next_trial()[1] == 1
    with pytest.raises(UserInputError, match="has another objective"):
        client().create_experiment(SPACE, name="my-test", objectives={"accuracy": MINIMIZE})
    with pytest.raises(ObjectNotFoundError, match="there is no experiment 'another'"):
        client().load_experiment("another")


def test_an_experiment_is_saved_and_loaded(begun, tmp_path):
    begun.get_next_trial()
    begun.complete_trial(0, {"loss": 1, "size": 1})
    file = tmp_path / "saved.json"
    begun.save_to_json_file(str(file))
    begun.get_next_trial()
    begun.save_to_json_file(str(file))
    with Client.load_from_json_file(str(file), wait=1) as loaded:
        assert loaded.get_trials() == begun.get_trials()
    file.write_text("{}\n")
    with pytest.raises(UserInputError, match="it is no export of schedd"):
        Client.load_from_json_file(str(file))
    assert sorted(p.name for p in tmp_path.iterdir() if "saved" in p.name) == ["saved.json"]


def test_the_driver_of_the_experiment_is_waited_for(begun, client):
    """Another process that holds the lease takes up what was said, or lets go of it."""
    _, index = begun.get_next_trial()
    store = Store.open(begun.session.place.url)
    lease = store.acquire(begun.session.experiment, 1.0)
    hasty = client(wait=0)
    hasty.load_experiment()
    with pytest.raises(scheduler.Busy, match="has not taken it up within 0 s; it is noted"):
        hasty.complete_trial(index, {"loss": 1, "size": 1})
    with pytest.raises(scheduler.NoTrialAvailable, match="another process drives it"):
        hasty.get_next_trial()
    lease.release()
    assert hasty.get_next_trial()[1] == 1
    assert statuses(begun) == ["COMPLETED", "RUNNING"]
    store.close()


def test_the_answer_is_of_the_moment_when_there_was_none(client, monkeypatch):
    """Another process ends a trial while this one puts it in words."""
    mine, other = client(), client()
    mine.create_experiment(SPACE, objectives={"loss": MINIMIZE}, options={"trials": ONE_BY_ONE})
    _, index = mine.get_next_trial()
    other.load_experiment()
    take = outside.Outside.take

    def overtaken(*given):
        found = take(*given)
        other.complete_trial(index, 1.0)
        return found

    monkeypatch.setattr(outside.Outside, "take", overtaken)
    with pytest.raises(MaxParallelismReached, match="1 trials of experiment are pending"):
        mine.get_next_trial()


def test_whose_a_folder_of_trials_is_is_an_error_of_its_own(begun, client, urls):
    begun.get_next_trial()
    other = client(storage=urls("another"))
    words = f"holds the trials of another experiment, my-test in {urls('s')};"
    with pytest.raises(scheduler.FolderTaken, match=re.escape(words)):
        other.create_experiment(SPACE, name="my-test", objectives={"loss": MINIMIZE})


WORKER = """
import sys
from scheduler import Client, OptimizationComplete
client = Client(sys.argv[1])
client.load_experiment()
while True:
    try:
        parameters, index = client.get_next_trial()
    except OptimizationComplete:
        break
    client.complete_trial(index, parameters["x"])
    print(index)
"""


def test_processes_share_an_experiment_and_do_no_trial_twice(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # beside a server, trials' folders are made where one is
    mine = Client(url, generation_strategy=SOBOL)
    mine.create_experiment(SPACE, objectives={"loss": MINIMIZE}, total_trials=8)
    command = [sys.executable, "-P", "-c", WORKER, url]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [worker.communicate(timeout=120) for worker in workers]
    assert [err for _, err in answers] == ["", ""]
    assert sorted(int(line) for out, _ in answers for line in out.split()) == list(range(8))
    assert statuses(mine) == ["COMPLETED"] * 8
    mine.close()


def test_a_trials_parameters_are_told_again(begun):
    parameters, index = begun.get_next_trial()
    assert begun.get_trial_parameters(trial_index=index) == parameters
    with pytest.raises(scheduler.ObjectNotFoundError, match="has no trial 7"):
        begun.get_trial_parameters(7)


def test_without_bayesian_optimization_arms_are_of_sobol(client):
    mine = client()
    mine.create_experiment(
        SPACE,
        objectives={"loss": MINIMIZE},
        choose_generation_strategy_kwargs={"no_bayesian_optimization": True},
    )
    strategy = mine.session.definition.generation_strategy
    assert [node.generator for node in strategy.nodes] == ["sobol"]


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({}, []),
        ({"num_trials": 30, "random_seed": 3}, []),
        ({"max_parallelism_cap": 3}, [("sobol", 5, None), ("botorch", None, 3)]),
        ({"num_initialization_trials": 0}, [("botorch", None, None)]),
        (
            {"num_initialization_trials": 9, "use_saasbo": True},
            [("sobol", 9, None), ("saasbo", None, None)],
        ),
    ],
)
def test_a_strategy_is_chosen_by_axs_keywords(keywords, expected):
    chosen = scheduler.choose_generation_strategy(None, **keywords)
    found = [(node.generator, node.num_trials, node.max_parallelism) for node in chosen.nodes]
    assert (found, chosen.seed) == (expected, keywords.get("random_seed", 0))


def test_threads_share_a_client_and_do_no_trial_twice(begun):
    def work(_number: int) -> list[int]:
        found = []
        for _ in range(2):
            _, index = begun.get_next_trial()
            begun.complete_trial(index, {"loss": 1, "size": 1})
            found.append(index)
        return found

    with ThreadPoolExecutor(3) as pool:
        indexes = [index for found in pool.map(work, range(3)) for index in found]
    assert sorted(indexes) == list(range(6))
    assert statuses(begun) == ["COMPLETED"] * 6


def test_a_trial_of_which_nobody_hears_is_given_up(begun, monkeypatch):
    """Ctrl-C after it was handed out, and before its index could be returned."""

    tick = Loop.tick

    def interrupted(loop):
        if any(command.verb == "begin" for command in loop.world.journal.commands()):
            raise KeyboardInterrupt
        return tick(loop)

    begun.get_next_trial()
    monkeypatch.setattr(Loop, "tick", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begun.get_next_trial()
    monkeypatch.undo()
    begun.complete_trial(0, {"loss": 1, "size": 1})
    assert statuses(begun) == ["COMPLETED", "ABANDONED"]


def test_a_temporary_store_lasts_as_long_as_its_client():
    with Client() as mine:
        mine.create_experiment(SPACE, objectives={"loss": MINIMIZE})
        folder = Path(mine.session.place.temporary)
        assert folder.is_dir()
    assert not folder.exists()


# -- mistakes


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (float("nan"), "the result is nan, not a finite number"),
        ("much", "the result is 'much', not a number"),
        (True, "the result is True, not a number"),
        ((1, 2, 3), r"the result is \(1, 2, 3\), not a number or \(mean, sem\)"),
        ((1, -1), "a standard error cannot be negative"),
        ({"los": 1}, "my-test has no metric 'los'; did you mean 'loss'?"),
        ({"loss": 1}, "arm 0_0 needs size as well"),
        ({"1_0": {"loss": 1}}, "trial 0 has no arm '1_0'; it has 0_0"),
        (None, "arm 0_0 needs loss, size as well"),
    ],
)
def test_a_mistake_gets_one_sentence_and_changes_nothing(begun, raw, sentence):
    _, index = begun.get_next_trial()
    with pytest.raises(UserInputError, match=sentence):
        begun.complete_trial(index, raw)
    assert statuses(begun) == ["RUNNING"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"parameters": [{"name": "x"}]}, "lacks the key 'type': range, choice"),
        ({"parameters": ["x"]}, "'x' is not a parameter, for example"),
        ({"parameters": [{**SPACE[0], "bounds": [1, 0]}]}, "bounds of x must rise"),
        ({"objectives": {"loss": 1}}, "write ObjectiveProperties"),
        ({"outcome_constraints": ["size"]}, "'size' is not an outcome constraint"),
        ({"parameter_constraints": ["x == 1"]}, "is not one inequality with <= or >="),
        ({"outcome_constraints": ["a <= baseline"]}, "but there is no status_quo"),
        (
            {"choose_generation_strategy_kwargs": {"winsorize": 1}},
            "argument 'winsorize'; give the",
        ),
        ({"options": {"runner": {"type": "nowhere"}}}, "nowhere"),
    ],
)
def test_an_experiment_that_makes_no_sense_is_refused(client, arguments, sentence):
    mine = client(storage=None)
    given = {"parameters": SPACE, "objectives": {"loss": MINIMIZE}} | arguments
    with pytest.raises(UserInputError, match=sentence):
        mine.create_experiment(**given)
    with pytest.raises(ScheddError):
        mine.get_next_trial()


def test_calls_in_the_wrong_order_are_told(client):
    mine = client()
    with pytest.raises(UserInputError, match="there is no experiment"):
        mine.get_next_trial()
    with pytest.raises(UserInputError, match="call configure_experiment first"):
        mine.configure_optimization("-loss")
    mine.configure_experiment(SPACE)
    with pytest.raises(UserInputError, match="there is no objective"):
        mine.get_next_trial()
    mine.configure_optimization("-loss")
    with pytest.raises(ObjectNotFoundError, match="has no trial 3"):
        mine.complete_trial(3, 1.0)
    with pytest.raises(UserInputError, match="there is an experiment already"):
        mine.configure_experiment(SPACE)
    with pytest.raises(ObjectNotFoundError, match="no trial has completed"):
        mine.get_best_parameterization()
    with pytest.raises(ModelError, match="no arm is measured; a model needs 3"):
        mine.predict([{"x": 0, "layers": 1, "kind": "a"}])
    with pytest.raises(UserInputError, match="this is no arm"):
        mine.predict([{"x": 0}])


def test_the_trials_of_another_runner_are_left_to_it(client, tmp_path):
    mine = client()
    runner = {"type": "local", "command": ["true"]}
    mine.create_experiment(SPACE, objectives={"loss": MINIMIZE}, options={"runner": runner})
    with pytest.raises(UserInputError, match="carried out by its runner, 'local'"):
        mine.get_next_trial()


def test_a_data_frame_needs_pandas(begun, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserInputError, match="pip install pandas"):
        begun.summarize()


# -- the model


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # gpytorch's import
def test_the_model_stays_warm_and_leaves_the_callers_threads_alone(client):
    import torch

    mine = client(storage=None, generation_strategy=None)
    kwargs = {"num_initialization_trials": 3}
    mine.create_experiment(
        SPACE[:1], objectives={"loss": MINIMIZE}, choose_generation_strategy_kwargs=kwargs
    )
    torch.set_num_threads(3)
    try:
        for _ in range(5):
            parameters, index = mine.get_next_trial()
            mine.complete_trial(index, (parameters["x"] - 2) ** 2)
        rows = mine.get_trials()
        (predicted,) = mine.predict([{"x": 2.0}])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert [row["generation_node"] for row in rows] == ["sobol"] * 3 + ["botorch"] * 2
    assert predicted["loss"][0] < min(row["loss"] for row in rows[:3])
    assert list(mine.get_model_predictions(["loss"])) == [0, 1, 2, 3, 4]


def test_every_name_of_the_front_door_is_there():
    for name in scheduler.__all__:
        assert getattr(scheduler, name)
    assert set(scheduler.__all__) <= set(dir(scheduler))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        scheduler.nothing  # noqa: B018
    assert set(scheduler.__all__) == set(scheduler._HOMES)
