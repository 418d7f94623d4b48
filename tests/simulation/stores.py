"""One experiment in a store of either kind, for the promises that both keep."""

from contextlib import contextmanager
from dataclasses import dataclass

from places import KINDS, place

from scheduler.clock import Clock
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Ask, Changes, evolve
from scheduler.model.observation import GeneratorRun
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.storage.journal import ExperimentJournal
from scheduler.storage.store import Experiment, Store, first_trials
from simulation.memory import MemoryJournal, seeded


def definition(name="e", **changes):
    return ExperimentDefinition.model_validate(
        {
            "name": name,
            "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
            "objective": "-loss",
            "metrics": {"loss": {}, "extra": {}},
            "arms": [{"name": "mine", "parameters": {"x": 0.25}}],
            "status_quo": {"parameters": {"x": 0.5}},
            "runner": {"command": ["true"]},
            **changes,
        }
    )


@dataclass
class Driven:
    """One experiment in a store, under a lease."""

    journal: object
    command: object
    store: object
    experiment: Experiment | None = None
    leases: tuple = ()

    def state(self):
        return self.journal.load()

    def taken_over(self):
        """Let somebody else drive; return their journal."""
        if self.experiment is None:
            return MemoryJournal(self.store, self.store.acquire())
        self.leases[0].release()
        lease = self.store.acquire(self.experiment, 0.0)
        self.leases += (lease,)
        return ExperimentJournal(self.store, self.experiment, lease, Clock())

    def close(self):
        for lease in self.leases:
            lease.release()
        if self.experiment is not None:
            self.store.close()


def in_memory(made=None):
    made = made or definition()
    store = seeded(made, first_trials(made, 0.0))
    return Driven(MemoryJournal(store, store.acquire()), store.command, store)


def in_database(url, folder, made=None):
    made = made or definition()
    store = Store.open(url, create=True)
    store.create(made, folder, 0.0)
    experiment = store.find(made.name)
    lease = store.acquire(experiment, 0.0)

    def command(verb, index=None, reason="", **payload):
        store.command(experiment.id, Ask(verb, index, reason, payload), 0.0)

    journal = ExperimentJournal(store, experiment, lease, Clock())
    return Driven(journal, command, store, experiment, (lease,))


@contextmanager
def stored(kind, folder, made=None):
    """One experiment in memory, or in a new database of a kind."""
    if kind == "memory":
        yield in_memory(made)
        return
    with place(kind, folder) as url:
        driven = in_database(url, folder, made)
        yield driven
        driven.close()


def commit(driven, **changes):
    """Write, and return what both memory and store say then."""
    before = driven.state()
    made = Changes(time=1.0, **changes)
    driven.journal.commit(before, made)
    after = driven.state()
    assert evolve(before, made) == after
    assert [o.arm_name for o in evolve(before, made).outcomes] == [
        o.arm_name for o in after.outcomes
    ]
    return after


def trial(index, status=TrialStatus.CANDIDATE, arms=1, **fields):
    made = tuple(Arm(f"{index}_{k}", {"x": index / 100 + k / 10_000}) for k in range(arms))
    return Trial(index, made, status, generator_run=0, node=0, created_at=1.0, **fields)


EVERY = ("memory", *KINDS)
RUN = GeneratorRun(0, 0, "sobol", 2**32 - 1, cursor=5, predictions=({"loss": {"mean": 0.1}},))
