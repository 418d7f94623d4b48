"""The decisions, case by case: what is stored, seen and done in one tick."""

import pytest

from runners.base import JobReport, JobState, Rejected, Unavailable
from scheduler.advance import Measurement
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import (
    Command,
    Criterion,
    ExperimentState,
    ExperimentStatus,
    Tally,
    Verdict,
    evolve,
)
from scheduler.model.observation import Observation, Outcome
from scheduler.model.trial import Arm, Trial, TrialStatus, Wish
from scheduler.reconcile import Seen, decide

S, T = JobState, TrialStatus
NOW = 1000.0
LOST = JobReport(S.LOST, may_have_run=False)
USER = Verdict(Criterion.USER, "enough", drain=False)
DRAIN = Verdict(Criterion.IMPROVEMENT, "flat")


def definition(**changes):
    trials = {"total_trials": 20, "max_pending_trials": 3, **changes.pop("trials", {})}
    return ExperimentDefinition.model_validate(
        {
            "name": "e",
            "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
            "objective": "-loss",
            "generation_strategy": {"nodes": [{"generator": "sobol"}]},
            "trials": trials,
            "failures": {"backoff": {"initial": 0}},
            "runner": {"command": ["true"]},
            **changes,
        }
    )


def trial(index, status=T.CANDIDATE, **fields):
    return Trial(index, (Arm(f"{index}_0", {"x": index / 100}),), status, node=0, **fields)


def state(*trials, made=None, **fields):
    made = made or definition()
    tally = Tally(created=len(trials), generated={0: len(trials)})
    return ExperimentState(
        **{"definition": made, "active": {t.index: t for t in trials}, "tally": tally, **fields}
    )


def indexes(trials):
    return [t.index for t in trials]


def statuses(decision):
    return {t.index: t.status for t in decision.changes.trials}


def test_candidates_fill_the_free_slots_in_order():
    decision = decide(state(*map(trial, range(5))), Seen(), NOW)
    assert indexes(decision.submit) == [0, 1, 2]
    assert statuses(decision) == {0: T.STAGED, 1: T.STAGED, 2: T.STAGED}
    assert [e.kind for e in decision.changes.events] == ["trial_staged"] * 3


def test_new_attempts_go_first():
    decision = decide(state(*map(trial, range(5)), trial(5, attempt=2)), Seen(), NOW)
    assert indexes(decision.submit) == [5, 0, 1]


def test_a_new_attempt_waits_for_its_time():
    decision = decide(state(trial(0, attempt=2, not_before=NOW + 1), trial(1)), Seen(), NOW)
    assert indexes(decision.submit) == [1]


SLOTS = {
    "three pending": ([T.RUNNING, T.RUNNING, T.STAGED], {}, {}, 0),
    "two pending": ([T.RUNNING, T.STAGED], {}, {}, 1),
    "a runner that takes two jobs": ([T.RUNNING], {"max_jobs": 2}, {}, 1),
    "a slow start": ([], {"submit_at_most": 1}, {}, 1),
    "a budget that was lowered": ([T.RUNNING] * 3, {}, {"max_pending_trials": 1}, 0),
}


@pytest.mark.parametrize("case", SLOTS, ids=str)
def test_slots_are_left_with(case):
    pending, seen, trials, free = SLOTS[case]
    there = [trial(i, status, job_id="j") for i, status in enumerate(pending)]
    waiting = [trial(len(there) + i) for i in range(4)]
    decision = decide(state(*there, *waiting, made=definition(trials=trials)), Seen(**seen), NOW)
    assert len(decision.submit) == free


def test_a_trial_whose_metrics_are_awaited_takes_no_job_of_the_runner():
    ended = trial(0, T.RUNNING, ended_at=NOW)
    decision = decide(state(ended, trial(1)), Seen(max_jobs=1), NOW)
    assert indexes(decision.submit) == [1]


def test_a_node_has_its_own_slots():
    nodes = [{"generator": "sobol", "max_parallelism": 1}]
    made = definition(generation_strategy={"nodes": nodes})
    decision = decide(state(trial(0, T.RUNNING), trial(1), made=made), Seen(), NOW)
    assert decision.submit == ()


RESUBMISSIONS = {
    "the backend has no such job": ({}, {0: LOST}, [0]),
    "nothing is known of it": ({}, {}, []),
    "it exists": ({}, {0: JobReport(S.QUEUED, "7")}, []),
    "it is to be given up": ({"wish": Wish(T.ABANDONED, "USER", "")}, {0: LOST}, []),
    "it was refused a moment ago": ({"not_before": NOW + 1}, {0: LOST}, []),
}


