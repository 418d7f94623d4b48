"""Slots of one runner, shared out among experiments: fair, by priority, never too many."""

from hypothesis import given
from hypothesis import strategies as st
from test_reconcile import T, definition, state, trial

from scheduler.slots import Demand, Slots, demand_of, shares

demands = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.builds(Demand, st.integers(-1, 1), st.integers(0, 9), st.integers(0, 9)),
    max_size=6,
)


@given(st.integers(1, 30), demands)
def test_shares_never_exceed_the_cap_and_leave_nothing_that_is_wanted(cap, wants):
    found = shares(cap, wants)
    total = sum(found.values())
    assert total == min(cap, sum(d.wanted for d in wants.values()))
    assert all(found[name] <= wants[name].wanted for name in wants)


@given(st.integers(1, 30), demands)
def test_nobody_gets_more_than_an_equal_or_higher_who_wants_more(cap, wants):
    found = shares(cap, wants)
    for a in wants:
        for b in wants:
            if found[a] < wants[a].wanted and wants[a].priority >= wants[b].priority:
                lower = wants[a].priority > wants[b].priority
                assert found[b] == 0 if lower else found[b] <= found[a] + 1


def named(name, *trials, **options):
    made = definition(name=name, trials={"max_pending_trials": 4, **options})
    return state(*trials, made=made)


def running(n):
    return [trial(i, T.RUNNING, started_at=1.0) for i in range(n)]


def test_what_an_experiment_wants_follows_from_its_state():
    assert demand_of(named("a", *running(2))) == Demand(0, 2, 4)
    assert demand_of(named("a", *running(2), total_trials=3, priority=5)) == Demand(5, 2, 3)
    ended = trial(0, T.RUNNING, started_at=1.0, ended_at=2.0)
    assert demand_of(named("a", ended)) == Demand(0, 0, 3)


def test_a_runner_without_a_cap_gives_what_is_wanted():
    assert Slots({"slurm": 1}).allowed(named("a")) is None


def test_one_that_comes_later_gets_its_share_as_slots_become_free():
    slots = Slots({"local": 4})
    assert slots.allowed(named("a")) == 4
    # All four are held by a, which may submit at any moment.
    assert slots.allowed(named("b")) == 0
    assert slots.allowed(named("a", *running(4))) == 2
    assert slots.allowed(named("b")) == 0
    assert slots.allowed(named("a", *running(3))) == 2
    assert slots.allowed(named("b")) == 1
    assert slots.allowed(named("a", *running(2))) == 2
    assert slots.allowed(named("b", *running(1))) == 2


def test_a_higher_priority_is_served_first():
    slots = Slots({"local": 4})
    slots.allowed(named("a", *running(4)))
    assert slots.allowed(named("b", priority=1)) == 0
    assert slots.allowed(named("a", *running(3))) == 0
    assert slots.allowed(named("b", priority=1)) == 1


def test_a_free_slot_rings_those_who_wait_for_one():
    rung = []
    slots = Slots({"local": 4}, rung.append)
    slots.allowed(named("a", *running(4)))
    slots.allowed(named("b"))
    assert rung == []
    slots.allowed(named("a", *running(3)))
    assert rung == ["b"]


def test_what_is_not_driven_any_more_is_given_back():
    slots = Slots({"local": 4})
    slots.allowed(named("a", *running(4)))
    slots.forget("a")
    assert slots.allowed(named("b")) == 4
