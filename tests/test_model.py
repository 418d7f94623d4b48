"""The nouns: every pair of statuses, what parameters admit, what constraints mean."""

import itertools
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from scheduler.model.base import parse_duration, plain
from scheduler.model.constraints import ParameterConstraint, parse_inequality
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.parameters import ChoiceParameter, FixedParameter, Parameter, RangeParameter
from scheduler.model.trial import TRANSITIONS, Arm, InvalidTransition, Trial, TrialStatus

PARAMETER = TypeAdapter(Parameter)
ALLOWED = {
    "CANDIDATE": "STAGED ABANDONED",
    "STAGED": "CANDIDATE RUNNING FAILED ABANDONED",
    "RUNNING": "CANDIDATE STAGED COMPLETED FAILED ABANDONED EARLY_STOPPED",
    "COMPLETED": "",
    "FAILED": "CANDIDATE",
    "ABANDONED": "CANDIDATE",
    "EARLY_STOPPED": "",
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(TrialStatus, TrialStatus)))
def test_a_trial_moves_only_along_the_table(before, after):
    trial = Trial(3, (Arm("3_0", {"x": 1}),), before)
    if after.value in ALLOWED[before.value].split():
        assert trial.move(after, message="why") == Trial(3, trial.arms, after, message="why")
    else:
        with pytest.raises(InvalidTransition, match=f"trial 3 cannot go from {before} to {after}"):
            trial.move(after)


def test_every_status_has_a_row_and_final_ones_lead_nowhere_by_themselves():
    assert set(TRANSITIONS) == set(TrialStatus)
    for status in TrialStatus:
        assert status.is_final == (TRANSITIONS[status] <= {TrialStatus.CANDIDATE})


def ranges():
    numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
    wide = st.floats(0.01, 1e6).map(lambda x: round(x, 3))
    steps = st.none() | st.sampled_from([0.1, 0.01, 0.25, 1 / 3, 0.7])

    def build(low, width, step):
        step = step if step and step <= width else None
        return RangeParameter(name="x", bounds=(low, low + width), step_size=step)

    return st.builds(build, numbers, wide, steps)


@example(RangeParameter(name="x", bounds=(128.0, 128.01), step_size=0.01), 128.01)
@given(ranges(), st.floats(-1e7, 1e7))
def test_the_nearest_value_is_admitted_and_its_own_nearest(parameter, number):
    nearest = parameter.nearest(number)
    assert parameter.cast(nearest) == nearest == parameter.nearest(nearest)


@given(st.integers(-1000, 1000), st.integers(1, 1000), st.integers(1, 50), st.floats(-2000, 2000))
def test_whole_numbers_stay_whole_and_on_their_grid(low, width, step, number):
    parameter = RangeParameter(
        name="n", parameter_type="int", bounds=(low, low + width), step_size=min(step, width)
    )
    nearest = parameter.nearest(number)
    assert type(nearest) is int
    assert (nearest - low) % min(step, width) == 0
    assert parameter.cast(float(nearest)) == nearest


def test_the_last_point_of_a_grid_is_admitted_despite_rounding():
    parameter = RangeParameter(name="x", bounds=(0, 0.3), step_size=0.1)
    assert parameter.cardinality == 4
    assert parameter.cast(parameter.nearest(0.3)) == 0.3


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ({"bounds": (0, 1)}, 2, "x = 2 is outside [0, 1]"),
        ({"bounds": (0, 1)}, "a", "x = 'a' is not a number"),
        ({"bounds": (0, 1)}, True, "x = True is not a number"),
        (
            {"bounds": (0, 10**12), "step_size": 10},
            10**11 + 3,
            "x = 100000000003 is not on its grid; the nearest value is 100000000000.0",
        ),
        ({"type": "choice", "values": [1, 2]}, True, "x = True is not one of 1, 2"),
        ({"type": "choice", "values": ["a", "b"]}, "c", "x = 'c' is not one of 'a', 'b'"),
        ({"type": "fixed", "value": "a"}, "b", "x is fixed at 'a', not 'b'"),
    ],
)
def test_what_is_not_admitted_is_said(parameter, value, message):
    built = PARAMETER.validate_python({"name": "x", "type": "range", **parameter})
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        built.cast(value)


