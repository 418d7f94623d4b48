"""The real Kubernetes runner, over HTTP, on a fake cluster in simulated time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from services.kubernetes.cluster import NAMESPACE, FakeCluster
from services.kubernetes.errors import ApiError
from services.kubernetes.facts import condition, ended, finished

from metrics.base import Fetcher
from runners.base import JobState, Runner
from runners.kube.login import Connection
from runners.kube.options import KubernetesOptions
from scheduler.jobs import tasks_of
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.trial import Trial, TrialStatus
from simulation import weather
from simulation.faults import FAULTS, Chance, Violation
from simulation.ghosts import TRUTHS, Bodies, Ghost, was_patient
from simulation.history import History, definition_of
from simulation.invariants import Invariants, demand
from simulation.mortal import ClusterFetcher, MortalRunner
from simulation.weather import Trouble, Weather

IMAGE = "train:1"
OWN = ("submit", "stored", "ack", "poll", "appears", "cancel_fails", "cancel_lost")
OTHERS = {"node_fail", "preempted", "requeued", "vanishes", "metrics_late"}
COMMON = tuple(f for f in FAULTS if not f.startswith(OWN) and f not in OTHERS)
"""Those of the faults that are not a backend's."""


class Cluster:
    """A fake cluster whose time is that of a history, and all jobs there ever were."""

    poll_floor, max_jobs = 0.0, None
    """What a history draws for other backends."""

    def __init__(
        self,
        chance: Chance,
        folder: Path,
        allowed: Callable[[int, int], str],
        stored_id: Callable[[int, int], str | None],
    ) -> None:
        self.chance, self.allowed, self.stored_id = chance, allowed, stored_id
        self.looks_last = chance.of("looks last").choice((2.0, 30.0))
        """Seconds between two polls, for which the runners of a process share a look."""
        self.swept = 0.0
        """When, while all was well, somebody last saw all jobs and could delete what strays."""
        self.delay = 0.0
        """Seconds that slow requests have taken, by the clock of processes alone."""
        self.jobs: dict[str, Ghost] = {}
        self.wrong: list[str] = []
        """Promises broken while the server worked."""
        self.bodies = Bodies(chance, self._ghost_of)
        self.bodies.began = self._began
        self.skew = chance.rng.choice((0.0, 0.0, 1.5e9, 2.0e9))
        self.fake = FakeCluster(folder, self.bodies, lambda: chance.now + self.skew)
        names = chance.of("names")
        self.fake.store.unique = lambda: f"{names.getrandbits(128):032x}"
        self.trouble = Trouble(chance, self.fake, self.jobs)
        self.weather = Weather(chance, self.fake, self.jobs)
        self._create = self.fake.store.create
        self.fake.store.create = self._created  # type: ignore[method-assign]
        self.fake.front.faults.append(self.trouble)  # type: ignore[arg-type]
        queue = {"queue": "gpus"} if chance.rng.random() < 0.2 else {}
        section = {"image": IMAGE, "kubeconfig": str(self.fake.kubeconfig)} | queue
        self.options = KubernetesOptions.model_validate(section)
        self.runners: list[MortalRunner] = []
        self.connections: dict[str, Connection] = {}

    def clock(self) -> float:
        """Return the time of the processes that ask."""
        return self.chance.now + self.delay

    # -- what invariants ask

    @property
    def rejected(self) -> set[tuple[int, int]]:
        """Attempts that the server has refused for good."""
        return {_numbers(name) for name in self.trouble.refused}

    @property
    def touched(self) -> set[str]:
        """Names of the jobs whose end was asked for."""
        return self.trouble.deleted

    def at(self, trial: int, attempt: int) -> Ghost | None:
        """Return the job of one attempt."""
        return next(
            (g for g in self.jobs.values() if (g.trial, g.attempt) == (trial, attempt)), None
        )

    def look(self, ghost: Ghost) -> JobState:
        """Return how a job really stands: final once nothing of it runs or ever will."""
        store, dead = self.fake.store, self.fake.nodes.dead
        pods = [
            pod
            for pod in store.all("pods", NAMESPACE)
            if pod["metadata"]["labels"]["job-name"] == ghost.name
        ]
        if any(not ended(pod) and pod["spec"].get("nodeName") not in dead for pod in pods):
            return JobState.RUNNING
        job = store.find("jobs", NAMESPACE, ghost.name)
        meta = job["metadata"] if job else {}
        if job is None or meta["uid"] != ghost.uid or meta.get("deletionTimestamp"):
            return JobState.LOST
        if finished(job):
            return JobState.SUCCEEDED if condition(job, "Complete") else JobState.FAILED
        wanted = self.stored_id(ghost.trial, ghost.attempt) == ghost.uid
        nobody_starts_it = ghost.strayed_at and job["spec"]["suspend"] and not wanted
        return JobState.LOST if nobody_starts_it else JobState.QUEUED

    # -- what the history does

    def progress(self) -> None:
        """Let time have its effect."""
        with self.fake.lock:
            self.bodies.progress()
            for request in self.trouble.late:
                self._do_late(request)
            self.trouble.late.clear()
            if not self.chance.quiet:
                self.weather.turn(IMAGE)
            self.weather.admit()
            self.fake.settle()
        self.check()

    def calm(self) -> None:
        """End all faults."""
        with self.fake.lock:
            self.weather.calm()

    def check(self) -> None:
        """Raise where a promise was broken behind the scenes."""
        if self.fake.front.broken:
            raise AssertionError("the fake broke") from self.fake.front.broken[0]
        if self.wrong:
            raise Violation(self.wrong[0])

    def close(self) -> None:
        """End it, and who talks to it."""
        for runner in self.runners:
            runner.close()
        self.fake.close()

    def _do_late(self, request: Any) -> None:
        name = weather.name_of(request)
        new = request.verb == "create" and not self.fake.store.find("jobs", NAMESPACE, name)
        if new:
            self._ghost(name).strayed_at = self.chance.now
        try:
            self.fake.api.handle(request)
        except ApiError:
            return

    # -- what happens in the server

    def _created(self, resource: str, namespace: str, item: dict) -> dict:
        made = self._create(resource, namespace, item)
        if resource == "jobs":
            ghost = self._ghost(made["metadata"]["name"])
            why = "" if ghost.strayed_at else self.allowed(ghost.trial, ghost.attempt)
            if why:
                self.wrong.append(f"{ghost.name} was made although {why}")
            if ghost.starts:
                self.wrong.append(f"{ghost.name} was made again after it had run")
            ghost.uid = made["metadata"]["uid"]
        return made

    def _began(self, ghost: Ghost, index: int) -> None:
        if ghost.starts[index] > 1 + ghost.restarts:
            self.wrong.append(f"the body of {ghost.name}, task {index}, ran twice")
        if self.stored_id(ghost.trial, ghost.attempt) != ghost.uid:
            self.wrong.append(f"{ghost.name} began although its id is not stored")

    def _ghost(self, name: str) -> Ghost:
        if name not in self.jobs:
            self.jobs[name] = Ghost(name, *_numbers(name), self.look)
        return self.jobs[name]

    def _ghost_of(self, trial: int, attempt: int) -> Ghost:
        found = self.at(trial, attempt)
        assert found is not None
        return found


