"""One trial's next step: from what was seen of its job, its submission and its metrics. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from runners.base import JobReport, JobState, Rejected, RunnerError
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.failures import LOG_POLICY, Failures, LogPolicy
from scheduler.model.observation import Observation
from scheduler.model.trial import Reason, Trial, TrialStatus, Wish

RESUBMIT_AFTER = 5.0
"""Seconds after which a job that the backend had no room for is asked for again."""

AVOID_AT_MOST = 20
"""Nodes that a trial keeps away from, the latest; a whole cluster would leave no place to run."""

_KINDS: Mapping[str, str] = {
    Reason.OOM: "oom",
    Reason.TIMEOUT: "timeout",
    Reason.NODE_FAIL: "infra",
    Reason.LOST: "infra",
    Reason.PENDING_TIMEOUT: "timeout",
    Reason.PREEMPTED: "preempted",
}
"""Which budget of retries a failure draws on; all others draw on ``error``.

A log policy that asks for another attempt says that the infrastructure is to blame.
"""


SENT_BACK = "user"
"""Under this kind, ``retries`` counts how often people sent a trial back."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the fetchers said of one trial whose job has ended."""

    observations: tuple[Observation, ...] = ()
    missing: str = ""
    """Why a required metric is not there yet; empty where all are."""
    invalid: str = ""
    """Why a required metric can never be used; empty where all can."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """A line that an attempt wrote, and the log policy that it meets."""

    policy: LogPolicy
    line: str
    """Cut to what a sentence has room for."""
    file: str
    """Where it stands."""


@dataclass(frozen=True, slots=True)
class About:
    """Everything that was seen of one trial in one tick."""

    report: JobReport | None = None
    submission: str | RunnerError | None = None
    cancelled: bool = False
    measurement: Measurement | None = None
    symptom: Symptom | None = None
    """Counts where the attempt has failed."""


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why an attempt failed."""

    reason: str
    message: str
    symptom: Symptom | None = None
    node: str | None = None
    """Where it ran, as far as that is known."""
    again: bool = True
    """Whether another attempt might fare better."""
    otherwise: TrialStatus = TrialStatus.FAILED
    """What the trial is then where none follows."""


def advance(trial: Trial, definition: ExperimentDefinition, about: About, now: float) -> Trial:
    """Return the trial after this tick's news; the same object where nothing changed."""
    if about.submission is not None:
        trial = _acknowledged(trial, about.submission, now)
    if about.cancelled and trial.wish and not trial.wish.told:
        trial = trial.having(wish=replace(trial.wish, told=True))
    if trial.status.is_pending and trial.ended_at is None and about.report is not None:
        trial = _reported(trial, definition, about.report, about.symptom, now)
    if trial.status is TrialStatus.RUNNING and trial.ended_at is not None:
        trial = _measured(trial, definition, about.measurement, about.symptom, now)
    return _overdue(trial, definition, now)


def conclude(
    trial: Trial, status: TrialStatus, reason: str | None, message: str, now: float
) -> Trial:
    """Return the trial in a final status."""
    return trial.move(
        status, reason=reason, message=message, completed_at=now, wish=None, not_before=0.0
    )


def retried(trial: Trial, now: float) -> Trial:
    """Return a trial that a person sends back: a new attempt, budgets afresh, on any node."""
    times = {SENT_BACK: trial.retries.get(SENT_BACK, 0) + 1}
    again = _new_attempt(trial, times, Reason.USER, "sent back by a person", now)
    return again.having(avoid=())


def is_sent_back(trial: Trial) -> bool:
    """Whether a person wants it done again, even if the experiment has stopped."""
    return SENT_BACK in trial.retries


def _acknowledged(trial: Trial, submission: str | RunnerError, now: float) -> Trial:
    if isinstance(submission, str):
        return trial.having(job_id=submission, message="")
    if isinstance(submission, Rejected):
        return conclude(trial, TrialStatus.FAILED, Reason.REJECTED, str(submission), now)
    return trial.having(message=str(submission), not_before=now + RESUBMIT_AFTER)


