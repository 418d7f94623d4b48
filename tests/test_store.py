"""What every store promises: that of the simulation, SQLite, PostgreSQL."""

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from places import KINDS
from simulation.history import History
from simulation.stores import EVERY, RUN, commit, definition, stored, trial
from sqlalchemy.exc import IntegrityError

from scheduler.model.experiment import (
    Changes,
    Criterion,
    Event,
    ExperimentStatus,
    Verdict,
    evolve,
)
from scheduler.model.observation import Observation
from scheduler.model.trial import ARMS_OWN, Arm, Trial, TrialStatus, Wish
from scheduler.storage import read
from scheduler.storage.errors import LeaseLost

T = TrialStatus


@pytest.fixture(params=EVERY)
def driven(request, tmp_path):
    with stored(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=KINDS, name="stored")
def in_each(request, tmp_path):
    with stored(request.param, tmp_path) as made:
        yield made


def test_a_new_experiment_has_the_arms_that_were_given(driven):
    found = driven.state()
    assert [t.arms[0].name for t in found.active.values()] == ["status_quo", "mine"]
    assert (found.tally.created, found.status, found.stop, found.seconds) == (
        2,
        ExperimentStatus.RUNNING,
        None,
        0.0,
    )


def test_all_of_a_trial_is_kept(driven):
    made = trial(
        2,
        T.RUNNING,
        attempt=3,
        job_id="7",
        job_state="RUNNING",
        exit_code=-9,
        reason="OOM",
        message="a\nb \N{SNOWMAN}",
        not_before=0.1 + 0.2,
        wish=Wish(T.CANDIDATE, "TIMEOUT", "too long"),
        retries={"oom": 2},
        staged_at=1.5,
        started_at=2.5,
        ended_at=3.5,
    )
    assert commit(driven, trials=(made,), generator_runs=(RUN,)).active[2] == made


def test_text_that_no_database_takes_is_kept_readable(stored):
    strange = "a\0b \udcff \N{SNOWMAN} c"
    made = trial(2, T.FAILED, reason="A\0", message=strange, completed_at=1.0)
    event = Event(1.0, "noise", strange)
    stored.journal.commit(stored.state(), Changes(trials=(made,), events=(event,)))
    stored.command("stop", None, strange)
    words = "a\N{SYMBOL FOR NULL}b ? \N{SNOWMAN} c"
    store, number = stored.store, stored.experiment.id
    assert read.trial(store, number, 2).trial.message == words
    assert [e.message for e in read.events(store, number)][-1] == words
    assert stored.journal.commands()[0].reason == words


def test_numbers_and_names_of_any_size_are_kept(stored):
    name = "metric" * 100
    run = replace(RUN, generator="g" * 300, cursor=2**40)
    made = trial(2, T.FAILED, reason="R" * 200, exit_code=2**40, completed_at=1.0)
    seen = Observation(2, 1, "2_0", name, 1.0)
    changes = Changes(trials=(made,), generator_runs=(run,), observations=(seen,))
    stored.journal.commit(stored.state(), changes)
    record = read.trial(stored.store, stored.experiment.id, 2)
    assert (record.trial.reason, record.trial.exit_code) == ("R" * 200, 2**40)
    assert record.metrics["2_0"][name].mean == 1.0
    assert read.generator_run(stored.store, stored.experiment.id, 0) == run
    assert read.trial(stored.store, stored.experiment.id, 2**53) is None


def test_a_final_trial_counts_and_its_outcomes_follow_in_the_order_of_its_arms(driven):
    made = trial(2, T.COMPLETED, arms=12, completed_at=9.0)
    observed = [
        Observation(2, 1, arm.name, metric, k + 0.5, 0.25)
        for k, arm in enumerate(made.arms)
        for metric in ("loss", "extra")
    ]
    after = commit(driven, trials=(made,), generator_runs=(RUN,), observations=tuple(observed))
    assert [o.arm_name for o in after.outcomes] == [arm.name for arm in made.arms]
    assert after.tally.finished == {T.COMPLETED: 1}
    assert driven.journal.measured()[11] == (
        made.arms[11].parameters,
        {"loss": (11.5, 0.25), "extra": (11.5, 0.25)},
    )


