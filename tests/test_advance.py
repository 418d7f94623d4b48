"""One trial's next step, case by case."""

import pytest

from runners.base import JobReport, JobState, Rejected, Unavailable
from scheduler.advance import About, Measurement, Symptom, advance, retried
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.failures import LogPolicy
from scheduler.model.observation import Observation
from scheduler.model.trial import Arm, Trial, TrialStatus, Wish

S, T = JobState, TrialStatus
NOW = 1000.0
LOSS = Observation(3, 1, "3_0", "loss", 0.5)


def definition(**changes):
    return ExperimentDefinition.model_validate(
        {
            "name": "e",
            "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
            "objective": "-loss",
            "trials": {"ttl": 100, "pending_ttl": 200},
            "failures": {"retries": {"infra": 2, "error": 0}, "backoff": {"initial": 10}},
            "runner": {"command": ["true"]},
            **changes,
        }
    )


def trial(status=T.STAGED, **fields):
    return Trial(3, (Arm("3_0", {"x": 0.5}),), status, staged_at=990.0, **fields)


def running(**fields):
    return trial(T.RUNNING, **{"job_id": "7", "started_at": 995.0, **fields})


def step(before, now=NOW, made=None, **about):
    return advance(before, made or definition(), About(**about), now)


NOT_STARTED = JobReport(S.LOST, may_have_run=False)
GIVE_UP = Wish(T.ABANDONED, "USER", "enough")
TRY_AGAIN = Wish(T.CANDIDATE, "TIMEOUT", "too long")

NOTHING = {
    "no news of a job that waits": (trial(job_id="7"), {}),
    "no news of a job that runs": (running(), {}),
    "no news of a submission that was cut short": (trial(), {}),
    "no such job, and none was acknowledged": (trial(), {"report": NOT_STARTED}),
    "no such job, and it is to be given up, but no cancellation got through": (
        trial(wish=GIVE_UP),
        {"report": NOT_STARTED},
    ),
    "the same as before": (
        running(job_state="RUNNING"),
        {"report": JobReport(S.RUNNING, "7")},
    ),
    "a report on a job that has ended already": (
        running(ended_at=999.0),
        {"report": JobReport(S.FAILED, "7")},
    ),
    "a candidate": (trial(T.CANDIDATE), {}),
    "a trial in its final status": (trial(T.FAILED), {"report": JobReport(S.RUNNING, "7")}),
}


@pytest.mark.parametrize("case", NOTHING, ids=str)
def test_nothing_changes_with(case):
    before, about = NOTHING[case]
    assert step(before, **about) is before


MOVES = {
    "it runs": (trial(), JobReport(S.RUNNING, "7"), T.RUNNING, None),
    "it waits": (trial(), JobReport(S.QUEUED, "7"), T.STAGED, None),
    "it was requeued": (running(), JobReport(S.QUEUED, "7"), T.STAGED, None),
    "it was so quick that it was never seen running": (
        trial(),
        JobReport(S.SUCCEEDED, "7"),
        T.RUNNING,
        None,
    ),
    "it failed": (running(), JobReport(S.FAILED, exit_code=2), T.FAILED, "EXIT_CODE"),
    "it ran out of memory": (running(), JobReport(S.FAILED, reason="OOM"), T.FAILED, "OOM"),
    "its node failed": (running(), JobReport(S.INTERRUPTED), T.CANDIDATE, "NODE_FAIL"),
    "it was preempted": (
        running(),
        JobReport(S.INTERRUPTED, reason="PREEMPTED"),
        T.CANDIDATE,
        "PREEMPTED",
    ),
    "it vanished": (running(), JobReport(S.LOST), T.CANDIDATE, "LOST"),
    "it was accepted and then forgotten": (
        trial(job_id="7"),
        NOT_STARTED,
        T.CANDIDATE,
        "LOST",
    ),
    "it is gone, and may have run": (trial(), JobReport(S.LOST), T.CANDIDATE, "LOST"),
    "somebody else cancelled it": (running(), JobReport(S.CANCELLED), T.ABANDONED, "CANCELLED"),
    "it was given up and cancelled": (
        running(wish=GIVE_UP),
        JobReport(S.CANCELLED),
        T.ABANDONED,
        "USER",
    ),
    "it was given up and failed by itself": (
        running(wish=GIVE_UP),
        JobReport(S.FAILED),
        T.ABANDONED,
        "USER",
    ),
    "it was given up and succeeded": (
        running(wish=GIVE_UP),
        JobReport(S.SUCCEEDED),
        T.ABANDONED,
        "USER",
    ),
    "it took too long and was cancelled": (
        running(wish=TRY_AGAIN),
        JobReport(S.CANCELLED),
        T.FAILED,
        "TIMEOUT",
    ),
    "it took too long and succeeded after all": (
        running(wish=TRY_AGAIN),
        JobReport(S.SUCCEEDED),
        T.RUNNING,
        None,
    ),
}


