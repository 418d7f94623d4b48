"""What people ask of a living experiment, case by case: pause, drain, set, add-arm."""

import pytest
from test_reconcile import NOW, T, command, definition, indexes, state, statuses, trial

from scheduler.model import redefine
from scheduler.model.experiment import Command, Criterion, Verdict, evolve
from scheduler.reconcile import Seen, decide


def asked(verb, number=1, reason="", **payload):
    return Command(number, verb, None, reason, payload)


def after(before, *commands):
    decision = decide(before, Seen(commands=commands), NOW)
    return evolve(before, decision.changes), decision


def test_while_paused_nothing_is_deployed_or_proposed_and_what_runs_goes_on():
    before = state(trial(0), trial(1, T.STAGED, staged_at=NOW), trial(2, T.RUNNING))
    paused, decision = after(before, asked("pause", reason="the cluster is full"))
    assert (paused.paused, decision.submit, decision.generate) == (True, (), 0)
    assert [(e.kind, e.message) for e in decision.changes.events] == [
        ("experiment_paused", "the cluster is full")
    ]
    decision = decide(paused, Seen(), NOW)
    assert not decision.changes
    assert (decision.submit, decision.generate) == ((), 0)
    again, decision = after(paused, asked("unpause"))
    assert (again.paused, indexes(decision.submit)) == (False, [0])


def test_a_pause_does_not_outlive_a_stop():
    paused, _ = after(state(trial(1, T.RUNNING)), asked("pause"))
    draining, decision = after(paused, asked("drain", reason="enough"))
    assert draining.stop == Verdict(Criterion.USER, "enough", drain=True)
    assert (draining.paused, decision.cancel) == (False, ())


def test_a_drain_lets_running_trials_end_and_gives_up_those_that_wait():
    before = state(trial(0), trial(1, T.RUNNING, started_at=NOW))
    _, decision = after(before, asked("drain"))
    assert statuses(decision) == {0: T.ABANDONED}
    assert decision.cancel == ()


def test_a_budget_is_set_and_counts_at_once():
    before = state(*map(trial, range(5)))
    wanted = {"trials.max_pending_trials": 5, "failures.retries.infra": 0}
    raised, decision = after(before, asked("set", **wanted))
    assert len(decision.submit) == 5
    assert raised.definition.failures.retries.infra == 0
    (event,) = [e for e in decision.changes.events if e.kind == "definition_changed"]
    assert event.message == "trials.max_pending_trials: 3 -> 5, failures.retries.infra: 5 -> 0"


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"parameters": []}, "parameters cannot be changed; what can: trials, "),
        ({"trials.batch_size": 2}, "trials.batch_size cannot be changed"),
        ({"trials.totl_trials": 2}, "there is no key 'trials.totl_trials'"),
        ({"trials.total_trials.x": 2}, "there is no key 'trials.total_trials.x'"),
        ({"trials.total_trials": 0}, "trials.total_trials: Input should be greater than"),
        ({"trials.total_trials": "many"}, "trials.total_trials: Input should be a valid integer"),
        ({"stopping_criteria.goal": {"metric": "size", "value": 1}}, "the goal is on 'size'"),
    ],
)
def test_what_cannot_be_set_is_refused_with_a_sentence(wanted, sentence):
    before = state(trial(0))
    with pytest.raises(redefine.DefinitionChanged) as error:
        redefine.having(before.definition, wanted)
    assert sentence in str(error.value)
    same, decision = after(before, asked("set", **wanted))
    assert same.definition is before.definition
    assert decision.changes.events[0].kind == "command_refused"


def test_a_section_that_was_left_out_can_be_set_whole_or_in_part():
    made = redefine.having(
        definition(),
        {"stopping_criteria.goal.value": 0.5, "stopping_criteria.timeout": "2h", "tags.team": "a"},
    )
    assert (made.stopping_criteria.goal.value, made.stopping_criteria.timeout) == (0.5, 7200)
    assert made.tags == {"team": "a"}


def test_an_arm_of_a_person_is_the_next_trial():
    before = state(trial(0, T.RUNNING))
    one = asked("add-arm", 1, name="mine", parameters={"x": 0.5})
    two = asked("add-arm", 2, parameters={"x": 0.25})
    later, decision = after(before, one, two)
    assert [(t.index, t.arms[0].name, t.node) for t in decision.submit] == [
        (1, "mine", None),
        (2, "2_0", None),
    ]
    assert later.tally.created == 3


@pytest.mark.parametrize(
    ("fields", "parameters", "sentence"),
    [
        ({}, {"x": 2.0}, "add-arm: "),
        ({"stop": Verdict(Criterion.GOAL, "found")}, {"x": 0.5}, "stopped by goal"),
        ({"made": definition(trials={"total_trials": 1})}, {"x": 0.5}, "set a greater trials."),
    ],
)
def test_an_arm_that_cannot_be_is_refused(fields, parameters, sentence):
    before = state(trial(0, T.RUNNING), **fields)
    same, decision = after(before, asked("add-arm", parameters=parameters))
    assert same.tally.created == 1
    (event,) = [e for e in decision.changes.events if e.kind == "command_refused"]
    assert sentence in event.message


def test_who_is_told_of_a_trial_that_ended_meanwhile_does_nothing():
    done = trial(0, T.COMPLETED)
    decision = decide(state(), Seen(commands=(command("release", done),)), NOW)
    assert (decision.changes.trials, decision.changes.commands) == ((), (1,))
