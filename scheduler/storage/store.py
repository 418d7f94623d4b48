"""The store: what the loop writes, one transaction a tick, and what it needs to go on."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import (
    STATUS_QUO,
    Ask,
    Changes,
    Command,
    Event,
    ExperimentState,
    ExperimentStatus,
)
from scheduler.model.observation import Arms, MeasuredArms
from scheduler.model.trial import Arm, Trial
from scheduler.model.warm_start import NOTHING, Gathered
from scheduler.storage import commands, learned, rows, schema
from scheduler.storage.commands import Asked
from scheduler.storage.database import Database, Tell
from scheduler.storage.engine import open_database
from scheduler.storage.lease import Lease
from scheduler.storage.state import state_of, trials_at
from scheduler.storage.write import insert_experiment, insert_rows, write


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is stored of an experiment as a whole."""

    id: int
    token: str
    """Part of every job's name, so that two databases never share one."""
    trials_dir: Path
    definition: ExperimentDefinition
    status: ExperimentStatus


class Store:
    """A database of experiments. What cannot be done raises a StorageError."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.writing = database.writing
        self.reading = database.reading

    @classmethod
    def open(cls, url: str, *, create: bool = False, tell: Tell = lambda _: None) -> "Store":
        """Return the store at ``url``; make it where it is missing and ``create`` is set.

        A database of an earlier version is brought up to the present one, which is told.
        """
        return cls(open_database(url, create=create, tell=tell))

    def close(self) -> None:
        """Close all connections."""
        self.database.engine.dispose()

    @property
    def url(self) -> str:
        """Where it is, for people: without a password."""
        return self.database.shown

    # -- experiments

    def create(
        self,
        definition: ExperimentDefinition,
        trials_dir: Path,
        now: float,
        warm: Gathered = NOTHING,
    ) -> bool:
        """Store a new experiment with its status quo and hand-written arms as first trials.

        ``warm``: the arms that it begins with, measured elsewhere. Return whether it was stored:
        where there is one of that name already, nothing is.
        """
        trials = first_trials(definition, now)
        events = [
            Event(now, "experiment_created", f"{definition.name}: {len(trials)} arms given"),
            *(Event(now, "warm_start", message) for message in warm.messages),
        ]
        values = {
            "name": definition.name,
            "token": secrets.token_hex(4),
            "definition": definition.canonical(),
            "trials_dir": str(trials_dir),
            "status": ExperimentStatus.RUNNING,
            "created_at": now,
        }
        with self.writing() as connection:
            experiment_id = insert_experiment(connection, values)
            if experiment_id is None:
                return False
            changes = Changes(trials=tuple(trials), events=tuple(events))
            write(connection, experiment_id, changes, created=0)
            arms = [rows.transferred_row(experiment_id, i, a) for i, a in enumerate(warm.arms)]
            insert_rows(connection, schema.warm_start, arms)
        return True

    def find(self, name: str) -> Experiment | None:
        """Return an experiment by name."""
        query = select(schema.experiment).where(schema.experiment.c.name == name)
        with self.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return _experiment(row) if row else None

    def names(self) -> list[str]:
        """Return the names of all experiments, oldest first."""
        query = select(schema.experiment.c.name).order_by(schema.experiment.c.id)
        with self.reading() as connection:
            return list(connection.execute(query).scalars())

    def redefine(
        self, lease: Lease, definition: ExperimentDefinition, now: float, message: str
    ) -> None:
        """Replace the definition of an experiment; let it go on. Raises LeaseLost."""
        event = Event(now, "definition_changed", message)
        experiment_id = lease.experiment_id
        with self.writing() as connection:
            lease.check(connection)
            values = {"definition": definition.canonical()}
            where = schema.experiment.c.id == experiment_id
            connection.execute(update(schema.experiment).where(where).values(values))
            write(connection, experiment_id, Changes(events=(event,)), created=0)
            commands.reopen(connection, experiment_id, None)

    # -- driving

    def acquire(self, experiment: Experiment, now: float) -> Lease:
        """Return the right to drive, or raise :class:`~scheduler.storage.errors.Held`."""
        return self.database.acquire(experiment.id, experiment.definition.name, now)

    def is_driven(self, name: str) -> bool:
        """Whether a living process drives the experiment now."""
        return self.database.is_driven(name)

    def clock(self, experiment: Experiment) -> str:
        """Return the clock's anchor as it was last noted; empty where there is none."""
        query = select(schema.lease.c.clock).where(schema.lease.c.experiment_id == experiment.id)
        with self.reading() as connection:
            return connection.execute(query).scalar_one_or_none() or ""

    def load(self, lease: Lease) -> ExperimentState:
        """Return where an experiment stands, to drive it. Raises LeaseLost.

        One that has ended is reopened for the trials that people sent back, and for them alone:
        what stopped it still holds, and lets them end.
        """
        experiment_id = lease.experiment_id
        with self.writing() as connection:
            lease.check(connection)
            state = state_of(connection, experiment_id)
            ended = state.status is not ExperimentStatus.RUNNING
            if not ended or not commands.retry_wanted(connection, experiment_id):
                return state
            stop = replace(state.stop, drain=True) if state.stop else None
            commands.reopen(connection, experiment_id, stop)
            return replace(state, status=ExperimentStatus.RUNNING, stop=stop)

    def peek(self, experiment: Experiment) -> ExperimentState:
        """Return where an experiment stands; change nothing."""
        with self.reading() as connection:
            return state_of(connection, experiment.id)

    def commit(self, lease: Lease, state: ExperimentState, changes: Changes, clock: str) -> None:
        """Write ``changes`` and the time driven, or nothing.

        Raises :class:`~scheduler.storage.errors.LeaseLost` where someone else drives now and
        :class:`~scheduler.storage.errors.StorageBusy` where it did not get through.
        """
        with self.writing() as connection:
            lease.guard(connection, state.seconds, clock)
            write(connection, lease.experiment_id, changes, created=state.tally.created)

    # -- what people ask

    def commands(self, experiment_id: int) -> tuple[Command, ...]:
        """Return the commands that were not applied yet, oldest first."""
        with self.database.looking() as connection:
            return commands.waiting(connection, experiment_id)

    def command(self, experiment_id: int, ask: Ask, now: float) -> int:
        """Note what a person asks for; whoever drives the experiment applies it. Return its id."""
        with self.writing() as connection:
            return commands.note(connection, experiment_id, ask, now)

    def is_applied(self, command_id: int) -> bool:
        """Whether a command has been carried out, or refused."""
        with self.reading() as connection:
            return commands.is_applied(connection, command_id)

    def asked(self, experiment_id: int, verb: str, request: str) -> Asked | None:
        """Return what was asked before by this name of a request."""
        with self.reading() as connection:
            return commands.asked(connection, experiment_id, verb, request)

    def begin(
        self,
        experiment_id: int,
        now: float,
        index: int | None = None,
        request: str | None = None,
    ) -> int | None:
        """Hand out the first trial that waits for somebody; ``None`` where none does.

        With ``index``: that trial, if it waits. The same ``request`` gets the same trial again.
        """
        with self.writing() as connection:
            return commands.begin(connection, experiment_id, now, index, request)

    def trials(self, experiment_id: int, indexes: Collection[int]) -> dict[int, Trial]:
        """Return trials by index, whatever their status."""
        with self.reading() as connection:
            return trials_at(connection, experiment_id, indexes)

    # -- what generators learn from

    def arms(self, experiment_id: int, skip: int = 0) -> Arms:
        """Return the parameters of all arms, in order, but for the first ``skip``."""
        with self.reading() as connection:
            return learned.arms(connection, experiment_id, skip)

    def failed(self, experiment_id: int, reasons: Collection[str]) -> Arms:
        """Return the arms of trials that FAILED for one of ``reasons``, in order."""
        with self.reading() as connection:
            return learned.failed(connection, experiment_id, reasons)

    def measured(self, experiment_id: int) -> MeasuredArms:
        """Return (parameters, metric -> (mean, standard error)) of measured arms, in order."""
        with self.reading() as connection:
            return learned.measured(connection, experiment_id)

    def measured_here(self, experiment_id: int) -> MeasuredArms:
        """Return the same of the experiment's own trials alone."""
        with self.reading() as connection:
            return learned.measured_here(connection, experiment_id)


def first_trials(definition: ExperimentDefinition, now: float) -> list[Trial]:
    """Return the trials of the arms that are given: the status quo first."""
    given = [(arm.name, arm.parameters) for arm in definition.arms]
    if definition.status_quo:
        given.insert(0, (STATUS_QUO, definition.status_quo.parameters))
    return [
        Trial(index, (Arm(name, definition.admit(parameters)),), created_at=now)
        for index, (name, parameters) in enumerate(given)
    ]


def _experiment(row: Mapping[Any, Any]) -> Experiment:
    return Experiment(
        id=row["id"],
        token=row["token"],
        trials_dir=Path(row["trials_dir"]),
        definition=ExperimentDefinition.model_validate_json(row["definition"]),
        status=ExperimentStatus(row["status"]),
    )
