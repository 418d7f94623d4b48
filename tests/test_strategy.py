"""Whose turn it is: nodes, transition criteria, methods and what they stand for."""

import pytest

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Changes, ExperimentState, Tally, evolve
from scheduler.model.nodes import Traits
from scheduler.model.observation import Outcome
from scheduler.model.strategy import describe, is_exhausted, nodes_of, turn
from scheduler.model.trial import Arm, Trial, TrialStatus

X = {"name": "x", "type": "range", "bounds": [0, 1]}
C = {"name": "c", "type": "choice", "values": ["a", "b", "c"]}


def definition(nodes=(), parameters=(X,), **changes):
    strategy = {"nodes": list(nodes), **changes.pop("strategy", {})}
    return ExperimentDefinition.model_validate(
        {
            "name": "e",
            "parameters": list(parameters),
            "objective": "-loss",
            "generation_strategy": strategy,
            "runner": {"command": ["true"]},
            **changes,
        }
    )


def whose(nodes, observed=0, spent=0, generators=None, **tally):
    state = ExperimentState(
        definition=definition(nodes),
        tally=Tally(**tally),
        outcomes=tuple(Outcome(i, f"{i}_0", {"loss": 1.0}) for i in range(observed)),
        spent_nodes=spent,
        generators=generators or {},
    )
    mine = turn(state)
    return mine.index, mine.generator, mine.missing


def two(**criteria):
    return [{"generator": "sobol", **criteria}, {"generator": "botorch"}]


CRITERIA = {
    "nothing made": (two(num_trials=4), {}, (0, "sobol", 4)),
    "some made": (two(num_trials=4), {"generated": {0: 3}}, (0, "sobol", 1)),
    "all made": (two(num_trials=4), {"generated": {0: 4}, "observed": 3}, (1, "botorch", None)),
    "the long form": (
        two(transition_criteria={"num_trials": 4}),
        {"generated": {0: 3}},
        (0, "sobol", 1),
    ),
    "made, and not completed": (
        two(num_trials=4, transition_criteria={"completed_trials": 2}),
        {"generated": {0: 6}, "completed": {0: 1}, "observed": 9},
        (0, "sobol", 0),
    ),
    "completed, and not made": (
        two(num_trials=4, transition_criteria={"completed_trials": 2}),
        {"generated": {0: 3}, "completed": {0: 3}, "observed": 9},
        (0, "sobol", 1),
    ),
    "made and completed": (
        two(num_trials=4, transition_criteria={"completed_trials": 2}),
        {"generated": {0: 4}, "completed": {0: 2}, "observed": 9},
        (1, "botorch", None),
    ),
    "others' completed trials do not count": (
        two(transition_criteria={"completed_trials": 2}),
        {"generated": {0: 4}, "completed": {1: 2}, "observed": 9},
        (0, "sobol", None),
    ),
    "too few observations": (
        two(transition_criteria={"observations": 5}),
        {"generated": {0: 9}, "observed": 4},
        (0, "sobol", None),
    ),
    "observations, whoever made the arms": (
        two(transition_criteria={"observations": 5}),
        {"observed": 5},
        (1, "botorch", None),
    ),
    "all must hold": (
        two(num_trials=1, transition_criteria={"completed_trials": 1, "observations": 5}),
        {"generated": {0: 1}, "completed": {0: 1}, "observed": 4},
        (0, "sobol", 0),
    ),
    "too little for the model's node": (
        two(num_trials=2),
        {"generated": {0: 2}, "observed": 2},
        (1, "sobol", None),
    ),
    "a node that was left is not come back to": (
        two(transition_criteria={"observations": 5}),
        {"generated": {0: 5, 1: 1}, "observed": 4},
        (1, "botorch", None),
    ),
    "a node without new arms is left": (
        [{"generator": "grid", "num_trials": 50}, {"generator": "botorch"}],
        {"generated": {0: 9}, "observed": 9, "spent": 1},
        (1, "botorch", None),
    ),
}


@pytest.mark.parametrize("case", CRITERIA, ids=str)
def test_whose_turn_it_is(case):
    nodes, fields, expected = CRITERIA[case]
    assert whose(nodes, **fields) == expected


def test_a_generator_waits_for_the_observations_that_it_says_it_needs():
    nodes, known = [{"generator": "mine"}], {"mine": Traits(min_observations=7)}
    assert whose(nodes, observed=6, generators=known)[1] == "sobol"
    assert whose(nodes, observed=7, generators=known)[1] == "mine"
    assert whose(nodes, observed=0, generators={"mine": Traits(learns=False)})[1] == "mine"


