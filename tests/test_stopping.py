"""When an experiment stops: each criterion, by numbers worked out by hand."""

import pytest

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import (
    Changes,
    Criterion,
    ExperimentState,
    Tally,
    evolve,
)
from scheduler.model.observation import Observation, Outcome
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.stopping.criteria import verdict

T = TrialStatus


def definition(**changes):
    return ExperimentDefinition.model_validate(
        {
            "name": "e",
            "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
            "objective": "-loss",
            "trials": {"total_trials": 50},
            "runner": {"command": ["true"]},
            **changes,
        }
    )


def outcome(index, loss, arm=None, **means):
    return Outcome(index, arm or f"{index}_0", {"loss": loss, **means})


def asked(made, values, new=None, **fields):
    """Return the verdict where ``values`` have completed, the last of them just now."""
    outcomes = [v if isinstance(v, Outcome) else outcome(i, v) for i, v in enumerate(values)]
    finished = {T.COMPLETED: len(outcomes) - 1}
    tally = Tally(created=len(outcomes), finished=finished)
    state = ExperimentState(
        **{"definition": made, "outcomes": tuple(outcomes[:-1]), "tally": tally, **fields}
    )
    changes = completed(outcomes[-1]) if new is None else new
    return verdict(evolve(state, changes), changes)


def completed(last):
    trial = Trial(last.trial_index, (Arm(last.arm_name, {"x": 0.5}),), T.COMPLETED)
    observed = [
        Observation(last.trial_index, 1, last.arm_name, name, mean)
        for name, mean in last.means.items()
    ]
    return Changes(trials=(trial,), observations=tuple(observed))


def ended(status):
    return Changes(trials=(Trial(0, (Arm("0_0", {"x": 0.5}),), status),))


FAILURES = {
    "too few to judge": (3, 0, 5, 0.5, False),
    "all of them": (4, 0, 5, 0.5, True),
    "exactly as many as tolerated": (4, 5, 5, 0.5, False),
    "one more than tolerated": (5, 5, 5, 0.5, True),
    "none tolerated": (0, 9, 1, 0.0, True),
    "all tolerated": (9, 0, 1, 1.0, False),
}


@pytest.mark.parametrize("case", FAILURES, ids=str)
def test_failures_are(case):
    failed, good, least, rate, stops = FAILURES[case]
    made = definition(
        failures={
            "min_failed_trials_for_failure_rate_check": least,
            "tolerated_trial_failure_rate": rate,
        }
    )
    tally = Tally(created=10, finished={T.FAILED: failed, T.COMPLETED: good, T.ABANDONED: 7})
    found = asked(made, [1.0], new=ended(T.FAILED), tally=tally)
    assert (found is not None) is stops
    if found:
        assert (found.criterion, found.failed, found.drain) == (
            Criterion.FAILURE_RATE,
            True,
            False,
        )
        assert found.message.startswith(f"{failed + 1} of {failed + good + 1} trials failed")


def test_failures_are_judged_when_a_trial_fails():
    tally = Tally(created=10, finished={T.FAILED: 9})
    assert asked(definition(), [1.0], new=Changes(), tally=tally) is None
    assert asked(definition(), [1.0], new=ended(T.ABANDONED), tally=tally) is None


GOALS = {
    "not reached": ({}, [0.3, 0.21], False),
    "reached exactly": ({}, [0.3, 0.2], True),
    "passed": ({}, [0.3, 0.1], True),
    "reached long ago": ({}, [0.1, 0.3], False),
    "reached by an arm that breaks a constraint": (
        {"outcome_constraints": ["latency <= 1"]},
        [outcome(0, 0.1, latency=2.0)],
        False,
    ),
    "reached by an arm that keeps a constraint": (
        {"outcome_constraints": ["latency <= 1"]},
        [outcome(0, 0.1, latency=1.0)],
        True,
    ),
}