def test_outcomes_follow_in_the_order_of_completion(driven):
    for index, at in ((1, 5.0), (0, 9.0)):
        done = replace(driven.state().active[index], completed_at=at)
        done = done.move(T.STAGED).move(T.RUNNING).move(T.COMPLETED)
        name = done.arms[0].name
        commit(driven, trials=(done,), observations=(Observation(index, 1, name, "loss", at),))
    assert [o.trial_index for o in driven.state().outcomes] == [1, 0]
    assert driven.state().baseline == {"loss": 9.0}


def test_the_verdict_and_the_end_are_kept(driven):
    verdict = Verdict(Criterion.GOAL, "reached", failed=True, drain=False)
    after = commit(driven, stop=verdict, status=ExperimentStatus.FAILED)
    assert (after.stop, after.status) == (verdict, ExperimentStatus.FAILED)


def test_all_arms_are_told_in_order(driven):
    assert [p["x"] for p in driven.journal.arms()] == [0.5, 0.25]
    commit(driven, trials=(trial(2, arms=2), trial(3)), generator_runs=(RUN,))
    for _ in range(2):
        assert [p["x"] for p in driven.journal.arms()] == [0.5, 0.25, 0.02, 0.0201, 0.03]
    commit(driven, trials=(trial(3, TrialStatus.ABANDONED, completed_at=1.0), trial(4)))
    assert [p["x"] for p in driven.journal.arms()][-2:] == [0.03, 0.04]


def test_arms_that_failed_by_their_own_doing_are_told_in_order(driven):
    mine = ("OOM", "TIMEOUT", "EXIT_CODE", "REPORTED", "METRICS_MISSING", "METRICS_INVALID")
    others = ("NODE_FAIL", "PREEMPTED", "LOST", "REJECTED", "PENDING_TIMEOUT", "TYPO", None)
    failed = [
        trial(k, T.FAILED, arms=2 if k == 2 else 1, reason=reason, completed_at=50.0 - k)
        for k, reason in enumerate((*mine, *others), 2)
    ]
    failed.append(trial(90, T.ABANDONED, reason="OOM", completed_at=1.0))
    failed.append(trial(91, T.CANDIDATE, reason="OOM", attempt=2))
    commit(driven, trials=tuple(failed), generator_runs=(RUN,))
    found = [p["x"] for p in driven.journal.failed(ARMS_OWN)]
    assert found == [0.02, 0.0201, 0.03, 0.04, 0.05, 0.06, 0.07]
    assert [p["x"] for p in driven.journal.failed({"LOST", "LOG_POLICY:nan"})] == [0.1]


def test_commands_wait_until_they_are_applied(driven):
    driven.command("abandon", 1, "bad")
    driven.command("stop")
    first, second = driven.journal.commands()
    assert (first.verb, first.trial.index, first.reason) == ("abandon", 1, "bad")
    assert (second.verb, second.trial) == ("stop", None)
    commit(driven, commands=(first.id,))
    assert driven.journal.commands() == (second,)


def test_a_retry_reopens_what_has_ended_and_nothing_else(driven):
    driven.command("retry", 0)
    verdict = Verdict(Criterion.USER, "enough")
    driven.journal.commit(driven.state(), Changes(stop=verdict))
    assert driven.state().stop == verdict
    driven.journal.commit(driven.state(), Changes(status=ExperimentStatus.COMPLETED))
    found = driven.state()
    assert (found.status, found.stop) == (ExperimentStatus.RUNNING, replace(verdict, drain=True))


def test_what_came_too_late_to_stop_it_does_not_stop_it_when_it_goes_on(driven):
    commit(driven, status=ExperimentStatus.COMPLETED, stop=Verdict(Criterion.GOAL, "reached"))
    driven.command("stop")
    driven.command("retry", 0)
    assert driven.state().status is ExperimentStatus.RUNNING
    assert [c.verb for c in driven.journal.commands()] == ["retry"]


def test_a_lease_that_was_lost_writes_nothing(driven):
    before = driven.state()
    other = driven.taken_over()
    with pytest.raises(LeaseLost):
        driven.journal.commit(before, Changes(trials=(trial(2),)))
    with pytest.raises(LeaseLost):
        driven.journal.load()
    assert other.load() == before