def _reported(
    trial: Trial,
    definition: ExperimentDefinition,
    report: JobReport,
    symptom: Symptom | None,
    now: float,
) -> Trial:
    """Follow a positive statement of the backend about this attempt."""
    if report.state is JobState.RUNNING:
        return _running(trial, report, now)
    if report.state in (JobState.QUEUED, JobState.HELD):
        return _waiting(trial, report, now)
    if _never_existed(trial, report):
        if trial.wish is None or not trial.wish.told:
            return trial
        cause = _Cause(trial.wish.reason, trial.wish.message)
        return _wish_granted(trial, definition.failures, cause, now)
    if report.state is JobState.SUCCEEDED:
        return _succeeded(trial, report, now)
    if trial.wish:
        cause = _Cause(trial.wish.reason, trial.wish.message, symptom, report.node)
        return _wish_granted(trial, definition.failures, cause, now)
    return _failed(trial, definition.failures, report, symptom, now)


def _never_existed(trial: Trial, report: JobReport) -> bool:
    """Whether the same attempt may be submitted again: it was never accepted and never started.

    One that was accepted and then forgotten is a failed attempt like any other.
    """
    unacknowledged = trial.status is TrialStatus.STAGED and trial.job_id is None
    return report.state is JobState.LOST and unacknowledged and not report.may_have_run


def _running(trial: Trial, report: JobReport, now: float) -> Trial:
    seen = {"job_id": report.job_id or trial.job_id, "job_state": report.state.value}
    if trial.status is TrialStatus.STAGED:
        started_at = _within(trial.staged_at, report.started_at, now)
        return trial.move(TrialStatus.RUNNING, started_at=started_at, message="", **seen)
    return trial if _same(trial, seen) else trial.having(**seen)


def _waiting(trial: Trial, report: JobReport, now: float) -> Trial:
    """Keep it STAGED with what it waits for; a RUNNING one was requeued."""
    seen = {
        "job_id": report.job_id or trial.job_id,
        "job_state": report.state.value,
        "message": report.message,
    }
    if trial.status is TrialStatus.RUNNING:
        return trial.move(TrialStatus.STAGED, staged_at=now, started_at=None, **seen)
    return trial if _same(trial, seen) else trial.having(**seen)


def _within(earliest: float | None, reported: float | None, now: float) -> float:
    """Return a backend's time, held between two of ours: its clock may be off by years."""
    return now if reported is None else min(max(reported, earliest or 0.0), now)


def _same(trial: Trial, fields: dict[str, str | None]) -> bool:
    return all(getattr(trial, name) == value for name, value in fields.items())


def _succeeded(trial: Trial, report: JobReport, now: float) -> Trial:
    """Its job is done: metrics are awaited, unless it was to be given up."""
    if trial.wish and trial.wish.status is TrialStatus.ABANDONED:
        return conclude(trial, trial.wish.status, trial.wish.reason, trial.wish.message, now)
    if trial.status is TrialStatus.STAGED:
        started_at = _within(trial.staged_at, report.started_at, now)
        trial = trial.move(TrialStatus.RUNNING, started_at=started_at)
    return trial.having(
        job_id=report.job_id or trial.job_id,
        job_state=report.state.value,
        ended_at=_within(trial.started_at, report.ended_at, now),
        exit_code=report.exit_code,
        wish=None,
        message="",
    )


def _failed(
    trial: Trial, policy: Failures, report: JobReport, symptom: Symptom | None, now: float
) -> Trial:
    """Its job ended without success and nobody here asked for that."""
    message = report.message or f"the job ended {report.state}"
    trial = trial.having(job_state=report.state.value, exit_code=report.exit_code)
    if report.state is JobState.CANCELLED:
        return conclude(trial, TrialStatus.ABANDONED, Reason.CANCELLED, message, now)
    default = {JobState.LOST: Reason.LOST, JobState.INTERRUPTED: Reason.NODE_FAIL}
    reason = report.reason or default.get(report.state, Reason.EXIT_CODE)
    cause = _Cause(reason, message, symptom, report.node)
    return _failed_attempt(trial, policy, cause, now)


def _wish_granted(trial: Trial, policy: Failures, cause: _Cause, now: float) -> Trial:
    assert trial.wish is not None
    if trial.wish.status is TrialStatus.CANDIDATE:
        return _failed_attempt(trial, policy, cause, now)
    return conclude(trial, trial.wish.status, cause.reason, cause.message, now)


