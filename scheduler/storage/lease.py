"""Who drives an experiment: a lock that dies with its holder, and an epoch that fences writes."""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from scheduler.storage import schema
from scheduler.storage.errors import Held, LeaseLost, StorageError

PATIENCE = 5


class Lease:
    """The right to write an experiment, from :func:`acquire` to :meth:`release`."""

    renew_every: float | None = None
    """Seconds after which :meth:`renew` is due; ``None`` where the lease needs no renewal."""

    def __init__(self, experiment_id: int, epoch: int, lock: IO[str]) -> None:
        self.experiment_id = experiment_id
        self.epoch = epoch
        self._lock = lock

    def guard(self, connection: Connection, seconds: float, clock: str) -> None:
        """Check, as a transaction's first statement, that the lease is ours; note the time.

        Raises :class:`LeaseLost`.
        """
        ours = {"experiment": self.experiment_id, "held": self.epoch}
        values = {"seconds": seconds, "clock": clock}
        if connection.execute(_GUARD, {**ours, **values}).rowcount != 1:
            raise LeaseLost("another process took the experiment over")

    def renew(self) -> None:
        """Say that we are alive: the kernel knows."""

    def release(self) -> None:
        """Let the next one drive. May be called twice."""
        self._lock.close()


# Made once: to make a statement takes longer than to run it.
_GUARD = update(schema.lease).where(
    schema.lease.c.experiment_id == bindparam("experiment"),
    schema.lease.c.epoch == bindparam("held"),
)


def acquire(engine: Engine, path: Path, experiment_id: int, name: str, now: float) -> Lease:
    """Return the lease, or raise :class:`Held`.

    The lock is the kernel's, so it is free the moment its holder is dead, however it died.
    """
    try:
        lock = _patiently_locked(path)
    except BlockingIOError:
        raise Held(f"{name} is driven by {holder(engine, experiment_id)}") from None
    me = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now})
    statement = insert(schema.lease).values(
        experiment_id=experiment_id, epoch=1, holder=me, clock="", seconds=0.0
    )
    taken = statement.on_conflict_do_update(
        index_elements=["experiment_id"],
        set_={"epoch": schema.lease.c.epoch + 1, "holder": me},
    )
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        epoch = connection.execute(taken.returning(schema.lease.c.epoch)).scalar_one()
    return Lease(experiment_id, epoch, lock)


def holder(engine: Engine, experiment_id: int) -> str:
    """Return in words who acquired the lease last."""
    query = select(schema.lease.c.holder).where(schema.lease.c.experiment_id == experiment_id)
    with engine.connect() as connection:
        text = connection.execute(query).scalar_one_or_none()
    if text is None:
        return "another process that has just started"
    who = json.loads(text)
    return f"process {who['pid']} on {who['host']}"


def is_held(path: Path) -> bool:
    """Whether a living process drives the experiment now."""
    if not path.exists():
        return False
    try:
        _locked(path, fcntl.LOCK_SH).close()
    except BlockingIOError:
        return True
    return False


def lock_path(database: Path, name: str) -> Path:
    """Return the lock's file: beside the database, so on a local disk."""
    return database.with_name(f"{database.name}-{name}.lock")


def _patiently_locked(path: Path) -> IO[str]:
    """Lock, or raise BlockingIOError after a moment.

    A look of :func:`is_held`, or a child of a killed driver between fork and exec, holds the lock
    for that long.
    """
    for _ in range(PATIENCE):
        try:
            return _locked(path, fcntl.LOCK_EX)
        except BlockingIOError:
            time.sleep(0.02)
    return _locked(path, fcntl.LOCK_EX)


def _locked(path: Path, mode: int) -> IO[str]:
    """Lock at once. Raises BlockingIOError where it is held, StorageError where it cannot be."""
    try:
        lock = path.open("a")
    except OSError as error:
        raise StorageError(f"cannot lock {path}: {error.strerror}") from None
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise
    except OSError as error:  # a filesystem without locks
        lock.close()
        raise StorageError(f"cannot lock {path}: {error.strerror}") from None
    return lock
