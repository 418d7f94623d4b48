"""What people ask of an experiment, until whoever drives it has applied it."""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, String, bindparam, cast, exists, insert, select, update

from scheduler.model.experiment import Ask, Command, ExperimentStatus, Verdict
from scheduler.model.trial import TrialStatus
from scheduler.storage import rows, schema
from scheduler.storage.state import trials_at

# Asked at every tick, so it is made once: to make a statement takes longer than to run it.
_READ = ("id", "verb", "trial_index", "reason", "payload")
_COMMANDS = (
    select(*(schema.command.c[name] for name in _READ))
    .where(
        schema.command.c.experiment_id == bindparam("experiment"),
        schema.command.c.applied_at.is_(None),
    )
    .order_by(schema.command.c.id)
)


BEGIN = "begin"
REQUEST = "request"
"""Where a payload has the name that its caller gave to what is asked, to find it again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that was noted before."""

    id: int
    trial_index: int | None


def waiting(connection: Connection, experiment_id: int) -> tuple[Command, ...]:
    """Return the commands that were not applied yet, oldest first."""
    found = connection.execute(_COMMANDS, {"experiment": experiment_id}).all()
    if not found:
        return ()
    wanted = [row.trial_index for row in found if row.trial_index is not None]
    trials = trials_at(connection, experiment_id, wanted)
    return tuple(
        Command(r.id, r.verb, trials.get(r.trial_index), r.reason, json.loads(r.payload))
        for r in found
    )


def note(connection: Connection, experiment_id: int, ask: Ask, now: float) -> int:
    """Note what a person asks for; return the command's id."""
    values = {
        "experiment_id": experiment_id,
        "verb": ask.verb,
        "trial_index": ask.trial_index,
        "reason": rows.plain(ask.reason),
        "created_at": now,
        "payload": rows.to_json(dict(ask.payload)),
    }
    made = connection.execute(insert(schema.command).returning(schema.command.c.id), values)
    return int(made.scalar_one())


def asked(connection: Connection, experiment_id: int, verb: str, request: str) -> Asked | None:
    """Return what was asked before by this name of a request; of several, the first."""
    c = schema.command.c
    query = (
        select(c.id, c.trial_index, c.payload)
        .where(c.experiment_id == experiment_id, c.verb == verb)
        .where(c.payload.contains(request, autoescape=True))
        .order_by(c.id)
    )
    for row in connection.execute(query):
        if json.loads(row.payload).get(REQUEST) == request:
            return Asked(row.id, row.trial_index)
    return None


def is_applied(connection: Connection, command_id: int) -> bool:
    """Whether a command has been carried out, or refused."""
    c = schema.command.c
    query = select(c.id).where(c.id == command_id, c.applied_at.is_not(None))
    return connection.execute(query).first() is not None


def begin(
    connection: Connection,
    experiment_id: int,
    now: float,
    index: int | None = None,
    request: str | None = None,
) -> int | None:
    """Hand out the first trial that waits for somebody: note that it begins, and return its index.

    ``None`` where none waits; with ``index``, where that trial does not. Of two that ask at once,
    in transactions of their own, one gets it: an attempt begins once. Who asks again by the same
    ``request``, since the answer was lost, gets the same trial.
    """
    t, c = schema.trial.c, schema.command.c
    begun = exists().where(
        c.experiment_id == experiment_id,
        c.verb == BEGIN,
        c.trial_index == t.index,
        c.reason == cast(t.attempt, String),
    )
    waits = (
        select(t.index, t.attempt)
        .where(
            t.experiment_id == experiment_id,
            t.status == TrialStatus.STAGED.value,
            t.job_id.is_not(None),
            t.wish.is_(None),
            ~begun,
        )
        .order_by(t.index)
        .limit(1)
    )
    waits = waits if index is None else waits.where(t.index == index)
    # On PostgreSQL, whose transactions do not exclude each other, one takes its turn here.
    e = schema.experiment.c
    connection.execute(select(e.id).where(e.id == experiment_id).with_for_update())
    before = asked(connection, experiment_id, BEGIN, request) if request else None
    if before is not None:
        return before.trial_index
    found = connection.execute(waits).mappings().first()
    if found is None:
        return None
    payload = {"attempt": found["attempt"], **({REQUEST: request} if request else {})}
    ask = Ask(BEGIN, found["index"], str(found["attempt"]), payload)
    note(connection, experiment_id, ask, now)
    return int(found["index"])


def retry_wanted(connection: Connection, experiment_id: int) -> bool:
    """Whether the experiment has ended, and then a person sent one of its trials back."""
    c, e = schema.command.c, schema.experiment.c
    query = select(c.id).where(
        c.experiment_id == experiment_id,
        c.applied_at.is_(None),
        c.verb == "retry",
        exists().where(e.id == experiment_id, e.status != ExperimentStatus.RUNNING),
    )
    return connection.execute(query.limit(1)).first() is not None


def reopen(connection: Connection, experiment_id: int, stop: Verdict | None) -> None:
    """Let an experiment go on that has stopped; what came too late to stop it is void."""
    e, c = schema.experiment.c, schema.command.c
    has_ended = exists().where(e.id == experiment_id, e.status != ExperimentStatus.RUNNING)
    late = (c.experiment_id == experiment_id, c.applied_at.is_(None), c.verb != "retry")
    void = update(schema.command).where(*late, has_ended).values(applied_at=c.created_at)
    connection.execute(void)
    text = rows.verdict_json(stop) if stop else None
    values = {"status": ExperimentStatus.RUNNING, "stop": text}
    connection.execute(update(schema.experiment).where(e.id == experiment_id).values(values))