def _numbers(name: str) -> tuple[int, int]:
    """Return trial and attempt from a job's name."""
    *_, trial, attempt = name.split("-")
    return int(trial[1:]), int(attempt[1:])


@dataclass
class ClusterHistory(History):
    """One history on a cluster of its own."""

    faults: ClassVar[tuple[str, ...]] = (*COMMON, *weather.FAULTS)
    patience: ClassVar[int] = 400

    folder: Path = Path()

    @property
    def root(self) -> Path:  # type: ignore[override]
        """Where trials have their folders."""
        return self.folder / "trials"

    def made_backend(self) -> Cluster:
        """Return the cluster."""
        return Cluster(self.chance, self.folder / "cluster", self._forbidden, self._stored_id)

    def made_invariants(self) -> Invariants:
        """Return what must hold, told by what really happened."""
        return Invariants(self.backend, TRUTHS)

    def made_runner(self, fenced: Callable[[str], None]) -> Runner:
        """Return the runner of a new process."""
        runner = MortalRunner(self.backend, fenced)
        self.backend.runners.append(runner)
        return runner

    def made_fetcher(self) -> Fetcher:
        """Return what reads the metric."""
        return ClusterFetcher(self.backend)

    def drawn_definition(self) -> ExperimentDefinition:
        """Return an experiment; in some, trials are held until they are released."""
        made = definition_of(self.chance)
        held = self.chance.rng.random() < 0.2
        changes = {"staging_required": held, "type": "kubernetes"}
        return made.model_copy(update={"runner": made.runner.model_copy(update=changes)})

    def play(self) -> "ClusterHistory":
        """Play it, on a cluster that is gone afterwards."""
        try:
            super().play()
        finally:
            self.backend.close()
        return self

    def _step(self) -> None:
        if self.store.definition.runner.staging_required:
            self._release()
        super()._step()
        self.backend.check()

    def _release(self) -> None:
        for trial in self.store.trials.values():
            held = trial.status is TrialStatus.STAGED and not trial.released
            if held and (self.chance.quiet or self.chance.rng.random() < 0.3):
                self.store.command("release", trial.index)

    def _check_end(self) -> None:
        super()._check_end()
        for trial in self.store.trials.values():
            if trial.status is TrialStatus.COMPLETED:
                self._check_output(trial)
        self._check_rest()

    def _check_rest(self) -> None:
        """Nothing of ours is left, and all that is another's."""
        backend = self.backend
        ghosts = backend.jobs.values()
        late = {g.name for g in ghosts if (g.strayed_at or 0.0) >= backend.swept}
        may_stay = late | {g.name for g in ghosts if was_patient(g.undeleted)}
        names = {job["metadata"]["name"] for job in backend.fake.store.all("jobs")}
        others = backend.trouble.namesakes
        demand(others <= names, "another's was deleted:", others - names)
        demand(names <= may_stay | others, "left behind:", names - may_stay - others)

    def _check_output(self, trial: Trial) -> None:
        """Nothing that a body printed is missing, or here twice."""
        ghost = self.backend.at(trial.index, trial.attempt)
        for index, task in enumerate(tasks_of(self.store.definition, trial, self.root)):
            log = (task.directory / "stdout.log").read_bytes()
            printed = ghost.printed.get(index, b"")
            demand(log == printed, ghost.name, log, "instead of", printed)
        if self.store.definition.trials.replicates == 1:
            for index, arm in enumerate(trial.arms):
                seen = self.store.observations[trial.index, arm.name, "loss"].mean
                demand(seen == ghost.values[index], seen, "instead of", ghost.values[index])