def _failed_attempt(trial: Trial, policy: Failures, cause: _Cause, now: float) -> Trial:
    """Follow with a new attempt of the same arms while the budget of this kind lasts."""
    cause = _diagnosed(cause)
    if not cause.again:
        return conclude(trial, cause.otherwise, cause.reason, cause.message, now)
    trial = trial.having(avoid=_avoid(trial, cause))
    kind = "infra" if cause.reason.startswith(LOG_POLICY) else _KINDS.get(cause.reason, "error")
    used = trial.retries.get(kind, 0)
    if used >= getattr(policy.retries, kind):
        return conclude(trial, TrialStatus.FAILED, cause.reason, cause.message, now)
    retries = {**trial.retries, kind: used + 1}
    again = _new_attempt(trial, retries, cause.reason, cause.message, now)
    return again.having(not_before=now + policy.backoff.delay(used))


def _diagnosed(cause: _Cause) -> _Cause:
    """Return the cause as a log policy sees it, where one applies."""
    symptom = cause.symptom
    if symptom is None:
        return cause
    action = symptom.policy.action
    message = f"{cause.message}; {symptom.file}: {symptom.line}"
    if action == "exclude_node" and cause.node is None:
        message += "; its node is not known, so none is excluded"
    return replace(
        cause,
        reason=symptom.policy.reason,
        message=message,
        again=action in ("retry", "exclude_node"),
        otherwise=TrialStatus.ABANDONED if action == "abandon" else TrialStatus.FAILED,
    )


def _avoid(trial: Trial, cause: _Cause) -> tuple[str, ...]:
    """Return the nodes to keep away from, with the one that is to blame for this failure."""
    excluded = cause.symptom is not None and cause.symptom.policy.action == "exclude_node"
    to_blame = excluded if cause.symptom else cause.reason == Reason.NODE_FAIL
    if not to_blame or cause.node is None or cause.node in trial.avoid:
        return trial.avoid
    return (*trial.avoid, cause.node)[-AVOID_AT_MOST:]


def _new_attempt(
    trial: Trial, retries: dict[str, int], reason: str, message: str, now: float
) -> Trial:
    return trial.move(
        TrialStatus.CANDIDATE,
        attempt=trial.attempt + 1,
        retries=retries,
        reason=reason,
        message=f"{message}; attempt {trial.attempt + 1} follows",
        not_before=now,
        job_id=None,
        job_state=None,
        exit_code=None,
        wish=None,
        staged_at=None,
        started_at=None,
        ended_at=None,
        completed_at=None,
    )


def _measured(
    trial: Trial,
    definition: ExperimentDefinition,
    measurement: Measurement | None,
    symptom: Symptom | None,
    now: float,
) -> Trial:
    """Complete it once its metrics are in; after a grace period their absence is a failure."""
    if trial.wish and trial.wish.status is TrialStatus.ABANDONED:
        return conclude(trial, trial.wish.status, trial.wish.reason, trial.wish.message, now)
    if measurement is None:
        return trial
    if measurement.invalid:
        cause = _Cause(Reason.METRICS_INVALID, measurement.invalid, symptom, again=False)
        return _failed_attempt(trial, definition.failures, cause, now)
    if not measurement.missing:
        return conclude(trial, TrialStatus.COMPLETED, None, "", now)
    policy = definition.missing_metrics
    if now - (trial.ended_at or now) < policy.retry_for:
        waiting = trial.having(message=measurement.missing)
        return trial if trial.message == measurement.missing else waiting
    status = TrialStatus.FAILED if policy.then == "fail" else TrialStatus.ABANDONED
    cause = _Cause(
        Reason.METRICS_MISSING, measurement.missing, symptom, again=False, otherwise=status
    )
    return _failed_attempt(trial, definition.failures, cause, now)


def _overdue(trial: Trial, definition: ExperimentDefinition, now: float) -> Trial:
    """Wish for the end of what runs, or waits, for longer than it may."""
    if trial.wish or trial.ended_at is not None:
        return trial
    limits = {
        TrialStatus.RUNNING: (definition.trials.ttl, trial.started_at, Reason.TIMEOUT, "ran"),
        TrialStatus.STAGED: (
            definition.trials.pending_ttl,
            trial.staged_at,
            Reason.PENDING_TIMEOUT,
            "waited",
        ),
    }
    limit, since, reason, did = limits.get(trial.status, (None, None, Reason.TIMEOUT, ""))
    if limit is None or since is None or now - since < limit:
        return trial
    message = f"it {did} for {now - since:.0f} s; the limit is {limit:.0f} s"
    return trial.having(wish=Wish(TrialStatus.CANDIDATE, reason, message))
