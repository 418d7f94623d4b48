"""A process beside a simulated cluster: it may die, and what it asks may take long."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from services.kubernetes.cluster import NAMESPACE

from metrics.base import Fetcher, FetchRequest, Point, UnavailableMetric
from metrics.jsonl import JsonlFetcher
from runners.base import Job, JobRef, JobReport, Unavailable
from runners.kube import jobs
from runners.kube.manifest import CREATED
from runners.kube.observe import records_of
from runners.kube.snapshot import Looks
from runners.kube.states import is_over
from runners.kubernetes import KubernetesRunner
from simulation.invariants import demand
from simulation.wire import wired

SLOW = (1.0, 6.0, 14.0)


class MortalRunner(KubernetesRunner):
    """The real runner in a process that may die before and after each request."""

    def __init__(self, cluster: Any, fenced: Callable[[str], None]) -> None:
        super().__init__(cluster.options, lambda: None, cluster.clock, Looks(cluster.clock))
        self.poll_floor = cluster.looks_last
        self.cluster, self.chance, self.fenced = cluster, cluster.chance, fenced
        wired(self._api._login, cluster.fake.front, cluster.connections)
        ask = self._api._request

        def mortal(*given: Any) -> Any:
            self.chance.point()
            if self.chance.strikes("http_slow"):
                cluster.delay += self.chance.rng.choice(SLOW)
            try:
                return ask(*given)
            finally:
                self.chance.point()

        self._api._request = mortal  # type: ignore[method-assign]

    def submit(self, wanted: Sequence[Job]) -> Any:
        """Submit, as who holds the lease; just before, another experiment's runner may look."""
        self.fenced("submit")
        if self.chance.strikes("looked_before"):
            self._neighbour_looks()
        return super().submit(wanted)

    def _neighbour_looks(self) -> None:
        try:
            self._look(0.0)
        except Unavailable:
            return

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Poll; note what the look must have shown."""
        found = super().poll(refs)
        if self.chance.quiet and self._seen:
            seen = self._seen.now - self.cluster.skew
            self.cluster.swept = max(self.cluster.swept, seen)
        return found

    def stored(self, refs: Sequence[JobRef]) -> None:
        """Start them; where that is said to have got through, none is as it was."""
        super().stored(refs)
        for ref, job in self._meant(refs):
            demand(jobs.state(job) != CREATED, ref.name, "was told to be started, and is not")

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """Cancel, as who holds the lease; where that is said to have got through, it has."""
        self.fenced("cancel")
        super().cancel(refs)
        for ref, job in self._meant(refs):
            ends = is_over(job) or job["metadata"].get("deletionTimestamp")
            demand(ends, ref.name, "was told to be cancelled, and is not")

    def _meant(self, refs: Sequence[JobRef]) -> Iterator[tuple[JobRef, dict[str, Any]]]:
        """Yield those that the server has, as it has them."""
        store = self.cluster.fake.store
        for ref in refs:
            job = store.find("jobs", NAMESPACE, ref.name)
            if job is not None and jobs.is_meant(job, ref, records_of(ref).token):
                yield ref, job


class ClusterFetcher(Fetcher):
    """Reads what lies in a trial's folder by now; or it does not."""

    def __init__(self, cluster: Any) -> None:
        super().__init__(JsonlFetcher.Options())
        self.cluster, self.real = cluster, JsonlFetcher(JsonlFetcher.Options())

    def fetch(self, request: FetchRequest) -> Sequence[Point]:
        """Return the curve so far, or the value."""
        if self.cluster.chance.strikes("fetch_fails"):
            for ghost in self.cluster.jobs.values():
                ghost.happened.add("fetch_failed")
            raise UnavailableMetric("no answer")
        return self.real.fetch(request)