@pytest.mark.parametrize("seed", range(20))
def test_what_a_history_leaves_in_memory_it_leaves_in_a_database(seed, tmp_path):
    kind = KINDS[seed % 2]
    without = {"command_stop", "command_abandon", "command_retry", "budget"}
    history = History(seed, without=frozenset(without)).play()
    with stored(kind, tmp_path, history.store.definition) as driven:
        state = replace(driven.state(), active={})
        state = evolve(replace(state, tally=type(state.tally)()), first_of(driven))
        for _, changes in history.store.log:
            driven.journal.commit(state, changes)
            state = evolve(state, changes)
            assert driven.state() == state


def first_of(driven):
    return Changes(trials=tuple(driven.state().active.values()))


finite = st.floats(allow_nan=False, allow_infinity=False)
names = count()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example([(-0.0, -0.0), (5e-324, 1.7976931348623157e308), (0.1 + 0.2, -1 / 3)])
@given(
    values=st.lists(st.tuples(finite, finite), min_size=1, max_size=20, unique_by=lambda v: v[0])
)
def test_every_float_comes_back_bit_by_bit(stored, values):
    store, made = stored.store, definition(f"floats-{next(names)}")
    store.create(made, stored.experiment.trials_dir, 0.0)
    experiment = store.find(made.name)
    arms = tuple(Arm(f"2_{k}", {"x": x}) for k, (x, _) in enumerate(values))
    done = Trial(2, arms, T.COMPLETED, node=0, completed_at=values[0][0])
    observed = tuple(
        Observation(2, 1, arm.name, "loss", mean, abs(mean))
        for arm, (_, mean) in zip(arms, values, strict=True)
    )
    lease = store.acquire(experiment, 0.0)
    store.commit(lease, store.load(lease), Changes(trials=(done,), observations=observed), "")
    lease.release()
    found = [
        (parameters["x"].hex(), metrics["loss"][0].hex(), metrics["loss"][1].hex())
        for parameters, metrics in store.measured(experiment.id)
    ]
    # SQLite keeps no sign of zero in a column of numbers; a parameter, as JSON, has its own.
    kept = 0.0 if store.database.engine.dialect.name == "sqlite" else -0.0
    assert found == [(x.hex(), (mean + kept).hex(), abs(mean).hex()) for x, mean in values]


def spoilt(where):
    """Return changes of which the last row cannot be stored."""
    good = trial(2)
    bad = {
        "a mean that is no number": {
            "observations": (Observation(2, 1, "2_0", "loss", float("nan")),)
        },
        "a curve's step that is no number": {
            "curves": (Observation(2, 1, "2_0", "loss", 1.0, step=float("nan")),)
        },
        "an arm that is no number": {
            "trials": (good, replace(trial(3), arms=(Arm("3_0", {"x": float("nan")}),)))
        },
        "an event without a kind": {"events": (Event(1.0, None, ""),)},
    }[where]
    return Changes(**{"trials": (good,), "generator_runs": (RUN,), **bad})


@pytest.mark.parametrize(
    "where",
    [
        "a mean that is no number",
        "a curve's step that is no number",
        "an arm that is no number",
        "an event without a kind",
    ],
)
def test_nothing_is_stored_of_a_transaction_with(where, stored):
    before = stored.state()
    # Not a StorageError: that would be waited out for ever.
    with pytest.raises((IntegrityError, ValueError)):
        stored.journal.commit(before, spoilt(where))
    assert stored.state() == before
    commit(stored, trials=(trial(2),), generator_runs=(RUN,))


def test_two_experiments_share_a_database_and_nothing_else(stored):
    other = definition("other", arms=[], status_quo=None)
    stored.store.create(other, stored.experiment.trials_dir, 0.0)
    found = stored.store.find("other")
    assert stored.store.peek(found).tally.created == 0
    assert stored.state().tally.created == 2
    assert found.token != stored.experiment.token


def test_what_a_generator_said_is_kept(stored):
    run = replace(RUN, index=1, insights=({"p_feasible": 0.1 + 0.2, "acquisition": -1e-300},))
    commit(stored, trials=(trial(2),), generator_runs=(RUN, run))
    found = [read.generator_run(stored.store, stored.experiment.id, k) for k in (0, 1)]
    assert found == [RUN, run]
