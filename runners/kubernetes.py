"""Run jobs as Kubernetes Jobs: created suspended, started once their uid is on disk.

A Job's name is the job's, an annotation tells ours from another's, and its uid is its identity
ever after. What it writes is brought into the tasks' folders by the server's logs, so that neither
a shared disk nor anything of ours in the image is needed. ``docs/kubernetes.md`` has the whole.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from runners.base import (
    Job,
    JobRef,
    JobReport,
    JobState,
    Rejected,
    Runner,
    RunnerError,
    RunnerOptions,
    Unavailable,
)
from runners.folder import write_aside
from runners.kube import access, faults, jobs, manifest, objects, states
from runners.kube.api import Api, NotThere, Refusal
from runners.kube.observe import Observer, records_of
from runners.kube.options import KubernetesOptions
from runners.kube.record import End
from runners.kube.snapshot import Looks, Snapshot, pods_of
from runners.kube.template import Manifest
from runners.kube.text import dumped

LOOKS = Looks()
"""Shared by all runners of this process."""


class KubernetesRunner(Runner):
    """Jobs of the batch/v1 API, one for each job, with a Pod for each task."""

    Options = KubernetesOptions
    poll_floor = 2.0
    can_hold: ClassVar[bool] = True

    def __init__(
        self,
        options: RunnerOptions,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        looks: Looks = LOOKS,
    ) -> None:
        super().__init__(options, wake)
        self._options = KubernetesOptions.model_validate(options.model_dump())
        self._api = Api(
            kubeconfig=self._options.kubeconfig,
            context=self._options.context,
            namespace=self._options.namespace,
            timeout=self._options.request_timeout,
        )
        self._observer = Observer(self._api, self._options, clock)
        self._looks = looks
        self._seen: Snapshot | None = None
        """What the last poll looked at."""
        self._created: dict[str, str] = {}
        """Name and uid of the Jobs that this object created and has not started."""

    def render(self, job: Job) -> str:
        """Return the manifest as YAML. Raises Rejected for what can never run."""
        self._must_be_possible(job)
        return dumped(manifest.manifest(job, self._options))

    def examine(self, job: Job) -> None:
        """Ask the server, without a trace, whether it would take ``job``."""
        self._must_be_possible(job)
        wanted = manifest.manifest(job, self._options)
        try:
            made = jobs.create(self._api, wanted, dry_run=True).json("Job")
        except Refusal as refusal:
            raise _as_error(refusal) from None
        if problem := jobs.is_misunderstood(made, wanted):
            raise Rejected(f"this Kubernetes is too old: {problem}")

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
        """Create Jobs that do not run yet; after the first silence no more are tried."""
        answers: dict[str, str | RunnerError] = {}
        silence: Unavailable | None = None
        for job in jobs:
            try:
                answers[job.name] = silence or self._submit(job)
            except Unavailable as error:
                answers[job.name] = silence = error
            except (RunnerError, Refusal) as error:
                answers[job.name] = _as_error(error)
            except OSError as error:
                place = f": {error.filename}" if error.filename else ""
                answers[job.name] = Unavailable(f"its folder: {error.strerror}{place}")
        return answers

    def _must_be_possible(self, job: Job) -> None:
        fault = faults.fault(job, self._options)
        if fault is not None:
            raise Rejected(f"job {job.name!r} is impossible: {fault}")

    def _submit(self, job: Job) -> str:
        """Create one Job, or find it; return its uid. Raises RunnerError, Refusal, OSError."""
        self._must_be_possible(job)
        ref = JobRef(job.name, None, tuple(task.directory for task in job.tasks))
        records = records_of(ref)
        outcome = records.read().outcome
        if outcome is not None and outcome.job_id:
            return outcome.job_id
        for task in job.tasks:
            os.makedirs(task.directory, exist_ok=True)
            for name, text in task.files.items():
                write_aside(f"{task.directory}/{name}", text)
        records.note(token=records.token, context=self._api.current_context)
        wanted = manifest.manifest(job, self._options)
        try:
            made = jobs.create(self._api, wanted).json("Job")
        except Refusal as refusal:
            if refusal.reason != "AlreadyExists":
                raise
            made = self._existing(job.name, records.token)
            if jobs.state(made) == manifest.STARTED:
                return objects.uid(made)
        if problem := jobs.is_misunderstood(made, wanted):
            jobs.delete(self._api, made, wait=False)
            raise Rejected(f"this Kubernetes is too old: {problem}")
        self._created[job.name] = objects.uid(made)
        return objects.uid(made)

    def _existing(self, name: str, token: str) -> Manifest:
        """Return the Job that has the name already, if it is ours."""
        found = jobs.get(self._api, name)
        if found is None:
            raise Unavailable(f"the Job {name} was deleted just now")
        if not jobs.is_ours(found, name, token):
            raise Rejected(f"another Job in namespace {self._api.namespace} is called {name}")
        return found

    def stored(self, refs: Sequence[JobRef]) -> None:
        """Start Jobs that are neither held nor started."""
        waiting: list[JobRef] = []
        others: list[JobRef] = []
        for ref in refs:
            if ref.job_id is not None:
                fresh = self._created.get(ref.name) == ref.job_id
                (waiting if fresh else others).append(ref)
        if others:
            seen = self._look(0.0).jobs
            waiting += [
                ref
                for ref in others
                if (job := seen.get(ref.name)) is not None
                and objects.uid(job) == ref.job_id
                and jobs.state(job) == manifest.CREATED
            ]
        self._start(waiting, manifest.CREATED)

    def release(self, refs: Sequence[JobRef]) -> None:
        """Start held Jobs."""
        self._start(refs, manifest.HELD)

    def _start(self, refs: Sequence[JobRef], before: str) -> None:
        """Start Jobs whose state is ``before``. Raises Unavailable where one is as it was."""
        problems = []
        queue = self._options.queue
        for ref in refs:
            try:
                uid = ref.job_id or self._uid_of(ref)
                if uid is not None:
                    jobs.start(self._api, ref.name, uid, before=before, queue=queue)
                self._created.pop(ref.name, None)
            except Refusal as refusal:
                problems.append(f"{ref.name}: {refusal}")
        if problems:
            raise Unavailable(f"not every Job could be started: {'; '.join(problems)}")

    def _uid_of(self, ref: JobRef) -> str | None:
        """Return the uid of the Job of ours that has this name, if there is one."""
        found = jobs.get(self._api, ref.name)
        if found is None or not jobs.is_ours(found, ref.name, records_of(ref).token):
            return None
        return objects.uid(found)

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Look once at all Jobs and Pods of the namespace; bring output on the way."""
        self._seen = self._look(self.poll_floor)
        return self._observer.reports(refs, self._seen)

    def unfinished(self, prefix: str) -> Sequence[str]:
        """Return the names of Jobs in the last look that are neither over nor being deleted."""
        return [
            name
            for name, job in (self._seen.jobs if self._seen else {}).items()
            if name.startswith(prefix)
            and not states.is_over(job)
            and not job["metadata"].get("deletionTimestamp")
        ]

    def _look(self, max_age: float) -> Snapshot:
        """Return a look at the namespace. Raises Unavailable."""
        options = self._options
        place = options.kubeconfig, options.context, options.namespace, os.getenv("KUBECONFIG")
        try:
            return self._looks.at(place, self._api, max_age)
        except Refusal as refusal:
            raise Unavailable(f"the Jobs cannot be listed: {refusal}") from None

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """Bring what they have written, note why, and delete the Jobs."""
        problems = []
        self._observer.courier.begin()
        for ref in refs:
            try:
                self._cancel(ref)
            except (Refusal, OSError) as error:
                problems.append(f"{ref.name}: {error}")
        if problems:
            raise Unavailable(f"not everything could be cancelled: {'; '.join(problems)}")

    def _cancel(self, ref: JobRef) -> None:
        records = records_of(ref)
        job = jobs.get(self._api, ref.name)
        if job is None or not jobs.is_meant(job, ref, records.token) or states.is_over(job):
            return
        owned = pods_of(self._api, ref.name, objects.uid(job))
        view = states.read(job, owned, 0.0)
        self._observer.courier.bring(ref, view, at_once=True)
        if records.read().end is None:
            message = "it was cancelled"
            end = End(state=JobState.CANCELLED, message=message, node=view.node)
            records.note(token=records.token, end=end)
        jobs.delete(self._api, job)

    def check(self) -> Sequence[tuple[bool, str]]:
        """Ask the server what it is and what may be done there; create nothing."""
        return tuple(access.findings(self._api, self._options))

    def close(self) -> None:
        """Close the connections. Jobs go on."""
        self._api.close()


def _as_error(error: RunnerError | Refusal) -> RunnerError:
    """Return what a refusal means: ask later, or never again."""
    if isinstance(error, RunnerError):
        return error
    if error.is_passing and not isinstance(error, NotThere):
        return Unavailable(f"Kubernetes has no room or time now: {error}")
    return Rejected(f"Kubernetes refuses it: {error}")