@pytest.mark.parametrize("case", MOVES, ids=str)
def test_a_report_says_that(case):
    before, report, status, reason = MOVES[case]
    after = step(before, report=report)
    assert (after.status, after.reason) == (status, reason)
    assert after.attempt == before.attempt + (status is T.CANDIDATE)


def test_a_wish_is_granted_where_no_job_exists_and_none_will():
    told = step(trial(wish=GIVE_UP), cancelled=True)
    assert (told.status, told.wish.told) == (T.STAGED, True)
    after = step(told, report=NOT_STARTED)
    assert (after.status, after.reason, after.message) == (T.ABANDONED, "USER", "enough")
    assert after.completed_at == NOW
    assert step(trial(wish=GIVE_UP), report=NOT_STARTED, cancelled=True) == after


def test_a_requeued_trial_keeps_the_wish_and_waits_afresh():
    after = step(running(wish=TRY_AGAIN), report=JobReport(S.QUEUED, "7", message="Priority"))
    assert (after.status, after.wish, after.message) == (T.STAGED, TRY_AGAIN, "Priority")
    assert (after.staged_at, after.started_at) == (NOW, None)


def test_a_new_attempt_starts_from_nothing():
    before = running(exit_code=1, retries={"infra": 1})
    after = step(before, report=JobReport(S.LOST))
    assert after == trial(
        T.CANDIDATE,
        attempt=2,
        retries={"infra": 2},
        reason="LOST",
        message="the job ended LOST; attempt 2 follows",
        not_before=NOW + 20.0,
    ).having(staged_at=None)


def test_a_kind_of_failure_without_attempts_left_is_final():
    after = step(running(retries={"infra": 2}), report=JobReport(S.LOST))
    assert (after.status, after.reason, after.completed_at) == (T.FAILED, "LOST", NOW)


def test_one_kind_of_failure_does_not_use_up_anothers_attempts():
    assert step(running(retries={"error": 9}), report=JobReport(S.LOST)).status is T.CANDIDATE


def test_a_person_sends_a_trial_back_with_all_its_attempts():
    after = retried(trial(T.FAILED, attempt=3, retries={"infra": 2}, completed_at=5.0), NOW)
    assert (after.status, after.attempt, after.retries) == (T.CANDIDATE, 4, {"user": 1})
    assert (after.completed_at, after.not_before) == (None, NOW)


ANSWERS = {
    "accepted": ("7", T.STAGED, {"job_id": "7"}),
    "refused for ever": (Rejected("no such queue"), T.FAILED, {"reason": "REJECTED"}),
    "without an answer": (Unavailable("cut"), T.STAGED, {"not_before": NOW + 5, "job_id": None}),
}


@pytest.mark.parametrize("case", ANSWERS, ids=str)
def test_a_submission_was(case):
    answer, status, fields = ANSWERS[case]
    after = step(trial(), submission=answer)
    assert after.status is status
    assert {name: getattr(after, name) for name in fields} == fields


def test_a_lost_answer_and_a_running_job_is_adopted():
    after = step(trial(), submission=Unavailable("cut"), report=JobReport(S.RUNNING, "7"))
    assert (after.status, after.job_id, after.message) == (T.RUNNING, "7", "")


TIMES = {
    "right": (997.0, 999.0, 997.0, 999.0),
    "ten years behind": (-3e8, -3e8, 990.0, 990.0),
    "ten years ahead": (3e8, 3e8, NOW, NOW),
    "silent": (None, None, NOW, NOW),
}


@pytest.mark.parametrize("case", TIMES, ids=str)
def test_the_clock_of_a_backend_may_be(case):
    started, ended, wanted_start, wanted_end = TIMES[case]
    after = step(trial(), report=JobReport(S.SUCCEEDED, "7", started_at=started, ended_at=ended))
    assert (after.started_at, after.ended_at) == (wanted_start, wanted_end)
    after = step(trial(), report=JobReport(S.RUNNING, "7", started_at=started))
    assert after.started_at == wanted_start
    assert after.wish is None


METRICS = {
    "there": (Measurement((LOSS,)), 0, T.COMPLETED, None),
    "not there yet": (Measurement(missing="no loss"), 59, T.RUNNING, None),
    "not there in time": (Measurement(missing="no loss"), 60, T.FAILED, "METRICS_MISSING"),
    "useless": (Measurement(missing="NaN", invalid="NaN"), 0, T.FAILED, "METRICS_INVALID"),
    "not looked for": (None, 1e9, T.RUNNING, None),
}


@pytest.mark.parametrize("case", METRICS, ids=str)
def test_the_job_succeeded_and_its_metrics_are(case):
    measurement, later, status, reason = METRICS[case]
    after = step(running(ended_at=NOW), now=NOW + later, measurement=measurement)
    assert (after.status, after.reason) == (status, reason)


