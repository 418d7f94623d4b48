"""The lease of a database that is a file: a lock beside it that the kernel frees.

It is free the moment its holder is dead, however it died.
"""

import fcntl
import time
from pathlib import Path
from typing import IO

from sqlalchemy import Engine
from sqlalchemy.dialects.sqlite import insert

from scheduler.storage import schema
from scheduler.storage.errors import Held, StorageError
from scheduler.storage.lease import GUARD, Lease, holder, me

PATIENCE = 5


class LockLease(Lease):
    """A lease that lasts as long as its process."""

    guarding = GUARD

    def __init__(self, experiment_id: int, epoch: int, lock: IO[str]) -> None:
        super().__init__(experiment_id, epoch)
        self._lock = lock

    def renew(self) -> None:
        """Do nothing: the kernel knows that we are alive."""

    def keep(self) -> None:
        """Do nothing, for the same reason."""

    def release(self) -> None:
        """Let the next one drive. May be called twice."""
        self._lock.close()


def acquire(
    reader: Engine, writer: Engine, path: Path, experiment_id: int, name: str, now: float
) -> LockLease:
    """Return the lease, or raise :class:`~scheduler.storage.errors.Held`."""
    try:
        lock = _patiently_locked(path)
    except BlockingIOError:
        with reader.connect() as connection:
            raise Held(f"{name} is driven by {holder(connection, experiment_id)}") from None
    statement = insert(schema.lease).values(
        experiment_id=experiment_id, epoch=1, holder=me(now), clock="", seconds=0.0
    )
    taken = statement.on_conflict_do_update(
        index_elements=["experiment_id"],
        set_={"epoch": schema.lease.c.epoch + 1, "holder": statement.excluded.holder},
    )
    try:
        with writer.begin() as connection:
            epoch = connection.execute(taken.returning(schema.lease.c.epoch)).scalar_one()
    except BaseException:
        lock.close()
        raise
    return LockLease(experiment_id, epoch, lock)


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
