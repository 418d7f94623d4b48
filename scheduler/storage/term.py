"""The lease of a database that is a server: a term that ends by the server's clock unless renewed.

A holder that died, was suspended or lost its connection is replaced when its term is over, and its
epoch keeps it from writing when it comes back. One that is dead for sure, since it was of this
machine, is replaced at once.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from sqlalchemy import Connection, Float, bindparam, cast, extract, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from scheduler.clock import boottime
from scheduler.storage import schema
from scheduler.storage.errors import Held, StorageError
from scheduler.storage.lease import GUARD, IS_OURS, Lease, in_words, is_dead, me

TERM = 45.0
"""Seconds. Somebody who looks every ten seconds so takes over within a minute."""
RENEW_EVERY = 15.0
DUE = 10.0
"""Seconds after which a driver that comes by renews it: timers are never quite on time."""

L = schema.lease.c
_NOW = cast(extract("epoch", func.clock_timestamp()), Float)
_END = _NOW + TERM
_GUARD = GUARD.values(expires_at=_END)
_RENEW = update(schema.lease).where(*IS_OURS).values(expires_at=_END)
_RELEASE = update(schema.lease).where(*IS_OURS).values(expires_at=None)


class Server(Protocol):
    """What a lease needs of the database."""

    def writing(self) -> AbstractContextManager[Connection]:
        """One transaction that writes."""

    def single(self) -> AbstractContextManager[Connection]:
        """Statements that are a transaction each."""


class TermLease(Lease):
    """A lease that lasts while it is renewed, by :meth:`guard` or by :meth:`renew`."""

    renew_every = RENEW_EVERY
    guarding = _GUARD

    def __init__(
        self,
        server: Server,
        experiment_id: int,
        epoch: int,
        seconds: Callable[[], float] = boottime,
    ) -> None:
        """``seconds``: passes in suspension too; it says when a renewal is due, and no more."""
        super().__init__(experiment_id, epoch)
        self._server = server
        self._seconds = seconds
        self._renewed = seconds()

    def renew(self) -> None:
        """Say that we are alive. Raises LeaseLost and StorageError."""
        began = self._seconds()
        with self._server.single() as connection:
            if connection.execute(_RENEW, self._ours).rowcount != 1:
                self.check(connection)
        self._renewed = began

    def keep(self) -> None:
        """Renew it where that is due: so a driver that makes progress keeps it."""
        if self._seconds() - self._renewed >= DUE:
            self.renew()

    def release(self) -> None:
        """Let the next one drive. May be called twice."""
        # Where the server cannot be reached, the term ends by itself.
        with suppress(StorageError), self._server.single() as connection:
            connection.execute(_RELEASE, self._ours)


def acquire(server: Server, experiment_id: int, name: str, now: float) -> TermLease:
    """Return the lease, or raise :class:`~scheduler.storage.errors.Held`.

    One that is held is only looked at, so that those who wait for it do not disturb its holder.
    """
    here = L.experiment_id == experiment_id
    with server.single() as connection:
        seen = _seen(connection, here)
    if seen is not None and _lives(seen):
        raise _held(name, seen)
    values = {
        "experiment": experiment_id,
        "holder": me(now),
        "dead": seen.epoch if seen is not None and is_dead(seen.holder) else None,
    }
    with server.writing() as connection:
        epoch = connection.execute(_TAKE, values).scalar_one_or_none()
        if epoch is None:  # somebody was faster
            raise _held(name, _seen(connection, here))
    return TermLease(server, experiment_id, epoch)


def is_driven(server: Server, name: str) -> bool:
    """Whether a process that is not known to be dead drives the experiment now."""
    here = L.experiment_id == schema.experiment.c.id
    with server.single() as connection:
        seen = _seen(connection, here, schema.experiment.c.name == name)
    return seen is not None and _lives(seen)


def driven(server: Server, names: Collection[str]) -> set[str]:
    """Return which of these experiments a process drives that is not known to be dead."""
    e = schema.experiment.c
    query = select(e.name, L.holder, (L.expires_at - _NOW).label("left"))
    held = query.join(schema.lease, L.experiment_id == e.id).where(e.name.in_(names))
    with server.single() as connection:
        return {seen.name for seen in connection.execute(held) if _lives(seen)}


def _lives(seen: Any) -> bool:
    return (seen.left or 0) > 0 and not is_dead(seen.holder)


def _held(name: str, seen: Any) -> Held:
    left = max(0, round(seen.left or 0))
    return Held(f"{name} is driven by {in_words(seen.holder)}, whose lease ends in {left} s")


def _seen(connection: Connection, *where: Any) -> Any:
    """Return epoch, holder and the seconds left of a lease; ``None`` where there is none."""
    query = select(L.epoch, L.holder, (L.expires_at - _NOW).label("left")).where(*where)
    return connection.execute(query).one_or_none()


_NEW = insert(schema.lease).values(
    experiment_id=bindparam("experiment"),
    epoch=1,
    holder=bindparam("holder"),
    clock="",
    seconds=0.0,
    expires_at=_END,
)
_TAKE = _NEW.on_conflict_do_update(
    index_elements=["experiment_id"],
    set_={"epoch": L.epoch + 1, "holder": _NEW.excluded.holder, "expires_at": _END},
    where=or_(L.expires_at.is_(None), L.expires_at <= _NOW, L.epoch == bindparam("dead")),
).returning(L.epoch)
