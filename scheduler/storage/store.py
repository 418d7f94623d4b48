"""The store: what the loop writes, one transaction a tick, and what it needs to go on."""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    bindparam,
    exists,
    func,
    insert,
    select,
    update,
)

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import (
    STATUS_QUO,
    Changes,
    Command,
    Event,
    ExperimentState,
    ExperimentStatus,
    Tally,
    Verdict,
)
from scheduler.model.observation import Arms, MeasuredArms, Outcome
from scheduler.model.pooling import pooled
from scheduler.model.trial import ARMS_OWN, FINAL, Arm, Trial, TrialStatus
from scheduler.model.warm_start import NOTHING, Gathered, Transferred, complete
from scheduler.storage import lease as leases
from scheduler.storage import rows, schema
from scheduler.storage.engine import database_path, open_engine, translated
from scheduler.storage.write import write


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

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self.url = url

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> "Store":
        """Return the store at ``url``; make it where it is missing and ``create`` is set."""
        return cls(open_engine(url, create=create), url)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def create(
        self,
        definition: ExperimentDefinition,
        trials_dir: Path,
        now: float,
        warm: Gathered = NOTHING,
    ) -> None:
        """Store a new experiment with its status quo and hand-written arms as first trials.

        ``warm``: the arms that it begins with, measured elsewhere.
        """
        trials = first_trials(definition, now)
        events = [
            Event(now, "experiment_created", f"{definition.name}: {len(trials)} arms given"),
            *(Event(now, "warm_start", message) for message in warm.messages),
        ]
        with self.writing() as connection:
            values = {
                "name": definition.name,
                "token": secrets.token_hex(4),
                "definition": definition.canonical(),
                "trials_dir": str(trials_dir),
                "status": ExperimentStatus.RUNNING,
                "created_at": now,
            }
            result = connection.execute(insert(schema.experiment), values)
            (experiment_id,) = result.inserted_primary_key or (0,)
            changes = Changes(trials=tuple(trials), events=tuple(events))
            write(connection, int(experiment_id), changes, created=0)
            arms = [rows.transferred_row(experiment_id, i, a) for i, a in enumerate(warm.arms)]
            if arms:
                connection.execute(insert(schema.warm_start), arms)

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
        self, experiment: Experiment, definition: ExperimentDefinition, now: float, message: str
    ) -> None:
        """Replace the definition of an experiment that is not driven; let it go on."""
        event = Event(now, "definition_changed", message)
        with self.writing() as connection:
            values = {"definition": definition.canonical()}
            where = schema.experiment.c.id == experiment.id
            connection.execute(update(schema.experiment).where(where).values(values))
            write(connection, experiment.id, Changes(events=(event,)), created=0)
            _reopen(connection, experiment.id, None)

    def acquire(self, experiment: Experiment, now: float) -> leases.Lease:
        """Return the right to drive, or raise :class:`~scheduler.storage.lease.Held`."""
        name = experiment.definition.name
        path = leases.lock_path(database_path(self.url), name)
        with translated(self.url):
            return leases.acquire(self.engine, path, experiment.id, name, now)

    def is_driven(self, name: str) -> bool:
        """Whether a living process drives the experiment now."""
        return leases.is_held(leases.lock_path(database_path(self.url), name))

    def clock(self, experiment: Experiment) -> str:
        """Return the clock's anchor as it was last noted; empty where there is none."""
        query = select(schema.lease.c.clock).where(schema.lease.c.experiment_id == experiment.id)
        with self.reading() as connection:
            return connection.execute(query).scalar_one_or_none() or ""

    def load(self, experiment: Experiment) -> ExperimentState:
        """Return where an experiment stands.

        One that has ended is reopened for the trials that people sent back, and for them alone:
        what stopped it still holds, and lets them end.
        """
        with self.writing() as connection:
            state = _state(connection, experiment.id)
            ended = state.status is not ExperimentStatus.RUNNING
            if not ended or not _retry_wanted(connection, experiment.id):
                return state
            stop = replace(state.stop, drain=True) if state.stop else None
            _reopen(connection, experiment.id, stop)
            return replace(state, status=ExperimentStatus.RUNNING, stop=stop)

    def peek(self, experiment: Experiment) -> ExperimentState:
        """Return where an experiment stands; change nothing."""
        with self.reading() as connection:
            return _state(connection, experiment.id)

    def commit(
        self, lease: leases.Lease, state: ExperimentState, changes: Changes, clock: str
    ) -> None:
        """Write ``changes`` and the time driven, or nothing.

        Raises :class:`~scheduler.storage.lease.LeaseLost` where someone else drives now and
        :class:`~scheduler.storage.engine.StorageBusy` where it did not get through.
        """
        with self.writing() as connection:
            lease.guard(connection, state.seconds, clock)
            write(connection, lease.experiment_id, changes, created=state.tally.created)

    def commands(self, experiment_id: int) -> tuple[Command, ...]:
        """Return the commands that were not applied yet, oldest first."""
        with self.reading() as connection:
            found = connection.execute(_COMMANDS, {"experiment": experiment_id}).all()
            if not found:
                return ()
            wanted = [row.trial_index for row in found if row.trial_index is not None]
            trials = trials_at(connection, experiment_id, wanted)
        return tuple(Command(r.id, r.verb, trials.get(r.trial_index), r.reason) for r in found)

    def command(
        self, experiment_id: int, verb: str, trial_index: int | None, reason: str, now: float
    ) -> None:
        """Note what a person asks for; whoever drives the experiment applies it."""
        values = {
            "experiment_id": experiment_id,
            "verb": verb,
            "trial_index": trial_index,
            "reason": reason,
            "created_at": now,
        }
        with self.writing() as connection:
            connection.execute(insert(schema.command), values)

    def arms(self, experiment_id: int, skip: int = 0) -> Arms:
        """Return the parameters of all arms, in order, but for the first ``skip``."""
        c = schema.arm.c
        query = select(c.parameters).where(c.experiment_id == experiment_id)
        with self.reading() as connection:
            query = query.order_by(c.trial_index, c.position).offset(skip)
            return tuple(map(json.loads, connection.execute(query).scalars()))

    def failed(self, experiment_id: int) -> Arms:
        """Return the arms of trials that failed by their arms' own doing, in order."""
        t, a = schema.trial.c, schema.arm.c
        same = and_(a.experiment_id == t.experiment_id, a.trial_index == t.index)
        query = (
            select(a.parameters)
            .join_from(schema.trial, schema.arm, same)
            .where(t.experiment_id == experiment_id, t.status == TrialStatus.FAILED)
            .where(t.reason.in_(ARMS_OWN))
            .order_by(a.trial_index, a.position)
        )
        with self.reading() as connection:
            return tuple(map(json.loads, connection.execute(query).scalars()))

    def measured(self, experiment_id: int) -> MeasuredArms:
        """Return (parameters, metric -> (mean, standard error)) of measured arms, in order.

        Each arm once, however often it was measured: those of the warm start first, then those of
        the experiment's own trials.
        """
        with self.reading() as connection:
            prior = _transferred(connection, experiment_id)
        elsewhere = tuple((arm.parameters, arm.metrics) for arm in prior)
        return pooled(elsewhere + self.measured_here(experiment_id))

    def measured_here(self, experiment_id: int) -> MeasuredArms:
        """Return the same of the experiment's own trials alone."""
        a, o = schema.arm.c, schema.observation.c
        same = and_(
            a.experiment_id == o.experiment_id,
            a.trial_index == o.trial_index,
            a.name == o.arm_name,
        )
        query = (
            select(a.trial_index, a.position, a.parameters, o.metric, o.mean, o.sem)
            .join_from(schema.arm, schema.observation, same)
            .where(a.experiment_id == experiment_id)
            .order_by(a.trial_index, a.position, o.metric)
        )
        found: dict[tuple[int, int], tuple[Any, dict[str, tuple[float, float | None]]]] = {}
        with self.reading() as connection:
            for r in connection.execute(query):
                key = (r.trial_index, r.position)
                if key not in found:
                    found[key] = (json.loads(r.parameters), {})
                found[key][1][r.metric] = (r.mean, r.sem)
        return pooled(tuple(found.values()))

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that writes; it commits at the end or not at all."""
        connect = self.engine.connect().execution_options(writes=True)
        with translated(self.url), connect as connection, connection.begin():
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Reads of one moment."""
        with translated(self.url), self.engine.connect() as connection, connection.begin():
            yield connection