@pytest.mark.parametrize("case", GOALS, ids=str)
def test_the_goal_is(case):
    changes, values, stops = GOALS[case]
    goal = {"goal": {"metric": "loss", "value": 0.2}}
    found = asked(definition(stopping_criteria=goal, **changes), values)
    assert (found.criterion if found else None) == (Criterion.GOAL if stops else None)


def test_an_arm_that_waited_for_the_status_quo_reaches_the_goal_with_it():
    made = definition(
        stopping_criteria={"goal": {"metric": "loss", "value": 0.2}},
        outcome_constraints=["latency <= 1.1 * baseline"],
        status_quo={"parameters": {"x": 0.5}},
    )
    early = outcome(1, 0.1, latency=1.0)
    assert asked(made, [early]) is None
    found = asked(made, [early, outcome(0, 0.9, "status_quo", latency=1.0)])
    assert found.message == "arm 1_0 reached loss = 0.1"


# Ax stops where the best value of the last window improved on the best before it by less than
# improvement_bar times the interquartile range of all values. Here: window 2, bar 0.1.
IMPROVEMENTS = {
    # sorted 1 2 8 9 10: quartiles 2 and 9, range 7, 0.7 to reach; best before 8, now 1
    "great": ([10, 9, 8, 2, 1], False),
    # sorted 7.9 8 9 10 12: quartiles 8 and 10, range 2, 0.2 to reach; from 8 to 7.9
    "too small": ([10, 9, 8, 12, 7.9], True),
    # sorted 7.75 8 9 10 12: range 2, 0.2 to reach; from 8 to 7.75
    "just great enough": ([10, 9, 8, 12, 7.75], False),
    "none": ([1, 10, 9, 8, 7], True),
    "none among equals, where the range is zero": ([5, 5, 5, 5, 5], True),
    "not judged with too few trials": ([1, 10, 9], False),
    "not judged before the window": ([1, 10], False),
}


@pytest.mark.parametrize("case", IMPROVEMENTS, ids=str)
def test_the_improvement_is(case):
    values, stops = IMPROVEMENTS[case]
    rule = {"min_trials": 4, "window_size": 2, "improvement_bar": 0.1}
    found = asked(definition(stopping_criteria={"improvement": rule}), values)
    assert (found.criterion if found else None) == (Criterion.IMPROVEMENT if stops else None)
    assert found is None or found.drain


def test_improvement_is_judged_when_a_trial_completes():
    rule = {"min_trials": 4, "window_size": 2, "improvement_bar": 0.1}
    made = definition(stopping_criteria={"improvement": rule})
    assert asked(made, [1, 10, 9, 8, 7, 6], new=Changes()) is None


@pytest.mark.parametrize(("seconds", "stops"), [(99.9, False), (100.0, True)])
def test_the_time_is_up(seconds, stops):
    made = definition(stopping_criteria={"timeout": 100})
    found = asked(made, [1.0], seconds=seconds)
    assert (found is not None) is stops
    assert found is None or (found.criterion, found.drain) == (Criterion.TIMEOUT, False)


@pytest.mark.parametrize(
    ("criterion", "fields"),
    [
        (Criterion.TOTAL_TRIALS, {"tally": Tally(created=50, finished={T.COMPLETED: 1})}),
        (Criterion.SEARCH_SPACE_EXHAUSTED, {"spent_nodes": 2}),
    ],
)
def test_no_trial_is_left(criterion, fields):
    running = {7: Trial(7, (Arm("7_0", {"x": 0.5}),), T.RUNNING)}
    assert asked(definition(), [1.0, 2.0], new=Changes(), active=running, **fields) is None
    found = asked(definition(), [1.0, 2.0], new=Changes(), **fields)
    assert (found.criterion, found.failed) == (criterion, False)


def test_an_experiment_of_which_nothing_completed_has_failed():
    tally = Tally(created=50, finished={T.ABANDONED: 50})
    found = asked(definition(), [1.0], new=Changes(), tally=tally)
    assert (found.failed, found.message) == (
        True,
        "all 50 trials have ended, and none of them completed",
    )