@pytest.mark.parametrize("case", RESUBMISSIONS, ids=str)
@pytest.mark.parametrize("stop", [None, DRAIN])
def test_a_submission_cut_short_is_repeated_only_if(case, stop):
    fields, reports, submitted = RESUBMISSIONS[case]
    staged = trial(0, T.STAGED, staged_at=NOW, **fields)
    decision = decide(state(staged, stop=stop), Seen(reports=reports), NOW)
    assert indexes(decision.submit) == submitted
    assert not any(t.attempt > 1 for t in decision.changes.trials)


def test_a_lost_answer_does_not_lead_to_a_submission_without_a_look():
    staged = trial(0, T.STAGED, staged_at=NOW)
    decision = decide(state(staged), Seen(submissions={0: Unavailable("cut")}), NOW)
    assert decision.submit == ()
    assert decision.changes.trials[0].job_id is None


def test_a_job_that_was_acknowledged_and_is_gone_is_a_failed_attempt():
    staged = trial(0, T.STAGED, job_id="7", staged_at=NOW)
    decision = decide(state(staged), Seen(reports={0: LOST}), NOW)
    (again,) = decision.submit
    assert (again.attempt, again.retries) == (2, {"infra": 1})


def test_a_refused_trial_has_failed():
    decision = decide(
        state(trial(0, T.STAGED)), Seen(submissions={0: Rejected("no such queue")}), NOW
    )
    assert statuses(decision) == {0: T.FAILED}
    assert [e.message for e in decision.changes.events] == ["REJECTED: no such queue"]


def test_a_completed_trial_is_stored_with_its_observations_and_no_other():
    seen = Seen(
        measurements={
            0: Measurement((Observation(0, 1, "0_0", "loss", 0.5),)),
            1: Measurement((), missing="no loss"),
        }
    )
    there = [trial(i, T.RUNNING, started_at=NOW, ended_at=NOW) for i in range(2)]
    decision = decide(state(*there), seen, NOW)
    assert statuses(decision) == {0: T.COMPLETED, 1: T.RUNNING}
    assert [o.trial_index for o in decision.changes.observations] == [0]


def command(verb, of=None, number=1, reason=""):
    return Command(number, verb, of, reason)


def test_a_person_gives_up_a_candidate_at_once_and_a_job_when_it_has_ended():
    there = trial(0), trial(1, T.RUNNING, started_at=NOW)
    seen = Seen(commands=(command("abandon", there[0], 1), command("abandon", there[1], 2)))
    decision = decide(state(*there), seen, NOW)
    assert statuses(decision) == {0: T.ABANDONED, 1: T.RUNNING}
    assert indexes(decision.cancel) == [1]
    assert decision.changes.commands == (1, 2)


def test_a_trial_given_up_while_its_metrics_are_awaited_ends_at_once():
    ended = trial(0, T.RUNNING, started_at=NOW, ended_at=NOW)
    seen = Seen(
        commands=(command("abandon", ended),),
        measurements={0: Measurement((Observation(0, 1, "0_0", "loss", 0.5),))},
    )
    decision = decide(state(ended), seen, NOW)
    assert statuses(decision) == {0: T.ABANDONED}
    assert decision.changes.observations == decision.cancel == ()


@pytest.mark.parametrize("status", [T.FAILED, T.ABANDONED])
def test_a_person_sends_back_what_failed_or_was_given_up(status):
    decision = decide(state(), Seen(commands=(command("retry", trial(0, status)),)), NOW)
    assert [(t.index, t.attempt, t.status) for t in decision.submit] == [(0, 2, T.STAGED)]


@pytest.mark.parametrize("status", [T.COMPLETED, T.EARLY_STOPPED])
def test_what_has_ended_well_is_not_sent_back(status):
    decision = decide(state(), Seen(commands=(command("retry", trial(0, status)),)), NOW)
    assert decision.changes.trials == ()
    assert decision.changes.commands == (1,)


def test_two_commands_to_send_back_make_one_attempt():
    failed = trial(0, T.FAILED)
    seen = Seen(commands=(command("retry", failed, 1), command("retry", failed, 2)))
    assert [t.attempt for t in decide(state(), seen, NOW).submit] == [2]


def test_a_person_stops_it():
    there = trial(0), trial(1, T.STAGED, staged_at=NOW), trial(2, T.RUNNING, started_at=NOW)
    decision = decide(state(*there), Seen(commands=(command("stop", reason="enough"),)), NOW)
    assert decision.changes.stop == USER
    assert statuses(decision) == {0: T.ABANDONED, 1: T.STAGED, 2: T.RUNNING}
    assert indexes(decision.cancel) == [1, 2]
    assert (decision.submit, decision.generate, decision.changes.status) == ((), 0, None)


