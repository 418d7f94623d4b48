"""A store in memory that keeps the promises of the real one, and fails on demand."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import (
    Changes,
    Command,
    Event,
    ExperimentState,
    ExperimentStatus,
    Tally,
    Verdict,
    progress_after,
    troubles_after,
    way_of,
)
from scheduler.model.observation import GeneratorRun, Observation, Outcome
from scheduler.model.pooling import pooled
from scheduler.model.trial import Trial
from scheduler.storage.errors import LeaseLost, StorageBusy
from simulation.faults import Chance


@dataclass
class MemoryStore:
    """What is stored of one experiment, whatever becomes of those who drive it."""

    definition: ExperimentDefinition
    trials: dict[int, Trial] = field(default_factory=dict)
    arms: dict[tuple[int, int], object] = field(default_factory=dict)
    observations: dict[tuple[int, str, str], Observation] = field(default_factory=dict)
    curves: dict[tuple, Observation] = field(default_factory=dict)
    runs: list[GeneratorRun] = field(default_factory=list)
    commands: dict[int, tuple[str, int | None, str, dict]] = field(default_factory=dict)
    applied: set[int] = field(default_factory=set)
    status: ExperimentStatus = ExperimentStatus.RUNNING
    stop: Verdict | None = None
    paused: bool = False
    epoch: int = 0
    seconds: float = 0.0
    log: list[tuple[int, Changes]] = field(default_factory=list)
    """Every commit, with its epoch."""
    check: Callable[["MemoryStore", Changes, ExperimentState], None] = lambda *_: None
    """Called before a commit takes effect."""

    def acquire(self) -> int:
        """Return the epoch of a new lease; older ones write no more."""
        self.epoch += 1
        return self.epoch

    def command(
        self, verb: str, index: int | None = None, reason: str = "", **payload: object
    ) -> None:
        """Note what a person asks for."""
        self.commands[len(self.commands) + 1] = (verb, index, reason, payload)

    def redefine(self, definition: ExperimentDefinition) -> None:
        """Give another budget, and go on."""
        self.definition = definition
        self.reopen(None)

    def reopen(self, stop: Verdict | None) -> None:
        """Let what has stopped go on."""
        if self.status is not ExperimentStatus.RUNNING:
            self.applied |= {i for i, (verb, *_) in self.commands.items() if verb != "retry"}
        self.status, self.stop = ExperimentStatus.RUNNING, stop

    def load(self) -> ExperimentState:
        """Return what is stored; reopen what has ended if a retry was asked for."""
        retry = any(verb == "retry" for _, verb, *_ in self.waiting())
        if retry and self.status is not ExperimentStatus.RUNNING:
            self.reopen(replace(self.stop, drain=True) if self.stop else None)
        return self.state()

    def waiting(self) -> list[tuple[int, str, int | None, str, dict]]:
        """Return the commands that were not applied yet."""
        return [(i, *what) for i, what in self.commands.items() if i not in self.applied]

    def state(self) -> ExperimentState:
        """Return what is stored, afresh."""
        in_order = [self.trials[i] for i in sorted(self.trials)]
        finished: dict = {}
        generated: dict[int, int] = {}
        completed: dict[int, int] = {}
        for trial in in_order:
            if trial.status.is_final:
                finished[trial.status] = finished.get(trial.status, 0) + 1
            if trial.node is not None:
                generated[trial.node] = generated.get(trial.node, 0) + 1
                if trial.status.value == "COMPLETED":
                    completed[trial.node] = completed.get(trial.node, 0) + 1
        cursors: dict[str, int] = {}
        for run in self.runs:
            cursors[run.generator] = max(run.cursor, cursors.get(run.generator, 0))
        return ExperimentState(
            definition=self.definition,
            status=self.status,
            stop=self.stop,
            paused=self.paused,
            active={t.index: t for t in in_order if not t.status.is_final},
            tally=Tally(
                *(len(in_order), finished, generated, completed, len(self.runs), cursors),
                slowest=max(
                    (way_of(t) for t in in_order if t.status.value == "COMPLETED"), default=0.0
                ),
            ),
            outcomes=self._outcomes(),
            seconds=self.seconds,
            progress=progress_after(None, self._events()),
            troubles=troubles_after({}, self._events()),
        )

    def _events(self) -> Iterator[Event]:
        return (event for _, changes in self.log for event in changes.events)

    def _outcomes(self) -> tuple[Outcome, ...]:
        done = [t for t in self.trials.values() if t.status.value == "COMPLETED"]
        done.sort(key=lambda t: (t.completed_at, t.index))
        means: dict[tuple[int, str], dict[str, float]] = {}
        for trial in done:
            for arm in trial.arms:
                for o in self.of_arm(trial.index, arm.name):
                    means.setdefault((trial.index, arm.name), {})[o.metric] = o.mean
        return tuple(Outcome(index, arm, values) for (index, arm), values in means.items())

    def of_arm(self, index: int, arm: str) -> list[Observation]:
        """Return the final observations of one arm."""
        metrics = self.definition.metric_specs
        keys = [(index, arm, metric) for metric in metrics]
        return [self.observations[key] for key in keys if key in self.observations]

    def write(self, epoch: int, state: ExperimentState, changes: Changes) -> None:
        """Write all of ``changes``, or raise and write nothing."""
        if epoch != self.epoch:
            raise LeaseLost("another process took the experiment over")
        new = {(t.index, k): a for t in self._new(state, changes) for k, a in enumerate(t.arms)}
        if taken := self.arms.keys() & new.keys():
            raise StorageBusy(f"arms {sorted(taken)} exist")
        self.check(self, changes, state)
        self.arms |= new
        self.trials |= {t.index: t for t in changes.trials}
        self.observations |= {
            (o.trial_index, o.arm_name, o.metric): o for o in changes.observations
        }
        self.curves |= {(o.trial_index, o.attempt, o.metric, o.step): o for o in changes.curves}
        self.runs += changes.generator_runs
        self.applied |= set(changes.commands)
        self.status = changes.status or self.status
        self.stop = changes.stop or self.stop
        self.paused = self.paused if changes.paused is None else changes.paused
        self.definition = changes.definition or self.definition
        self.seconds = state.seconds
        self.log.append((epoch, changes))

    @staticmethod
    def _new(state: ExperimentState, changes: Changes) -> list[Trial]:
        return [t for t in changes.trials if t.index >= state.tally.created]


class MemoryJournal:
    """The store as one driver sees it, under its lease."""

    def __init__(self, store: MemoryStore, epoch: int, chance: Chance | None = None) -> None:
        self.store, self.epoch = store, epoch
        self.chance = chance or Chance(0)
        if chance is None:
            self.chance.quiet = True

    def load(self) -> ExperimentState:
        """Return what is stored."""
        self._read()
        if self.epoch != self.store.epoch:
            raise LeaseLost("another process took the experiment over")
        return self.store.load()

    def commit(self, state: ExperimentState, changes: Changes) -> None:
        """Write, or raise; the answer may be lost."""
        self.chance.point()
        if self.chance.strikes("commit_fails"):
            raise StorageBusy("the disk is full")
        self.store.write(self.epoch, state, changes)
        self.chance.point()
        if self.chance.strikes("commit_answer_lost"):
            raise StorageBusy("the connection was cut")

    def commands(self) -> tuple[Command, ...]:
        """Return the commands that were not applied yet."""
        self._read()
        trials = self.store.trials
        return tuple(
            Command(i, verb, None if index is None else trials.get(index), reason, payload)
            for i, verb, index, reason, payload in self.store.waiting()
        )

    def trials(self, indexes) -> Mapping[int, Trial]:
        """Return trials as they are stored."""
        self._read()
        return {i: self.store.trials[i] for i in indexes if i in self.store.trials}

    def measured(self) -> tuple:
        """Return (parameters, metrics) of completed arms, in order."""
        self._read()
        found = []
        for index in sorted(self.store.trials):
            for arm in self.store.trials[index].arms:
                values = {o.metric: (o.mean, o.sem) for o in self.store.of_arm(index, arm.name)}
                if values:
                    found.append((arm.parameters, values))
        return pooled(tuple(found))

    def failed(self, reasons) -> tuple[Mapping, ...]:
        """Return the arms of trials that FAILED for one of ``reasons``."""
        self._read()
        trials = [self.store.trials[index] for index in sorted(self.store.trials)]
        failed = [t for t in trials if t.status.value == "FAILED" and t.reason in reasons]
        return tuple(arm.parameters for trial in failed for arm in trial.arms)

    def arms(self) -> tuple[Mapping, ...]:
        """Return the parameters of all arms."""
        self._read()
        return tuple(self.store.arms[key].parameters for key in sorted(self.store.arms))

    def _read(self) -> None:
        self.chance.point()
        if self.chance.strikes("read_fails"):
            raise StorageBusy("the database is locked")


def seeded(definition: ExperimentDefinition, trials: list[Trial]) -> MemoryStore:
    """Return the store of a new experiment with its hand-written trials."""
    store = MemoryStore(definition)
    state = store.state()
    store.acquire()
    store.write(store.epoch, state, Changes(trials=tuple(trials)))
    store.log.clear()
    return replace(store, epoch=0)