def _state(connection: Connection, experiment_id: int) -> ExperimentState:
    query = select(schema.experiment).where(schema.experiment.c.id == experiment_id)
    row = connection.execute(query).mappings().one()
    lease = select(schema.lease.c.seconds).where(schema.lease.c.experiment_id == experiment_id)
    definition = ExperimentDefinition.model_validate_json(row["definition"])
    prior = _transferred(connection, experiment_id)
    return ExperimentState(
        definition=definition,
        transferred=complete(prior, definition.required_metrics),
        status=ExperimentStatus(row["status"]),
        stop=rows.verdict_of(row["stop"]),
        active=_active(connection, experiment_id),
        tally=_tally(connection, experiment_id),
        outcomes=_outcomes(connection, experiment_id),
        seconds=connection.execute(lease).scalar_one_or_none() or 0.0,
    )


def _transferred(connection: Connection, experiment_id: int) -> tuple[Transferred, ...]:
    c = schema.warm_start.c
    query = select(schema.warm_start).where(c.experiment_id == experiment_id).order_by(c.position)
    return tuple(map(rows.transferred_of, connection.execute(query).mappings()))


# Asked at every tick, so it is made once: to make a statement takes longer than to run it.
_COMMANDS = (
    select(*(schema.command.c[name] for name in ("id", "verb", "trial_index", "reason")))
    .where(
        schema.command.c.experiment_id == bindparam("experiment"),
        schema.command.c.applied_at.is_(None),
    )
    .order_by(schema.command.c.id)
)