def test_a_stop_that_lets_trials_end_gives_up_candidates_only():
    there = trial(0), trial(1, T.STAGED, staged_at=NOW), trial(2, T.RUNNING, started_at=NOW)
    decision = decide(state(*there, stop=DRAIN), Seen(), NOW)
    assert statuses(decision) == {0: T.ABANDONED}
    assert decision.cancel == ()


def test_an_attempt_that_fails_while_it_stops_is_not_followed_by_another():
    there = trial(0, T.RUNNING, started_at=NOW)
    decision = decide(state(there, stop=DRAIN), Seen(reports={0: JobReport(S.LOST)}), NOW)
    assert statuses(decision) == {0: T.ABANDONED}
    assert decision.changes.status is ExperimentStatus.COMPLETED


HELD = {"staged_at": 0.0, "job_id": "7", "job_state": "HELD"}


def test_what_a_person_releases_starts_and_stays_released():
    held = trial(1, T.STAGED, **HELD)
    before = state(trial(0), held)
    decision = decide(before, Seen(commands=(command("release", held),)), NOW)
    assert indexes(decision.release) == [1]
    after = evolve(before, decision.changes)
    assert after.active[1].released
    assert indexes(decide(after, Seen(), NOW).release) == [1]


def test_what_runs_or_is_to_end_is_not_released():
    wish = Wish(T.ABANDONED, "USER", "enough")
    trials = [
        trial(0, T.STAGED, **HELD | {"job_state": "QUEUED"}, released=True),
        trial(1, T.STAGED, **HELD, released=True, wish=wish),
        trial(2, T.STAGED, **HELD),
    ]
    assert decide(state(*trials), Seen(), NOW).release == ()


def test_a_node_that_failed_is_avoided_by_the_next_attempt():
    report = JobReport(S.INTERRUPTED, "7", "NODE_FAIL", "n3 went down", node="n3")
    runs = trial(0, T.RUNNING, started_at=1.0, avoid=("n1",))
    (after,) = decide(state(runs), Seen({0: report}), NOW).changes.trials
    assert (after.attempt, after.avoid) == (2, ("n1", "n3"))


def test_a_retry_waits_until_what_stops_has_ended():
    seen = Seen(commands=(command("retry", trial(0, T.FAILED)),))
    decision = decide(state(trial(1, T.RUNNING, started_at=NOW), stop=DRAIN), seen, NOW)
    assert decision.changes.commands == decision.changes.trials == ()


def test_a_retry_after_a_stop_waits_and_one_before_it_does_not():
    retries = [command("retry", trial(i, T.FAILED), 2 * i + 1) for i in range(2)]
    seen = Seen(commands=(retries[0], command("stop", number=2), retries[1]))
    decision = decide(state(), seen, NOW)
    assert decision.changes.commands == (1, 2)
    assert statuses(decision) == {0: T.ABANDONED}


def test_what_a_person_sends_back_runs_although_the_experiment_has_stopped():
    seen = Seen(commands=(command("retry", trial(0, T.FAILED)),))
    decision = decide(state(stop=DRAIN), seen, NOW)
    assert statuses(decision) == {0: T.STAGED}
    assert (indexes(decision.submit), decision.generate, decision.changes.status) == ([0], 0, None)


def test_and_it_is_retried_like_any_other_while_more_may_be_sent_back():
    back = trial(0, T.RUNNING, started_at=NOW, retries={"user": 1})
    seen = Seen(
        reports={0: JobReport(S.LOST)}, commands=(command("retry", trial(1, T.ABANDONED)),)
    )
    decision = decide(state(back, stop=DRAIN), seen, NOW)
    assert [(t.index, t.attempt) for t in decision.submit] == [(0, 2), (1, 2)]
    assert decision.changes.stop is decision.changes.status is None


def test_it_ends_by_what_had_stopped_it_once_that_has_ended():
    back = trial(0, T.RUNNING, started_at=NOW, retries={"user": 1})
    seen = Seen(reports={0: JobReport(S.FAILED, reason="EXIT_CODE")})
    decision = decide(state(back, stop=DRAIN), seen, NOW)
    assert statuses(decision) == {0: T.FAILED}
    assert (decision.changes.stop, decision.changes.status) == (None, ExperimentStatus.COMPLETED)


def test_a_stop_ends_what_was_sent_back_too():
    back = trial(0, retries={"user": 1}), trial(1, T.RUNNING, started_at=NOW, retries={"user": 1})
    decision = decide(state(*back, stop=DRAIN), Seen(commands=(command("stop"),)), NOW)
    assert (statuses(decision), indexes(decision.cancel)) == ({0: T.ABANDONED, 1: T.RUNNING}, [1])


