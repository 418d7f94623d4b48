"""What is optimized: single, scalarized and several objectives, and what constrains them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scheduler.config.errors import ConfigError
from scheduler.config.load import load_text
from scheduler.model.best import best_outcome, is_feasible, pareto_front
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.objectives import Objective, OutcomeConstraint
from scheduler.model.observation import Outcome

FILE = """schema: schedd/v1
name: toy
parameters: [{name: x, type: range, bounds: [0, 1]}]
runner: {command: ["true"]}
"""


def define(**more):
    return ExperimentDefinition.model_validate(
        {
            "name": "toy",
            "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
            "runner": {"command": ["true"]},
            **more,
        }
    )


def objective(data):
    return Objective.model_validate(data)


@pytest.mark.parametrize(
    ("data", "weights", "minimize", "name"),
    [
        ("-loss", {"loss": 1}, True, "loss"),
        ("val-loss", {"val-loss": 1}, False, "val-loss"),
        ("-loss + 0.5 * accuracy", {"loss": -1, "accuracy": 0.5}, False, "0.5 * accuracy - loss"),
        ("-2 * loss", {"loss": 1}, True, "loss"),
        ("-a - 3*b", {"a": 1, "b": 3}, True, "a + 3 * b"),
        ("a-b - c/4", {"a-b": 1, "c": -0.25}, False, "a-b - 0.25 * c"),
        (
            {"metrics": {"loss": 1, "acc": -0.5}, "minimize": True},
            {"loss": 1, "acc": -0.5},
            True,
            "loss - 0.5 * acc",
        ),
        ({"metric": "loss", "minimize": True}, {"loss": 1}, True, "loss"),
    ],
)
def test_an_objective_is_a_sum_and_a_direction(data, weights, minimize, name):
    made = objective(data)
    assert (made.weights, made.minimize, made.name) == (weights, minimize, name)
    assert objective(json.loads(made.model_dump_json())) == made
    assert made.is_called(name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a + 1", "adds 1, which changes nothing; leave it out"),
        ("a - a", "is not an objective"),
        ("a * b", r"cannot read '\* b' in 'a \* b' as a linear term; write '-loss' to minimize"),
        ({"minimize": True}, "and this one has neither of them"),
        ({"metric": "a", "metrics": {"b": 1}, "minimize": True}, "and this one has both"),
        ({"metrics": {"b": 0}, "minimize": True}, "the weight of b is 0"),
    ],
)
def test_what_is_no_objective_is_said(data, message):
    with pytest.raises(ValidationError, match=message):
        objective(data)


WEIGHTS = st.dictionaries(
    st.sampled_from(["a", "b", "c.d", "e-f"]), st.floats(-1e6, 1e6).filter(bool), min_size=2
)


@given(WEIGHTS, st.booleans())
def test_a_sum_reads_back_from_its_own_name(weights, minimize):
    made = Objective(metrics=weights, minimize=minimize)
    again = objective(made.name)
    flip = -1.0 if again.minimize else 1.0
    assert {name: flip * weight for name, weight in again.weights.items()} == weights
    assert made.is_called(made.name.replace(" * ", "*"))


def test_the_value_of_a_sum_needs_all_of_its_metrics():
    made = objective("-loss + 0.5 * acc")
    assert made.value({"loss": 1.0, "acc": 4.0, "other": 9.0}) == 1.0
    assert made.value({"loss": 1.0}) is None
    assert objective("a + b").value({"a": 1e308, "b": 1e308}) is None
    assert made.better(2.0, 1.0)
    assert objective("-a").better(1.0, 2.0)


def outcomes(*means):
    return [Outcome(i, f"{i}_0", m) for i, m in enumerate(means)]


def test_the_best_of_a_sum():
    made = define(objective="-loss + 0.5 * acc", outcome_constraints=["acc <= 9"])
    seen = outcomes({"loss": 1, "acc": 2}, {"loss": 0, "acc": 3}, {"loss": -9, "acc": 99}, {})
    assert made.required_metrics == {"loss", "acc"} == set(made.metric_specs)
    assert best_outcome(made, seen, None) == seen[1]
    assert [is_feasible(made, o, None) for o in seen] == [True, True, False, False]


def test_sums_among_several_objectives():
    made = define(
        objectives=[{"metrics": {"a": 1, "b": 1}, "minimize": True, "threshold": 5}, "c"]
    )
    seen = outcomes(
        {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 3}, {"c": 9}
    )
    seen.append(Outcome(9, "9_0", {"a": 6, "b": 0, "c": 9}))
    assert pareto_front(made, seen, None) == [seen[0], seen[2]]


def test_a_comma_separates_objectives():
    made = define(objective="-latency, accuracy + 0.1 * recall")
    assert made.objective is None
    assert [(o.name, o.minimize) for o in made.all_objectives] == [
        ("latency", True),
        ("accuracy + 0.1 * recall", False),
    ]
    assert ExperimentDefinition.model_validate_json(made.canonical()) == made


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('objective: "-a, "', "5:12: '' is not an objective: cannot read '' in '' as a linear"),
        ('objective: "a, a"', "5:12: there are two objectives on 'a'"),
        (
            'objective: "a + l"\nmetrics: {loss: {}, a: {}}',
            "5:12: 'l' is not among the metrics",
        ),
        (
            'objective: "a + b"\nstopping_criteria: {goal: {metric: a, value: 1}}',
            "6:36: the goal is on 'a', not on the objective, 'a + b'",
        ),
        (
            'objective: "a, b"\nstopping_criteria: {goal: {value: 1}}',
            "6:27: the goal is on one of several objectives; add metric: 'a'",
        ),
        (
            'objective: "a, b"\nobjectives: [c, d]',
            "5:12: 'a, b' is not an objective: cannot read ', b' in 'a, b' as a linear term",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(lines, message):
    with pytest.raises(ConfigError) as error:
        load_text(FILE + lines, "f")
    assert str(error.value).startswith("f:" + message)


@pytest.mark.parametrize("goal", [{"value": 3}, {"metric": "b-c*1 +a", "value": 3}])
def test_a_goal_on_a_sum_may_leave_its_name_out(goal):
    text = "a + b-c" if "metric" in goal else "a + b"
    made = define(objective=text, stopping_criteria={"goal": goal})
    assert made.goal_objective == made.objective


def test_the_objective_itself_is_not_constrained_but_a_part_of_a_sum_may_be():
    assert define(objective="a + b", outcome_constraints=["a <= 3"])
    with pytest.raises(ValidationError, match="'a' is the objective; it cannot be constrained"):
        define(objective="a", outcome_constraints=["a <= 3"])


@pytest.mark.parametrize(
    "text", ["latency_ms <= 50", "m >= -1e-07", "m <= 1.1 * baseline", "m >= -5%", "m <= +0.5%"]
)
def test_an_outcome_constraint_reads_back(text):
    assert str(OutcomeConstraint.model_validate(text)) == text


@pytest.mark.parametrize(
    ("data", "baseline", "limit"),
    [
        ("m >= -5%", 200.0, 190.0),
        ("m >= -5 % of baseline", -200.0, -210.0),
        ("m <= +10%", -200.0, -180.0),
        ("m <= +10% of baseline", 0.0, 0.0),
        ("m <= 0%", 7.0, 7.0),
        ({"metric": "m", "op": ">=", "bound": -5, "relative": True}, 200.0, 190.0),
        ({"metric": "m", "op": ">=", "bound": -5, "relative": False}, 200.0, -5.0),
        ({"metric": "m", "op": ">=", "bound": 0.9, "relative": "factor"}, -200.0, -180.0),
        ("m <= baseline", 7.0, 7.0),
        ("m <= 1.5baseline", 2.0, 3.0),
    ],
)
def test_a_limit_relative_to_the_status_quo(data, baseline, limit):
    constraint = OutcomeConstraint.model_validate(data)
    assert constraint.limit({"m": baseline}) == limit
    assert constraint.holds({"m": limit}, {"m": baseline})
    worse = limit + (1e-9 if constraint.op == "<=" else -1e-9)
    assert not constraint.holds({"m": worse}, {"m": baseline})
    assert constraint.holds({"m": limit}, None) == (constraint.relative is None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m <= 95%", r"95% in 'm <= 95%' may be a change or a share; write '\+95%' for a change "),
        ("m <= 95% of baseline", "or '0.95 \\* baseline'"),
        ("m <= %", "is not an outcome constraint"),
        ("m <= 5 baseline %", "is not an outcome constraint"),
    ],
)
def test_what_a_percentage_is_of_must_be_clear(text, message):
    with pytest.raises(ValidationError, match=message):
        OutcomeConstraint.model_validate(text)
