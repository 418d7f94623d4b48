"""A whole experiment on this machine's disk, its time set by hand, over a fake backend."""

import json

from runners.testing import FakeRunner, FakeWorld
from scheduler import registry
from scheduler.generation.sobol import SobolGenerator
from scheduler.generation.space import Space
from scheduler.loop import Loop, World
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Ask
from scheduler.storage.journal import ExperimentJournal
from scheduler.storage.state import trials_at
from scheduler.storage.store import Store


def definition(**changes):
    trials = {"total_trials": 6, "max_pending_trials": 2, **changes.pop("trials", {})}
    return ExperimentDefinition.model_validate(
        {
            "name": "e",
            "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
            "objective": "-loss",
            "generation_strategy": {"nodes": [{"generator": "sobol"}]},
            "trials": trials,
            "runner": {"command": ["train", "{params.x}"]},
            **changes,
        }
    )


class Now:
    """A clock that is set by hand."""

    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self):
        return self.time

    def anchor(self):
        return self

    def to_json(self):
        return ""


class Immediately:
    """Sobol without a child process."""

    def __init__(self, made):
        self._sobol = SobolGenerator(Space(made))
        self._reply = None

    @property
    def busy(self):
        return self._reply is not None

    def ask(self, request):
        self._reply = self._sobol.generate(request)

    def reply(self):
        reply, self._reply = self._reply, None
        return reply

    def close(self):
        self._reply = None


class Bench:
    """One experiment in a folder, and what drives it."""

    def __init__(self, url, folder, **changes):
        made = definition(**changes)
        self.now = Now()
        self.store = Store.open(url, create=True)
        self.store.create(made, folder / "trials", self.now())
        self.experiment = self.store.find("e")
        self.lease = self.store.acquire(self.experiment, self.now())
        self.backend = FakeWorld(self.body, clock=self.now, seconds=lambda _: 15.0)
        self.writes = lambda task, x: {"loss": x}
        self.fails = lambda job: 0
        self.runner = FakeRunner(world=self.backend)
        self.alive = self.lease.keep
        self.loop = self.start()
        self.events = []

    def start(self):
        made = self.experiment.definition
        world = World(
            journal=ExperimentJournal(self.store, self.experiment, self.lease, self.now),
            runner=self.runner,
            fetchers=registry.build_fetchers(made),
            generator=Immediately(made),
            now=self.now,
            alive=self.is_alive,
            trials_dir=self.experiment.trials_dir,
            token=self.experiment.token,
        )
        return Loop(world)

    def body(self, job):
        """Do what the command of a job does: write its metrics, or fail."""
        for task in job.tasks:
            values = self.writes(task, float(task.env["SCHEDD_PARAM_X"]))
            if values is not None:
                task.directory.mkdir(parents=True, exist_ok=True)
                (task.directory / "metrics.jsonl").write_text(json.dumps(values) + "\n")
        return self.fails(job)

    def is_alive(self):
        """Renew the lease, or what a test has put in the place of that."""
        self.alive()

    def tick(self, seconds=10.0):
        self.now.time += seconds
        self.events += self.loop.tick()

    def run(self, ticks=200):
        for _ in range(ticks):
            if self.loop.ended:
                break
            self.tick()
        assert self.loop.ended
        return self

    def command(self, verb, index=None, **payload):
        self.store.command(self.experiment.id, Ask(verb, index, "says me", payload), self.now())

    def trials(self):
        with self.store.reading() as connection:
            return trials_at(connection, self.experiment.id, range(100))

    def statuses(self):
        return [(t.status, t.reason) for t in self.trials().values()]

    def curve(self):
        query = "SELECT trial_index, step, mean FROM curve ORDER BY trial_index, step"
        with self.store.reading() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def written(self):
        """Return how many curve points and events are stored."""
        with self.store.reading() as connection:
            query = "SELECT (SELECT count(*) FROM curve), (SELECT count(*) FROM event)"
            return tuple(connection.exec_driver_sql(query).one())

    @property
    def stop(self):
        return self.loop.state.stop.criterion

    def close(self):
        self.lease.release()
        self.store.close()