def trials_at(
    connection: Connection, experiment_id: int, indexes: Iterable[int]
) -> dict[int, Trial]:
    """Return trials by index, whatever their status."""
    wanted = list(indexes)
    if not wanted:
        return {}
    return _trials(connection, experiment_id, schema.trial.c.index.in_(wanted))


def _trials(
    connection: Connection, experiment_id: int, where: ColumnElement[bool]
) -> dict[int, Trial]:
    t, a = schema.trial, schema.arm
    found = connection.execute(
        select(t).where(t.c.experiment_id == experiment_id, where).order_by(t.c.index)
    ).mappings()
    of_these = select(t.c.index).where(t.c.experiment_id == experiment_id, where)
    arms: dict[int, list[Arm]] = {}
    query = (
        select(a)
        .where(a.c.experiment_id == experiment_id, a.c.trial_index.in_(of_these))
        .order_by(a.c.trial_index, a.c.position)
    )
    for row in connection.execute(query).mappings():
        arms.setdefault(row["trial_index"], []).append(rows.arm_of(row))
    return {row["index"]: rows.trial_of(row, arms[row["index"]]) for row in found}


def _active(connection: Connection, experiment_id: int) -> dict[int, Trial]:
    active = [status.value for status in TrialStatus if status not in FINAL]
    return _trials(connection, experiment_id, schema.trial.c.status.in_(active))