def test_the_experiment_is_exhausted_when_its_last_node_is():
    state = ExperimentState(definition(two(num_trials=3)), spent_nodes=1)
    assert not is_exhausted(state)
    assert is_exhausted(ExperimentState(state.definition, spent_nodes=2))


def test_completed_trials_are_counted_by_the_node_that_made_them():
    def trial(index, node, status):
        return Trial(index, (Arm(f"{index}_0", {"x": 0.5}),), status, node=node)

    done = [trial(0, 0, TrialStatus.COMPLETED), trial(1, 0, TrialStatus.FAILED)]
    done += [trial(2, 1, TrialStatus.COMPLETED), trial(3, None, TrialStatus.COMPLETED)]
    state = evolve(ExperimentState(definition()), Changes(trials=tuple(done)))
    assert state.tally.generated == {0: 2, 1: 1}
    assert state.tally.completed == {0: 1, 1: 1}


def made_of(**fields):
    return [(node.generator, node.num_trials) for node in nodes_of(definition(**fields))]


def many(count):
    return [{**X, "name": f"x{i}"} for i in range(count)]


def kinds(count):
    return {"name": f"k{count}", "type": "choice", "values": [f"v{i}" for i in range(count)]}


def test_the_start_follows_the_unordered_values_and_the_budget():
    assert made_of() == [("sobol", 5), ("botorch", None)]
    assert made_of(parameters=many(40)) == [("sobol", 5), ("botorch", None)]
    assert made_of(parameters=[X, kinds(3), kinds(6)]) == [("sobol", 12), ("botorch", None)]
    assert made_of(parameters=[X, kinds(500)]) == [("sobol", 33), ("botorch", None)]
    assert made_of(parameters=many(6), trials={"batch_size": 4})[0] == ("sobol", 2)


def test_arms_that_a_user_wrote_are_part_of_the_start():
    written = [{"name": f"a{i}", "parameters": {"x": i / 9}} for i in range(9)]
    quo = {"parameters": {"x": 0.5}}
    assert made_of(status_quo=quo)[0] == ("sobol", 4)
    assert made_of(status_quo=quo, arms=written[:2])[0] == ("sobol", 2)
    assert made_of(arms=written)[0] == ("sobol", 2)


def test_what_a_method_stands_for():
    assert made_of(strategy={"method": "fast"}) == [("sobol", 5), ("botorch", None)]
    assert made_of(strategy={"method": "quality"}) == [("sobol", 5), ("botorch", None)]
    _, node = nodes_of(definition(strategy={"method": "quality"}))
    assert node.options == {"kernels": ["smooth", "rough"]}
    assert made_of(strategy={"method": "random_search"}) == [("sobol", None)]


def test_a_space_that_the_budget_covers_is_put_on_a_grid():
    assert made_of(parameters=[C], trials={"total_trials": 3}) == [("grid", None)]
    assert made_of(parameters=[C], trials={"total_trials": 2})[1] == ("botorch", None)
    goal = {"stopping_criteria": {"goal": {"metric": "loss", "value": 0.0}}}
    assert made_of(parameters=[C], trials={"total_trials": 9}, **goal)[1] == ("botorch", None)
    fast = {"strategy": {"method": "fast"}}
    assert made_of(parameters=[C], trials={"total_trials": 9}, **fast)[1] == ("botorch", None)


def test_a_strategy_in_words():
    assert describe(definition()) == "sobol until 5 trials are made, then botorch"
    criteria = {"completed_trials": 3, "observations": 5}
    nodes = [{"generator": "grid", "num_trials": 4, "transition_criteria": criteria}]
    assert describe(definition([*nodes, {"generator": "sobol"}])) == (
        "grid until 4 trials are made and 3 have completed and 5 arms are measured, then sobol"
    )


@pytest.mark.parametrize(("transferred", "start"), [(0, 10), (1, 9), (4, 6), (500, 5)])
def test_arms_that_were_measured_elsewhere_shorten_the_start(transferred, start):
    made = definition(parameters=[X, kinds(6)])
    state = ExperimentState(made, transferred=transferred, tally=Tally(created=1))
    assert turn(state).missing == start


def test_arms_that_were_measured_elsewhere_are_enough_for_a_model():
    made = definition([{"generator": "botorch"}])
    assert turn(ExperimentState(made, transferred=1)).generator == "sobol"
    assert turn(ExperimentState(made, transferred=50)).generator == "botorch"
