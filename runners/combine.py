"""One report on a job from the reports on its tasks."""

from collections.abc import Sequence

from runners.base import JobReport, JobState

_FIRST = (JobState.CANCELLED, JobState.INTERRUPTED, JobState.LOST, JobState.FAILED)
"""The state of a job whose tasks all ended is the first of these that a task has."""


def combine(reports: Sequence[JobReport]) -> JobReport:
    """Return what the reports on its tasks say of a job."""
    if len(reports) == 1:
        return reports[0]
    job_id = next((report.job_id for report in reports if report.job_id), None)
    starts = [report.started_at for report in reports if report.started_at is not None]
    start = min(starts, default=None)
    states = {report.state for report in reports}
    if not all(state.is_final for state in states):
        return _unfinished(reports, states, job_id, start)
    ends = [report.ended_at for report in reports if report.ended_at is not None]
    state = next((state for state in _FIRST if state in states), JobState.SUCCEEDED)
    first = next(report for report in reports if report.state is state)
    ran = any(report.may_have_run for report in reports)
    times = start, max(ends, default=None)
    what = first.reason, first.message, first.exit_code
    return JobReport(state, job_id, *what, ran, *times, first.node)


def _unfinished(
    reports: Sequence[JobReport], states: set[JobState], job_id: str | None, start: float | None
) -> JobReport:
    """It waits only while all its tasks do; then for what the first of them waits for."""
    waits = states <= {JobState.QUEUED, JobState.HELD}
    state = reports[0].state if waits else JobState.RUNNING
    message = reports[0].message if waits else ""
    return JobReport(state, job_id, message=message, started_at=start)