def _tally(connection: Connection, experiment_id: int) -> Tally:
    t, g = schema.trial.c, schema.generator_run.c
    of = t.experiment_id == experiment_id
    by_status = select(t.status, func.count()).where(of).group_by(t.status)
    by_node = select(t.node, func.count()).where(of, t.node.is_not(None)).group_by(t.node)
    completed = by_node.where(t.status == TrialStatus.COMPLETED.value)
    cursors = (
        select(g.generator, func.max(g.cursor))
        .where(g.experiment_id == experiment_id)
        .group_by(g.generator)
    )
    runs = select(func.count()).where(g.experiment_id == experiment_id)
    counts = {TrialStatus(s): n for s, n in connection.execute(by_status)}
    return Tally(
        created=sum(counts.values()),
        finished={status: n for status, n in counts.items() if status in FINAL},
        generated=dict(connection.execute(by_node).all()),
        completed=dict(connection.execute(completed).all()),
        generator_runs=connection.execute(runs).scalar_one(),
        cursors=dict(connection.execute(cursors).all()),
    )


def _outcomes(connection: Connection, experiment_id: int) -> tuple[Outcome, ...]:
    t, o, a = schema.trial.c, schema.observation.c, schema.arm.c
    same = and_(t.experiment_id == o.experiment_id, t.index == o.trial_index)
    its_arm = and_(
        a.experiment_id == o.experiment_id,
        a.trial_index == o.trial_index,
        a.name == o.arm_name,
    )
    query = (
        select(o.trial_index, o.arm_name, o.metric, o.mean)
        .join_from(schema.trial, schema.observation, same)
        .join(schema.arm, its_arm)
        .where(t.experiment_id == experiment_id, t.status == TrialStatus.COMPLETED)
        .order_by(t.completed_at, t.index, a.position)
    )
    means: dict[tuple[int, str], dict[str, float]] = {}
    for row in connection.execute(query):
        means.setdefault((row.trial_index, row.arm_name), {})[row.metric] = row.mean
    return tuple(Outcome(index, arm, values) for (index, arm), values in means.items())


def _experiment(row: Mapping[Any, Any]) -> Experiment:
    return Experiment(
        id=row["id"],
        token=row["token"],
        trials_dir=Path(row["trials_dir"]),
        definition=ExperimentDefinition.model_validate_json(row["definition"]),
        status=ExperimentStatus(row["status"]),
    )


def first_trials(definition: ExperimentDefinition, now: float) -> list[Trial]:
    """Return the trials of the arms that are given: the status quo first."""
    given = [(arm.name, arm.parameters) for arm in definition.arms]
    if definition.status_quo:
        given.insert(0, (STATUS_QUO, definition.status_quo.parameters))
    return [
        Trial(index, (Arm(name, definition.admit(parameters)),), created_at=now)
        for index, (name, parameters) in enumerate(given)
    ]


def _retry_wanted(connection: Connection, experiment_id: int) -> bool:
    """Whether the experiment has ended, and then a person sent one of its trials back."""
    c, e = schema.command.c, schema.experiment.c
    query = select(c.id).where(
        c.experiment_id == experiment_id,
        c.applied_at.is_(None),
        c.verb == "retry",
        exists().where(e.id == experiment_id, e.status != ExperimentStatus.RUNNING),
    )
    return connection.execute(query.limit(1)).first() is not None


def _reopen(connection: Connection, experiment_id: int, stop: Verdict | None) -> None:
    """Let an experiment go on that has stopped; what came too late to stop it is void."""
    e, c = schema.experiment.c, schema.command.c
    has_ended = exists().where(e.id == experiment_id, e.status != ExperimentStatus.RUNNING)
    late = (c.experiment_id == experiment_id, c.applied_at.is_(None), c.verb != "retry")
    void = update(schema.command).where(*late, has_ended).values(applied_at=c.created_at)
    connection.execute(void)
    text = rows.verdict_json(stop) if stop else None
    values = {"status": ExperimentStatus.RUNNING, "stop": text}
    connection.execute(update(schema.experiment).where(e.id == experiment_id).values(values))