@pytest.mark.parametrize(
    ("values", "kind", "typed", "ordered"),
    [
        ([1, 2], "int", (1, 2), True),
        ([1, 2.5], "float", (1.0, 2.5), True),
        (["a", 1], "str", ("a", "1"), False),
        ([True, False], "bool", (True, False), False),
    ],
)
def test_a_choice_finds_its_type(values, kind, typed, ordered):
    choice = ChoiceParameter(name="c", values=values)
    assert (choice.parameter_type, choice.values, choice.is_ordered) == (kind, typed, ordered)


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "choice", "values": []},
        {"type": "choice", "values": [1, 1.0]},
        {"type": "choice", "values": [None]},
        {"type": "choice", "values": [[1]]},
        {"type": "choice", "values": [1, True]},
        {"type": "choice", "values": [float("inf")], "parameter_type": "int"},
        {"type": "choice", "values": [float("nan")]},
        {"type": "choice", "values": [2**60]},
        {"type": "fixed", "value": None},
        {"type": "range", "bounds": (1, 1)},
        {"type": "range", "bounds": (0, 1), "scaling": "log"},
        {"type": "range", "bounds": (1, 2), "scaling": "log", "step_size": 1},
        {"type": "range", "bounds": (0, 1.5), "parameter_type": "int"},
        {"type": "range", "bounds": (-1e308, 1e308)},
        {"type": "range", "bounds": (0, 1e10), "step_size": 1e-300},
        {"type": "range", "bounds": (0, 1), "step_size": 2},
    ],
)
def test_parameters_that_mean_nothing_are_refused(bad):
    with pytest.raises(ValidationError):
        PARAMETER.validate_python({"name": "x", **bad})


def test_a_fixed_parameter_has_its_value_and_type():
    fixed = FixedParameter(name="d", value=3)
    assert (fixed.cast(3), fixed.parameter_type, fixed.cardinality) == (3, "int", 1)


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True)
NUMBERS = st.floats(-1e12, 1e12).filter(bool)
CONSTRAINTS = st.builds(
    lambda weights, bound: ParameterConstraint(weights=weights, bound=bound),
    st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=5),
    st.floats(-1e12, 1e12),
)


@given(CONSTRAINTS)
def test_a_constraint_reads_back_from_its_own_text(constraint):
    again = ParameterConstraint.model_validate(str(constraint))
    assert again == constraint


@given(CONSTRAINTS, st.floats(-1e6, 1e6))
def test_both_sides_of_an_inequality_count(constraint, moved):
    text = str(constraint).replace("<=", f"+ {plain(abs(moved))} <= {plain(abs(moved))} +", 1)
    weights, bound = parse_inequality(text)
    assert weights == constraint.weights
    assert bound == pytest.approx(constraint.bound, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "weights", "bound"),
    [
        ("2 * warmup <= epochs", {"warmup": 2, "epochs": -1}, 0),
        ("2warmup<=epochs", {"warmup": 2, "epochs": -1}, 0),
        ("a + b - 0.5 * c <= 10", {"a": 1, "b": 1, "c": -0.5}, 10),
        ("x >= 1e-5", {"x": -1}, -1e-5),
        ("x <= 1e5", {"x": 1}, 1e5),
        ("x / 2 + 3 <= -x - -y", {"x": 1.5, "y": -1}, -3),
        ("x <= x + y", {"y": -1}, 0),
    ],
)
def test_a_constraint_as_text(text, weights, bound):
    assert parse_inequality(text) == (weights, bound)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "x < 3", "x <=", "<= 3", "x * y <= 1", "x <= 3 <= y", "2 x y <= 1", "x == 1"),
        *("x / 0 <= 1", "1 <= 2", "x <= x", "(x + y) <= 3", "x ** 2 <= 1"),
    ],
)
def test_what_is_no_linear_inequality_is_refused(text):
    with pytest.raises(ValidationError):
        ParameterConstraint.model_validate(text)


def test_order_and_sum_are_linear_too():
    order = {"type": "order", "lower_parameter": "a", "upper_parameter": "b"}
    assert str(ParameterConstraint.model_validate(order)) == "a - b <= 0"
    total = {"type": "sum", "parameters": ["a", "b"], "bound": 3, "is_upper_bound": False}
    assert str(ParameterConstraint.model_validate(total)) == "-a - b <= -3"
    assert ParameterConstraint.model_validate(total).holds({"a": 1, "b": 2})
    assert not ParameterConstraint.model_validate(total).holds({"a": 1, "b": 1})


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1.5h", 5400), ("2d", 172800), (7, 7), ("500ms", 0.5)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


def test_canonical_json_reads_back_as_the_same_definition():
    definition = ExperimentDefinition.model_validate(
        {
            "name": "a",
            "parameters": [
                {"name": "x", "type": "range", "bounds": [1e-5, 0.1], "scaling": "log"},
                {"name": "n", "type": "range", "bounds": [1, 9], "parameter_type": "int"},
                {"name": "c", "type": "choice", "values": ["a", "b"]},
                {"name": "f", "type": "fixed", "value": 1},
            ],
            "parameter_constraints": ["n <= 7"],
            "objective": "-loss",
            "outcome_constraints": ["mem <= 1.1 * baseline"],
            "status_quo": {"parameters": {"x": 0.01, "n": 3, "c": "a"}},
            "metrics": {"loss": {"fetcher": {"type": "json", "key": "a.b"}}, "mem": {}},
            "runner": {"command": ["true"], "local": {"max_procs": 2}},
        }
    )
    again = ExperimentDefinition.model_validate(json.loads(definition.canonical()))
    assert again == definition
    assert again.canonical() == definition.canonical()
