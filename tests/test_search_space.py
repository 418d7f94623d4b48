"""Which arms there are: derived parameters, dependent ones, and constraints on both."""

import json

import pytest
from pydantic import ValidationError

from scheduler.config.errors import ConfigError
from scheduler.config.load import load_text
from scheduler.model.definition import ExperimentDefinition

A = {"name": "a", "type": "range", "parameter_type": "int", "bounds": [0, 10]}
B = {"name": "b", "type": "range", "bounds": [-1, 1]}
TOTAL = {"name": "total", "type": "derived", "expression": "2 * a + b - 1"}
OPTIMIZER = {
    "name": "optimizer",
    "type": "choice",
    "values": ["sgd", "adamw", "lbfgs"],
    "dependent_parameters": {"sgd": ["momentum", "nesterov"], "adamw": ["decay"]},
}
MOMENTUM = {"name": "momentum", "type": "range", "bounds": [0, 0.99]}
NESTEROV = {
    "name": "nesterov",
    "type": "choice",
    "values": [True, False],
    "dependent_parameters": {True: ["damping"]},
}
DAMPING = {"name": "damping", "type": "range", "parameter_type": "int", "bounds": [1, 4]}
DECAY = {"name": "decay", "type": "fixed", "value": 0.1}
TREE = [DAMPING, OPTIMIZER, MOMENTUM, NESTEROV, DECAY]


def define(*parameters, constraints=(), **more):
    return ExperimentDefinition.model_validate(
        {
            "name": "toy",
            "parameters": parameters,
            "parameter_constraints": constraints,
            "objective": "-loss",
            "runner": {"command": ["true"]},
            **more,
        }
    )


def test_a_derived_parameter_is_computed_and_may_be_given_if_it_agrees():
    space = define(TOTAL, A, B)
    arm = {"total": 5.5, "a": 3, "b": 0.5}
    assert space.admit({"a": 3, "b": 0.5}) == arm
    assert list(space.admit(arm)) == ["total", "a", "b"]
    assert space.admit({**arm, "total": 5.5 + 1e-12}) == arm
    for wrong in (5.6, "5.5", True):
        with pytest.raises(ValueError, match=r"but it is derived: .* gives 5.5; leave it out"):
            space.admit({**arm, "total": wrong})
    assert ExperimentDefinition.model_validate_json(space.canonical()) == space


def test_a_derived_int_is_an_int():
    batch = {"name": "batch", "type": "choice", "values": [16, 32]}
    total = {**TOTAL, "parameter_type": "int", "expression": "a + 2 * batch + f"}
    value = define(A, batch, {"name": "f", "type": "fixed", "value": 7}, total)
    assert value.admit({"a": 3, "batch": 16})["total"] == 42
    assert type(value.admit({"a": 3, "batch": 16})["total"]) is int


def test_a_constraint_on_a_derived_parameter_is_one_on_what_it_is_derived_from():
    fixed = {"name": "f", "type": "fixed", "value": 2}
    total = {**TOTAL, "expression": "2 * a + b - 1 + f"}
    space = define(A, B, fixed, total, constraints=["total - b <= 7"])
    (constraint,) = space.search_space.constraints
    assert {n: w for n, w in constraint.weights.items() if w} == {"a": 2}
    assert constraint.bound == 6
    assert space.admit({"a": 3, "b": 1})
    with pytest.raises(ValueError, match="breaks the parameter constraint total - b <= 7"):
        space.admit({"a": 4, "b": 1})


