"""From a look at the server to reports: what is brought, noted and deleted on the way."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from runners.base import JobRef, JobReport, JobState, Unavailable
from runners.kube import jobs, manifest, objects, states
from runners.kube.api import Api, Refusal
from runners.kube.courier import GONE, Courier
from runners.kube.options import KubernetesOptions
from runners.kube.output import persist
from runners.kube.record import End, Record, Records
from runners.kube.snapshot import Snapshot, pods_of
from runners.kube.states import View
from runners.kube.template import Manifest

OUTPUT_PATIENCE = 300.0
"""Seconds for which the end of a job is not reported because its output cannot be had, or its Job
cannot be deleted."""


class Observer:
    """Looks at jobs, one by one, in one snapshot."""

    def __init__(
        self,
        api: Api,
        options: KubernetesOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._options = options
        self.courier = Courier(api, options, clock)
        self._looked: dict[str, int] = {}
        """When each job was looked at last: in which call of :meth:`reports`, and as which."""
        self._count = 0

    def reports(self, refs: Sequence[JobRef], snapshot: Snapshot) -> dict[str, JobReport]:
        """Return what is known of each; nothing of those of which nothing is known now.

        Raises Unavailable where nothing is known of any.
        """
        self.courier.begin()
        problem: Exception | None = None
        without_pods: list[tuple[JobRef, View]] = []
        found: dict[str, JobReport] = {}
        for ref in self._in_turn(refs):
            try:
                report = self._report(ref, snapshot, without_pods)
            except (Unavailable, Refusal, OSError) as error:  # of this one nothing is known now
                problem = problem or error
                continue
            except (TypeError, AttributeError, LookupError, ValueError) as error:
                problem = Unavailable(f"what is said of job {ref.name} makes no sense: {error}")
                continue
            if report is not None:
                found[ref.name] = report
        if problem and not found:
            raise Unavailable(str(problem))
        return found | self._explained(without_pods)

    def _in_turn(self, refs: Sequence[JobRef]) -> Iterator[JobRef]:
        """Yield jobs whose output was brought longest ago first: there may not be time for all."""
        self._looked = {ref.name: self._looked.get(ref.name, 0) for ref in refs}
        for ref in sorted(refs, key=lambda ref: self._looked[ref.name]):
            could = self.courier.can_bring
            yield ref
            if could:
                self._count += 1
                self._looked[ref.name] = self._count

    def _report(
        self, ref: JobRef, snapshot: Snapshot, without_pods: list[tuple[JobRef, View]]
    ) -> JobReport | None:
        records = records_of(ref)
        job, owned = self._found(ref, snapshot)
        if job is None:
            why = "there is no such Job; somebody must have deleted it"
            return self._gone(ref, records, why, snapshot.now)
        if not jobs.is_meant(job, ref, records.token):
            return self._gone(ref, records, "another Job has its name now", snapshot.now)
        view = states.read(job, owned, snapshot.now)
        if view.report.state.is_final:
            report = records.read().outcome or self._ended(ref, job, view, snapshot.now)
            done = report is not None and self._is_disposed_of(ref, report, snapshot.now)
            return report if done else None
        self.courier.bring(ref, view)
        if states.waits_without_pods(view, job):
            without_pods.append((ref, view))
        return self._going_on(records, job, view, snapshot.now)

    def _found(
        self, ref: JobRef, snapshot: Snapshot
    ) -> tuple[Manifest | None, Sequence[Manifest]]:
        """Return the Job and its Pods; asked for by name where the look does not have it.

        A look may be older than the Job, so that only this answer states that there is none.
        """
        job = snapshot.jobs.get(ref.name)
        if job is not None and ref.job_id in (None, objects.uid(job)):
            return job, snapshot.pods_of(job)
        job = jobs.get(self._api, ref.name)
        return job, [] if job is None else pods_of(self._api, ref.name, objects.uid(job))

    def _gone(self, ref: JobRef, records: Records, why: str, now: float) -> JobReport:
        """Report on a job of which the server states that it is not there; ``why`` in words."""
        record = records.read()
        if record.outcome is not None:
            return record.outcome
        here = self._api.current_context
        if record.context and here and record.context != here:
            raise Unavailable(
                f"job {ref.name} is in the context {record.context!r}, and the current one is "
                f"{here!r}; write kubernetes: {{context: {record.context}}}"
            )
        if ref.job_id and states.has_living(pods_of(self._api, ref.name, ref.job_id), now):
            message = "its Job is gone, and its last Pods are ending"
            return JobReport(JobState.RUNNING, ref.job_id, message=message)
        if record.end is None:
            return _lost(ref, why)
        report = _ended_by_us(record, record.end, ref.job_id)
        records.note(outcome=report)
        return report

    def _going_on(self, records: Records, job: Manifest, view: View, now: float) -> JobReport:
        """Report on a job that is not over; give up what will hardly ever start or end."""
        record = records.read()
        if view.disruption and record.disruption is None:
            records.note(disruption=view.disruption)
        if view.node and record.node != view.node:
            records.note(node=view.node)
        end = record.end or self._verdict(records, record, view, now)
        if end is None:
            return view.report
        if record.end is None:
            records.note(end=end)
        if not job["metadata"].get("deletionTimestamp") or view.lost_node:
            jobs.delete(self._api, job, wait=not view.lost_node)
        return replace(view.report, message=end.message)

    def _verdict(self, records: Records, record: Record, view: View, now: float) -> End | None:
        """Return why schedd itself ends this job, or nothing."""
        if view.lost_node:
            message = f"node {view.lost_node} does not answer"
            return End(
                state=JobState.INTERRUPTED,
                reason="NODE_FAIL",
                message=message,
                node=view.lost_node,
            )
        if not view.stuck:
            if record.stuck_since is not None:
                records.note(stuck_since=None)
            return None
        since = record.stuck_since
        if since is None or since > now:
            records.note(stuck_since=now)
            return None
        if now - since < self._options.start_grace:
            return None
        return End(
            state=JobState.FAILED, reason="CANNOT_START", message=view.stuck, node=view.node
        )

    def _ended(self, ref: JobRef, job: Manifest, view: View, now: float) -> JobReport | None:
        """Report on a job that is over, once its output is here and that is noted."""
        problem = self.courier.bring(ref, view)
        records = records_of(ref)
        # Without a problem there was no time, and another look brings the rest.
        lacks = problem != GONE and not self.courier.has_all(ref, view)
        if lacks and (not problem or _may_come(records, "silent_since", now)):
            return None
        has_results = self.courier.conclude(ref, view)
        record = records.read()
        end, report = record.end, view.report
        seen = record.disruption
        if seen and view.pods_missing and report.state is JobState.INTERRUPTED:
            report = replace(report, reason=seen.reason, message=seen.message, node=seen.node)
        if end and job["metadata"].get("deletionTimestamp") and not _succeeded(report):
            report = _ended_by_us(record, end, report.job_id)
        if problem or view.pods_missing:
            report = _without_output(report, problem or GONE, has_results=has_results)
        report = replace(report, node=report.node or record.node)
        records.note(outcome=report)
        return report

    def _is_disposed_of(self, ref: JobRef, report: JobReport, now: float) -> bool:
        """Rid the server of an ended Job; return whether there is nothing more to do about it.

        Its end is reported afterwards, since a job is not asked about again then.
        """
        kept = self._options.keep_failed and report.state is JobState.FAILED
        if report.job_id is None or kept:
            return True
        if not self.courier.has_time:
            return False
        persist(ref.directories)
        try:
            jobs.dispose(self._api, ref.name, report.job_id, int(self._options.ttl_after_finished))
        except Unavailable:
            return not _may_come(records_of(ref), "undeleted_since", now)
        except Refusal as refusal:
            passing = refusal.is_passing
            return not (passing and _may_come(records_of(ref), "undeleted_since", now))
        return True

    def _explained(self, without_pods: Sequence[tuple[JobRef, View]]) -> dict[str, JobReport]:
        """Return the reports on started jobs without Pods, with the reason for that."""
        if not without_pods:
            return {}
        why = jobs.troubles(self._api)
        return {
            ref.name: replace(view.report, message=f"no Pod can be made: {text}")
            for ref, view in without_pods
            if (text := why.get(str(view.report.job_id)))
        }


def _may_come(records: Records, since_when: str, now: float) -> bool:
    """Whether what cannot be had now is to be waited for, by the field that says since when."""
    since: float | None = getattr(records.read(), since_when)
    if since is None or since > now:
        records.note(**{since_when: now})
        return True
    return now - since < OUTPUT_PATIENCE


def records_of(ref: JobRef) -> Records:
    """Return the record of a job."""
    return Records(ref.directories, manifest.token(ref.name, ref.directories))


def _without_output(report: JobReport, why: str, *, has_results: bool) -> JobReport:
    """Return the final report on a job of which not all output is here.

    One that succeeded must not be measured by half of what it wrote.
    """
    words = f"not all of its output is here: {why}"
    if not _succeeded(report) or has_results:
        return replace(report, message="; ".join(filter(None, (report.message, words))))
    return replace(
        report,
        state=JobState.INTERRUPTED,
        reason="LOST",
        message=f"it succeeded, but {words}",
        exit_code=None,
    )


def _succeeded(report: JobReport) -> bool:
    return report.state is JobState.SUCCEEDED


def _lost(ref: JobRef, message: str) -> JobReport:
    known = ref.job_id is not None
    return JobReport(JobState.LOST, ref.job_id, "LOST", message, may_have_run=known)


def _ended_by_us(record: Record, end: End, job_id: str | None) -> JobReport:
    node = end.node or record.node
    return JobReport(end.state, job_id, end.reason, end.message, node=node)