def test_missing_metrics_may_lead_to_abandonment():
    made = definition(missing_metrics={"retry_for": 0, "then": "abandon"})
    after = step(running(ended_at=NOW), made=made, measurement=Measurement(missing="no loss"))
    assert (after.status, after.reason) == (T.ABANDONED, "METRICS_MISSING")


def test_a_trial_that_is_given_up_while_its_metrics_are_awaited_ends_at_once():
    after = step(running(ended_at=NOW, wish=GIVE_UP), measurement=Measurement((LOSS,)))
    assert (after.status, after.reason) == (T.ABANDONED, "USER")


LIMITS = {
    "it runs": (running(), 1094.0, None),
    "it runs too long": (running(), 1095.0, "TIMEOUT"),
    "it waits": (trial(), 1189.0, None),
    "it waits too long": (trial(), 1190.0, "PENDING_TIMEOUT"),
    "its metrics are awaited": (running(ended_at=999.0), 1e9, None),
    "it is to end anyway": (running(wish=GIVE_UP), 1e9, "USER"),
    "it is a candidate": (trial(T.CANDIDATE), 1e9, None),
}


@pytest.mark.parametrize("case", LIMITS, ids=str)
def test_a_trial_is_wished_to_end_when(case):
    before, now, reason = LIMITS[case]
    after = step(before, now=now)
    assert (after.wish.reason if after.wish else None) == reason
    assert after.status is before.status


def symptom(action):
    return Symptom(
        LogPolicy(name="ecc", pattern="ECC", action=action), "an ECC error", "stderr.log"
    )


FAILED = JobReport(S.FAILED, reason="EXIT_CODE", message="it ended with exit status 1", node="n7")
POLICIES = {
    "retry": (T.CANDIDATE, {"infra": 1}, ()),
    "exclude_node": (T.CANDIDATE, {"infra": 1}, ("n7",)),
    "abandon": (T.ABANDONED, {}, ()),
    "fail": (T.FAILED, {}, ()),
}


@pytest.mark.parametrize("action", POLICIES)
def test_a_log_policy_decides_over_a_failed_attempt(action):
    after = step(running(), report=FAILED, symptom=symptom(action))
    assert (after.status, after.retries, after.avoid) == POLICIES[action]
    assert after.reason == "LOG_POLICY:ecc"
    assert after.message.startswith("it ended with exit status 1; stderr.log: an ECC error")


def test_a_log_policy_draws_on_the_budget_of_the_infrastructure():
    used = running(retries={"infra": 2})
    after = step(used, report=FAILED, symptom=symptom("exclude_node"))
    assert (after.status, after.reason) == (T.FAILED, "LOG_POLICY:ecc")


def test_a_node_that_is_not_known_is_not_excluded_and_that_is_said():
    report = JobReport(S.FAILED, message="it failed")
    after = step(running(), report=report, symptom=symptom("exclude_node"))
    assert (after.status, after.avoid) == (T.CANDIDATE, ())
    assert "its node is not known" in after.message


def test_a_node_is_to_blame_only_where_it_failed():
    assert step(running(), report=FAILED).avoid == ()
    lost = JobReport(S.INTERRUPTED, reason="PREEMPTED", node="n7")
    assert step(running(), report=lost).avoid == ()
    assert step(running(), report=JobReport(S.INTERRUPTED, node="n7")).avoid == ("n7",)


def test_a_log_policy_has_no_say_over_what_somebody_else_cancelled_or_what_succeeded():
    for state in (S.CANCELLED, S.SUCCEEDED):
        report = JobReport(state, "7")
        assert step(running(), report=report, symptom=symptom("retry")) == step(
            running(), report=report
        )
    given_up = running(wish=GIVE_UP)
    assert step(given_up, report=FAILED, symptom=symptom("retry")).reason == "USER"


def test_a_log_policy_sees_an_attempt_that_took_too_long_and_metrics_that_lack():
    late = step(running(wish=TRY_AGAIN), report=FAILED, symptom=symptom("exclude_node"))
    assert (late.status, late.reason, late.avoid) == (T.CANDIDATE, "LOG_POLICY:ecc", ("n7",))
    ended = running(ended_at=900.0)
    for measurement in (Measurement(invalid="loss is nan"), Measurement(missing="no loss")):
        after = step(ended, measurement=measurement, symptom=symptom("abandon"))
        assert (after.status, after.reason) == (T.ABANDONED, "LOG_POLICY:ecc")
        after = step(ended, measurement=measurement, symptom=symptom("retry"))
        assert (after.status, after.attempt, after.ended_at) == (T.CANDIDATE, 2, None)
    waiting = step(
        ended, now=910.0, measurement=Measurement(missing="no loss"), symptom=symptom("fail")
    )
    assert waiting.status is T.RUNNING
