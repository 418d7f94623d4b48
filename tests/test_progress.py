"""The lines and the bar of a run: what they keep in mind is what looking afresh would say."""

import sys
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.progress import Best, Progress
from scheduler.model.best import best_outcome
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import STATUS_QUO, Event, ExperimentState
from scheduler.model.observation import Outcome

DEFINITION = ExperimentDefinition.model_validate(
    {
        "name": "progress",
        "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
        "objective": "-loss",
        "outcome_constraints": ["size <= 1.0 * baseline"],
        "status_quo": {"parameters": {"x": 0.5}},
        "runner": {"command": ["true"]},
    }
)
MEANS = st.fixed_dictionaries({"loss": st.integers(0, 3), "size": st.integers(0, 3)})


@given(st.lists(st.lists(MEANS, max_size=4), max_size=6), st.integers(0, 24))
def test_the_best_so_far_is_the_best_of_all_whenever_the_baseline_comes(ticks, status_quo):
    state, best = ExperimentState(DEFINITION), Best()
    for tick in ticks:
        new = []
        for means in tick:
            index = len(state.outcomes) + len(new)
            name = STATUS_QUO if index == status_quo else f"{index}_0"
            new.append(Outcome(index, name, means))
        state = replace(state, outcomes=(*state.outcomes, *new))
        found = best_outcome(DEFINITION, state.outcomes, state.baseline)
        words = f"best observed loss = {found.means['loss']:g}" if found else "none feasible yet"
        assert best.words(state) == (words if state.outcomes else "")


def test_a_line_shows_the_metrics_of_the_first_arm_of_the_trial_that_ended(capsys):
    outcomes = [Outcome(t, f"{t}_{k}", {"loss": 10.0 * t + k}) for t in (2, 0, 1) for k in (0, 1)]
    state = ExperimentState(DEFINITION, outcomes=tuple(outcomes))
    event = Event(0.0, "trial_completed", "", 0, 1)
    Progress(state.definition.name, sys.stdout).watch(state, (event,))
    out = capsys.readouterr().out
    assert "trial 0 completed" in out
    assert out.endswith("loss = 0\n")