@pytest.mark.parametrize(
    ("arm", "full"),
    [
        ({"optimizer": "lbfgs"}, {"optimizer": "lbfgs"}),
        ({"optimizer": "adamw"}, {"optimizer": "adamw", "decay": 0.1}),
        (
            {"nesterov": False, "momentum": 0, "optimizer": "sgd"},
            {"optimizer": "sgd", "momentum": 0.0, "nesterov": False},
        ),
        (
            {"nesterov": True, "momentum": 0, "optimizer": "sgd", "damping": 2},
            {"damping": 2, "optimizer": "sgd", "momentum": 0.0, "nesterov": True},
        ),
    ],
)
def test_an_arm_has_the_active_parameters_only(arm, full):
    admitted = define(*TREE).admit(arm)
    assert list(admitted.items()) == list(full.items())


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({}, "the arm has no value for optimizer"),
        ({"optimizer": "sgd", "momentum": 0.5}, "the arm has no value for nesterov"),
        (
            {"optimizer": "adamw", "momentum": 0.5},
            "momentum is active only where optimizer is 'sgd', and here optimizer is 'adamw'",
        ),
        (
            {"optimizer": "sgd", "momentum": 0, "nesterov": True},
            "the arm has no value for damping",
        ),
        (
            {"optimizer": "lbfgs", "damping": 2},
            "damping is not active: nesterov is active only where optimizer is 'sgd', and here",
        ),
        ({"optimizer": "lbfgs", "decay": 0.1}, "decay is active only where optimizer is 'adamw'"),
        ({"optimizer": "sdg"}, "optimizer = 'sdg' is not one of 'sgd', 'adamw', 'lbfgs'"),
        ({"optimiser": "sgd"}, "'optimiser' is not a parameter of .*; did you mean 'optimizer'"),
    ],
)
def test_why_an_arm_is_not_admitted(arm, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        define(*TREE).admit(arm)


def test_arms_are_counted_along_the_tree():
    stepped = {**MOMENTUM, "step_size": 0.33}
    space = define(DAMPING, OPTIMIZER, stepped, NESTEROV, DECAY, A)
    # sgd: 4 momenta times (4 dampings or none); adamw and lbfgs: one each.
    assert space.cardinality == 11 * (4 * (4 + 1) + 1 + 1)


def test_a_constraint_applies_where_all_its_parameters_are_active():
    more = {"name": "more", "type": "derived", "expression": "damping + a"}
    space = define(*TREE, A, more, constraints=["more <= 3", "damping >= 2"])
    assert space.admit({"optimizer": "lbfgs", "a": 9}) == {"optimizer": "lbfgs", "a": 9}
    sgd = {"optimizer": "sgd", "momentum": 0.0, "nesterov": True, "damping": 2}
    assert space.admit({**sgd, "a": 1})["more"] == 3
    for bad in ({**sgd, "a": 2}, {**sgd, "a": 0, "damping": 1}):
        with pytest.raises(ValueError, match="breaks the parameter constraint"):
            space.admit(bad)
    with pytest.raises(ValueError, match="damping is not active"):
        space.admit({"optimizer": "lbfgs", "a": 9, "more": 12})


def test_values_of_any_type_may_have_dependents():
    numbers = {
        "name": "n",
        "type": "choice",
        "values": [1.0, 2],
        "dependent_parameters": {2: ["a"]},
    }
    fixed = {"name": "f", "type": "fixed", "value": 3, "dependent_parameters": {3: ["b"]}}
    space = define(numbers, A, fixed, B)
    assert space.admit({"n": 1, "b": 0}) == {"n": 1.0, "f": 3, "b": 0.0}
    assert space.admit({"n": 2, "a": 1, "b": 0}) == {"n": 2.0, "a": 1, "f": 3, "b": 0.0}
    again = ExperimentDefinition.model_validate(json.loads(space.canonical()))
    assert again == space
    assert again.search_space.conditions == space.search_space.conditions


def dependents(**names):
    return {**OPTIMIZER, "dependent_parameters": names}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([dependents(sdg=["a"]), A], "dependent_parameters for sdg, which is not one of its val"),
        ([dependents(sgd=["x"]), A], "'x', a dependent of optimizer, is no parameter"),
        ([dependents(sgd=["optimizer"])], "optimizer would depend on itself by way of optimizer"),
        (
            [
                dependents(sgd=["nesterov"]),
                {**NESTEROV, "dependent_parameters": {"true": ["optimizer"]}},
            ],
            "optimizer would depend on itself by way of nesterov",
        ),
        (
            [dependents(sgd=["a"]), A, {**NESTEROV, "dependent_parameters": {True: ["a"]}}],
            "a depends on optimizer already; it has one parent",
        ),
        ([dependents(sgd=["total"]), A, B, TOTAL], "total is derived: it is active where all"),
        ([A, {**TOTAL, "expression": "a * a"}], r"cannot read '\* a' in 'a \* a' as a linear"),
        ([A, {**TOTAL, "expression": "a - a"}], "'a - a' depends on no parameter"),
        ([A, {**TOTAL, "expression": "aa + 1"}], "derived from 'aa', which is not a parameter"),
        ([A, B, TOTAL, {**TOTAL, "name": "t", "expression": "total"}], "which is derived itself"),
        ([OPTIMIZER, {**TOTAL, "expression": "optimizer"}], "which is not a number but a str"),
        ([A, B, {**TOTAL, "parameter_type": "int"}], "total is an int, so all numbers and para"),
        ([A, {**TOTAL, "parameter_type": "int", "expression": "a / 2"}], "total is an int, so"),
    ],
)
def test_spaces_that_mean_nothing_are_refused(parameters, message):
    with pytest.raises(ValidationError, match=message):
        define(*parameters)


@pytest.mark.parametrize(
    ("parameters", "constraint", "message"),
    [
        ([A, B, TOTAL], "total - 2 * a - b <= 3", "depends on no parameter once derived ones are"),
        (
            [
                {**B, "name": "lr", "bounds": [1, 2], "scaling": "log"},
                {**TOTAL, "expression": "lr"},
            ],
            "total <= 1",
            "names 'total', which is derived from 'lr', which has log scaling",
        ),
        ([OPTIMIZER, *TREE[2:], DAMPING], "optimizer <= 1", "a choice parameter; only range par"),
    ],
)
def test_constraints_that_mean_nothing_are_refused(parameters, constraint, message):
    with pytest.raises(ValidationError, match=message):
        define(*parameters, constraints=[constraint])


def test_a_command_names_no_parameter_that_some_arms_lack():
    text = """schema: schedd/v1
name: toy
parameters:
  - {name: c, type: choice, values: [true, false], dependent_parameters: {"true": [x]}}
  - {name: x, type: range, bounds: [0, 1]}
  - {name: y, type: derived, expression: 2 * x}
objective: -loss
runner: {command: [echo, "{params.c}", "NAME"]}
"""
    assert load_text(text.replace("NAME", "x"), "f")
    for name in ("x", "y"):
        with pytest.raises(ConfigError) as error:
            load_text(text.replace("NAME", f"{{params.{name}}}"), "f")
        assert str(error.value).startswith(
            f"f:8:40: {{params.{name}}} has a value only where c is true; read it from parameters"
        )


def test_constraints_that_exclude_each_other_in_a_branch_are_no_mistake():
    text = """schema: schedd/v1
name: toy
parameters:
  - {name: c, type: choice, values: [a, b], dependent_parameters: {a: [x]}}
  - {name: x, type: range, bounds: [0, 1]}
  - {name: y, type: range, bounds: [0, 1]}
parameter_constraints: [x >= 2, y <= 0.5]
objective: -loss
runner: {command: [echo]}
"""
    assert load_text(text, "f")
    with pytest.raises(ConfigError, match="f:7:33: no point of the search space satisfies 'y <= "):
        load_text(text.replace("0.5", "-0.5"), "f")