def test_a_retry_is_not_undone_by_the_failures_that_had_stopped_it():
    failed = [trial(i, T.FAILED) for i in range(8)]
    tally = Tally(created=8, finished={T.FAILED: 8}, generated={0: 8})
    seen = Seen(commands=(command("retry", failed[0]),))
    decision = decide(state(tally=tally), seen, NOW)
    assert decision.changes.stop is None
    assert statuses(decision) == {0: T.STAGED}


def test_it_ends_with_its_last_trial():
    there = state(trial(0, T.RUNNING, ended_at=NOW), made=definition(trials={"total_trials": 1}))
    seen = Seen(measurements={0: Measurement((Observation(0, 1, "0_0", "loss", 0.5),))})
    decision = decide(there, seen, NOW)
    after = evolve(there, decision.changes)
    assert (after.status, after.stop.criterion) == (
        ExperimentStatus.COMPLETED,
        Criterion.TOTAL_TRIALS,
    )
    assert [e.kind for e in decision.changes.events] == [
        "trial_completed",
        "experiment_stopping",
        "experiment_completed",
    ]


WANTED = {
    "as many again as may be pending": ({}, 0, 0, 6),
    "what candidates leave": ({}, 2, 2, 2),
    "what the total leaves": ({"total_trials": 5}, 0, 3, 2),
    "none where all are there": ({"total_trials": 3}, 0, 3, 0),
}


@pytest.mark.parametrize("case", WANTED, ids=str)
def test_candidates_are_asked_for(case):
    trials, waiting, pending, wanted = WANTED[case]
    there = [trial(i, T.RUNNING) for i in range(pending)]
    there += [trial(pending + i, not_before=NOW + 1) for i in range(waiting)]
    assert decide(state(*there, made=definition(trials=trials)), Seen(), NOW).generate == wanted


def test_no_candidates_are_asked_for_when_none_are_left():
    assert decide(state(trial(0), spent_nodes=1), Seen(), NOW).generate == 0


@pytest.mark.parametrize(("pending", "wanted"), [(0, 1), (1, 0)])
def test_a_model_is_not_asked_ahead_where_trials_run_one_by_one(pending, wanted):
    made = definition(
        trials={"max_pending_trials": 1},
        generation_strategy={"nodes": [{"generator": "botorch"}]},
    )
    there = [trial(i, T.RUNNING) for i in range(pending)]
    assert decide(state(*there, made=made), Seen(), NOW).generate == wanted


NODE = {"generator": "sobol", "num_trials": 2, "transition_criteria": {"completed_trials": 2}}
OVER_TIME = {
    "what is missing, and no more": ({}, 1, 0, 1),
    "a free slot, while completed trials are awaited": ({}, 2, 0, 1),
    "nothing ahead of need": ({}, 3, 0, 0),
    "nothing where its own trials fill its slots": ({"max_parallelism": 2}, 2, 0, 0),
    "nothing where its own candidate waits already": ({}, 2, 1, 0),
}


@pytest.mark.parametrize("case", OVER_TIME, ids=str)
def test_a_node_whose_trials_are_made_fills_slots_until_it_is_over(case):
    node, pending, waiting, wanted = OVER_TIME[case]
    nodes = [{**NODE, **node}, {"generator": "botorch"}]
    made = definition(generation_strategy={"nodes": nodes})
    there = [trial(i, T.RUNNING) for i in range(pending)]
    there += [trial(pending + i, not_before=NOW + 1) for i in range(waiting)]
    assert decide(state(*there, made=made), Seen(), NOW).generate == wanted


def test_no_more_of_a_node_is_asked_for_than_its_slots_take():
    nodes = [{"generator": "botorch", "max_parallelism": 1}]
    made = definition(generation_strategy={"nodes": nodes})
    outcomes = tuple(Outcome(i, f"{i}_0", {"loss": float(i)}) for i in range(9))
    there = state(trial(0, T.RUNNING), made=made, outcomes=outcomes)
    assert decide(there, Seen(), NOW).generate == 1
    there = state(trial(0, T.RUNNING), trial(1), made=made, outcomes=outcomes)
    assert decide(there, Seen(), NOW).generate == 0


def test_nothing_to_do_changes_nothing():
    there = state(trial(0, T.RUNNING, started_at=NOW), made=definition(trials={"total_trials": 1}))
    decision = decide(there, Seen(), NOW)
    assert not decision.changes
    assert (decision.cancel, decision.submit, decision.generate) == ((), (), 0)
