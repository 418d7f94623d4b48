"""One history: a whole experiment, driven through every fault that its seed draws."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from metrics.base import Fetcher
from runners.base import Runner
from scheduler.loop import Loop, World
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Criterion, ExperimentStatus
from scheduler.model.nodes import Traits
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.storage.errors import LeaseLost, StorageBusy, StorageError
from simulation.backend import Backend, SimulatedFetcher, SimulatedRunner
from simulation.faults import FAULTS, Chance, Crash, Violation
from simulation.generator import SimulatedGenerator, sequence
from simulation.invariants import TOKEN, Invariants, demand
from simulation.memory import MemoryJournal, MemoryStore, seeded

ROOT = Path("/t")
PATIENCE = 3000
"""Ticks without faults after which an experiment that has not ended is stuck."""


@dataclass(frozen=True)
class Parts:
    """The core as it is driven; a mutation replaces one of them by a wrong one."""

    loop: type[Loop] = Loop
    runner: type[SimulatedRunner] = SimulatedRunner
    journal: type[MemoryJournal] = MemoryJournal


@dataclass
class Driver:
    """One process that drives, or believes so."""

    loop: Loop
    epoch: int


@dataclass
class History:
    """Plays one seed. Raises :class:`Violation` where a promise is broken."""

    faults: ClassVar[tuple[str, ...]] = FAULTS
    patience: ClassVar[int] = PATIENCE
    root: ClassVar[Path] = ROOT

    seed: int
    parts: Parts = field(default_factory=Parts)
    without: frozenset[str] = frozenset()
    crash_at: frozenset[int] = frozenset()
    definition: ExperimentDefinition | None = None

    def __post_init__(self) -> None:
        self.chance = Chance(self.seed, self.without, self.crash_at, self.faults)
        self.backend = self.made_backend()
        self.invariants = self.made_invariants()
        definition = self.definition or self.drawn_definition()
        self.store: MemoryStore = seeded(definition, first_trials(definition))
        self.store.check = self.invariants.commit
        self.drivers: list[Driver] = []
        """The last one holds the lease."""
        rng = self.chance.rng
        self.cron = rng.random() < 0.15
        """Whether each process makes the ticks that are due, and leaves."""
        self.backend.max_jobs = rng.choice((None, None, None, 1, 2))
        self.backend.poll_floor = rng.choice((0.0, 0.0, 0.0, 5.0, 30.0))
        self.ticks = 0
        self.low = False

    def made_backend(self) -> Any:
        """Return the world of jobs."""
        return Backend(self.chance, self._forbidden, self._stored_id)

    def made_invariants(self) -> Invariants:
        """Return what must hold."""
        return Invariants(self.backend)

    def made_runner(self, fenced: Callable[[str], None]) -> Runner:
        """Return the backend as a new process reaches it."""
        return self.parts.runner(self.backend, fenced)

    def made_fetcher(self) -> Fetcher:
        """Return what reads the metric."""
        return SimulatedFetcher(self.backend)

    def drawn_definition(self) -> ExperimentDefinition:
        """Return an experiment."""
        return definition_of(self.chance)

    def play(self) -> "History":
        """Go through a time of faults, then through one without, to the end."""
        with self._named():
            for _ in range(self.chance.rng.randint(10, 50)):
                self._people()
                self._processes()
                self._step()
            self.chance.quiet = True
            self.backend.calm()
            self.store.command("unpause")
            for _ in range(self.patience):
                if self._ended():
                    break
                self._step()
            self._check_end()
        return self

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            kind = type(error).__name__
            raise Violation(f"seed {self.seed}, tick {self.ticks}: {kind}: {error}") from error

    def _step(self) -> None:
        """Let time pass, and everyone tick who believes to drive."""
        self.chance.now += self.chance.rng.choice((0.2, 1.0, 10.0, 10.0, 60.0, 200.0))
        self.backend.progress()
        if not self.drivers:
            self._start()
        for driver in list(self.drivers):
            if not driver.loop.ended:
                self._tick(driver)
        if self.cron:
            self._leave()
        self.invariants.world(self.store)

    def _leave(self) -> None:
        """Tick on while there is something to do, then let go."""
        for _ in range(20):
            if not self.drivers or self.drivers[-1].loop.ended:
                return
            loop = self.drivers[-1].loop
            if not (loop.eager or loop.world.generator.busy):
                break
            self.chance.now += 0.2
            self._tick(self.drivers[-1])
        self.drivers.clear()

    def _start(self) -> None:
        try:
            epoch = self.store.acquire()
            world = self._world(epoch)
            self.drivers.append(Driver(self.parts.loop(world), epoch))
        except (Crash, StorageError):
            return

    def _world(self, epoch: int) -> World:
        return World(
            journal=self.parts.journal(self.store, epoch, self.chance),
            runner=self.made_runner(lambda verb: self._fence(epoch, verb)),
            fetchers={"loss": self.made_fetcher()},
            generator=SimulatedGenerator(self.chance),
            now=lambda: self.chance.now,
            shortage=self._shortage,
            alive=self._alive,
            trials_dir=self.root,
            token=TOKEN,
            traits={"shelf": Traits(learns=False)},
        )

    def _tick(self, driver: Driver) -> None:
        self.ticks += 1
        commits = len(self.store.log)
        try:
            driver.loop.tick()
        except Crash:
            self.drivers.remove(driver)
        except LeaseLost:
            demand(driver.epoch < self.store.epoch, "the holder of the lease lost it")
            self.drivers.remove(driver)
        except StorageError:
            pass
        else:
            self._after(driver, len(self.store.log) > commits)

    def _after(self, driver: Driver, committed: bool) -> None:
        if driver.epoch == self.store.epoch:
            self.invariants.after(self.store, driver.loop.state)
        else:
            demand(not committed, "epoch", driver.epoch, "wrote after a later one began")

    def _shortage(self) -> str:
        """Look at the disk, as each tick does before it begins."""
        self.low = self.chance.strikes("disk_low")
        return "0 MiB are free" if self.low else ""

    def _alive(self) -> None:
        if self.chance.strikes("renewal_fails"):
            raise StorageBusy("the server does not answer")

    def _fence(self, epoch: int, verb: str) -> None:
        if verb == "submit" and self.low:
            raise Violation("a job was submitted though the disk is low")
        if epoch != self.store.epoch:
            raise Violation(f"epoch {epoch} called {verb} in epoch {self.store.epoch}")

    def _forbidden(self, index: int, attempt: int) -> str:
        trial = self.store.trials.get(index)
        if trial is None or trial.attempt != attempt:
            return "nothing of this attempt was stored"
        staged = trial.status is TrialStatus.STAGED
        return "" if staged else f"its trial is {trial.status}"

    def _stored_id(self, index: int, attempt: int) -> str | None:
        trial = self.store.trials.get(index)
        return trial.job_id if trial is not None and trial.attempt == attempt else None

    # -- people and processes

    def _people(self) -> None:
        chance, store = self.chance, self.store
        for verb in ("stop", "drain", "pause", "unpause"):
            if chance.strikes(f"command_{verb}"):
                store.command(verb, None, "enough")
        if chance.strikes("command_set"):
            store.command("set", **{"trials.total_trials": chance.rng.randint(1, 12)})
        endless = math.isinf(store.definition.cardinality)
        if endless and chance.strikes("command_add-arm"):
            store.command(
                "add-arm", parameters=sequence(store.definition, 10_000 + len(store.commands))
            )
        for verb in ("abandon", "retry"):
            if store.trials and chance.strikes(f"command_{verb}"):
                store.command(verb, chance.rng.randrange(len(store.trials)), "says me")

    def _processes(self) -> None:
        """Kill a driver between two ticks, or let a second one take over from a living one."""
        ended = self.drivers and self.drivers[-1].loop.ended
        if ended or self.chance.strikes("restart"):
            self.drivers.clear()
            if self.chance.strikes("budget"):
                self.store.redefine(budgeted(self.store.definition, self.chance))
        elif self.chance.strikes("takeover"):
            self._start()

    def _ended(self) -> bool:
        """Whether all is done; one whose end is not the end any more starts again."""
        if not self.drivers or not all(d.loop.ended for d in self.drivers):
            return False
        if any(verb == "retry" for _, verb, *_ in self.store.waiting()):
            self.drivers.clear()
            return False
        return True

    # -- the end

    def _check_end(self) -> None:
        store = self.store
        demand(store.status is not ExperimentStatus.RUNNING, "stuck:", _unfinished(store))
        demand(all(t.status.is_final for t in store.trials.values()), "a trial is not final")
        names = {
            self.invariants.name_of(t.index, a)
            for t in store.trials.values()
            for a in range(1, t.attempt + 1)
        }
        demand(self.backend.touched <= names, "someone else's job was cancelled")
        self._check_arms()
        self._check_verdict()

    def _check_arms(self) -> None:
        """Arms of a sequence are its first ones, however often a driver died."""
        store = self.store
        if any(run.generator != "sobol" for run in store.runs):
            return
        given = [a.parameters for t in store.trials.values() for a in t.arms if t.node is None]
        made = [
            a.parameters
            for i in sorted(store.trials)
            for a in store.trials[i].arms
            if store.trials[i].node is not None and a.name != "status_quo"
        ]
        positions = iter(range(10_000))
        for parameters in made:
            wanted = sequence(store.definition, next(positions))
            while wanted in given:
                wanted = sequence(store.definition, next(positions))
            demand(parameters == wanted, "arm", parameters, "was made instead of", wanted)

    def _check_verdict(self) -> None:
        stop, store = self.store.stop, self.store
        options, made = store.definition.trials, len(store.trials)
        demand(stop is not None, "it ended without a verdict")
        if stop.criterion is Criterion.TOTAL_TRIALS:
            demand(made >= options.total_trials, made, "trials made of", options)
        if stop.criterion is Criterion.SEARCH_SPACE_EXHAUSTED:
            size = store.definition.cardinality
            arms = sum(
                a.name != "status_quo" or t.node is None
                for t in store.trials.values()
                for a in t.arms
            )
            demand(size - arms < options.batch_size, arms, "arms made of", size)
        if stop.criterion is Criterion.USER:
            asked = [v for i, (v, *_) in store.commands.items() if i in store.applied]
            demand({"stop", "drain"} & {*asked}, "nobody asked for the stop")


def _unfinished(store: MemoryStore) -> list[Trial]:
    return [t for t in store.trials.values() if not t.status.is_final]


# -- experiments


def definition_of(chance: Chance) -> ExperimentDefinition:
    """Return an experiment drawn from the seed."""
    rng = chance.rng
    finite = rng.random() < 0.25
    x = {"name": "x", "type": "range", "bounds": [0, 1]}
    if finite:
        values = [i / 8 for i in range(rng.randint(2, 8))]
        x = {"name": "x", "type": "choice", "values": values}
    batch = rng.choice((1, 1, 1, 2, 3)) if not finite else 1
    strategy = [{"generator": "sobol"}]
    drawn = 1.0 if finite else rng.random()
    if 0.3 <= drawn < 0.45:
        done = {"completed_trials": 2}
        node = {"generator": "shelf", "num_trials": 3, "transition_criteria": done}
        strategy = [node, *strategy]
    if drawn < 0.3:
        model = {"generator": "botorch", "max_parallelism": rng.choice((None, 1, 2))}
        strategy = [{"generator": "sobol", "num_trials": 3}, model]
    return ExperimentDefinition.model_validate(
        {
            "name": "simulated",
            "parameters": [x],
            "objective": "-loss",
            "generation_strategy": {"nodes": strategy},
            "arms": [{"name": "mine", "parameters": {"x": 0.125}}] * (rng.random() < 0.3)
            if not finite
            else [],
            "status_quo": {"parameters": {"x": 0.0}} if rng.random() < 0.3 else None,
            "metrics": {"loss": {"available_while_running": rng.random() < 0.3}},
            "missing_metrics": {
                "retry_for": 60,
                "then": rng.choice(("fail", "abandon")),
            },
            "trials": {
                "total_trials": rng.randint(3, 12),
                "max_pending_trials": rng.randint(1, 4),
                "batch_size": batch,
                "replicates": rng.choice((1, 1, 1, 2)),
                "ttl": rng.choice((None, None, 100)),
                "pending_ttl": rng.choice((None, None, 100)),
            },
            "stopping_criteria": criteria(rng),
            "failures": failures(rng),
            "runner": {"type": "simulated", "command": ["train", "{params.x}"]},
        }
    )


def criteria(rng) -> dict:
    """Return when to stop."""
    return {
        "timeout": rng.choice((None,) * 9 + (2000,)),
        "goal": rng.choice((None, None, {"metric": "loss", "value": 0.1})),
        "improvement": rng.choice((None, None, {"min_trials": 4, "window_size": 2})),
    }


def failures(rng) -> dict:
    """Return what failures lead to."""
    return {
        "tolerated_trial_failure_rate": rng.choice((0.5, 1.0)),
        "min_failed_trials_for_failure_rate_check": rng.choice((1, 3, 5)),
        "retries": {
            kind: rng.choice((0, 1, 3))
            for kind in ("infra", "preempted", "timeout", "oom", "error")
        },
        "backoff": {"initial": rng.choice((0, 10))},
    }


def budgeted(definition: ExperimentDefinition, chance: Chance) -> ExperimentDefinition:
    """Return the experiment with another budget."""
    rng = chance.rng
    total = max(1, definition.trials.total_trials + rng.randint(-2, 4))
    changes = {"total_trials": total, "max_pending_trials": rng.randint(1, 4)}
    trials = definition.trials.model_copy(update=changes)
    return definition.model_copy(update={"trials": trials})


def first_trials(definition: ExperimentDefinition) -> list[Trial]:
    """Return the status quo and the hand-written arms as trials."""
    given = [(arm.name, arm.parameters) for arm in definition.arms]
    if definition.status_quo:
        given.insert(0, ("status_quo", definition.status_quo.parameters))
    return [Trial(i, (Arm(n, definition.admit(p)),)) for i, (n, p) in enumerate(given)]
