"""Who drives an experiment: the row that says so, and the epoch in it that fences every write."""

import json
import os
import socket
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Update, bindparam, select, update

from scheduler.storage import schema
from scheduler.storage.errors import LeaseLost

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Lease(ABC):
    """The right to write an experiment, from its acquisition to :meth:`release`."""

    renew_every: float | None = None
    """Seconds after which :meth:`renew` is due; ``None`` where the lease needs no renewal."""

    def __init__(self, experiment_id: int, epoch: int) -> None:
        self.experiment_id = experiment_id
        self.epoch = epoch

    def guard(self, connection: Connection, seconds: float, clock: str) -> None:
        """Check, as a transaction's first statement, that the lease is ours; note the time.

        Raises :class:`~scheduler.storage.errors.LeaseLost`.
        """
        values = {"seconds": seconds, "clock": clock}
        if connection.execute(self.guarding, {**self._ours, **values}).rowcount != 1:
            raise LeaseLost(f"{holder(connection, self.experiment_id)} took the experiment over")

    guarding: Update

    def check(self, connection: Connection) -> None:
        """Check the same, and let nobody take it until the transaction ends; note nothing."""
        if connection.execute(_OURS, self._ours).first() is None:
            raise LeaseLost(f"{holder(connection, self.experiment_id)} took the experiment over")

    @property
    def _ours(self) -> dict[str, Any]:
        return {"experiment": self.experiment_id, "held": self.epoch}

    @abstractmethod
    def renew(self) -> None:
        """Say that we are alive. Raises LeaseLost and StorageError."""

    @abstractmethod
    def keep(self) -> None:
        """Renew it where that is due. Raises as :meth:`renew` does."""

    @abstractmethod
    def release(self) -> None:
        """Let the next one drive. May be called twice."""


IS_OURS = (
    schema.lease.c.experiment_id == bindparam("experiment"),
    schema.lease.c.epoch == bindparam("held"),
)
# Made once: to make a statement takes longer than to run it.
GUARD = (
    update(schema.lease)
    .where(*IS_OURS)
    .values(seconds=bindparam("seconds"), clock=bindparam("clock"))
)
_OURS = select(schema.lease.c.epoch).where(*IS_OURS).with_for_update()


# -- the holder


def me(now: float) -> str:
    """Return what tells this process from all others, of any machine, as the row keeps it."""
    who = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    return json.dumps(who | {"machine": _machine(), "started": _started(os.getpid())})


def holder(connection: Connection, experiment_id: int) -> str:
    """Return in words who acquired the lease last."""
    query = select(schema.lease.c.holder).where(schema.lease.c.experiment_id == experiment_id)
    return in_words(connection.execute(query).scalar_one_or_none())


def in_words(text: str | None) -> str:
    """Return a holder for people; ``None``: it holds the lock and has not stored itself yet."""
    if text is None:
        return "another process that has just started"
    who = json.loads(text)
    return f"process {who['pid']} on {who['host']}"


def is_dead(text: str) -> bool:
    """Whether a stored holder was of this machine and is surely gone."""
    who = json.loads(text)
    if not who.get("started") or who.get("machine") != _machine():
        return False
    return _started(who["pid"]) != str(who["started"])


def _machine() -> str:
    """Return what tells this boot, and this space of process ids, from others."""
    with suppress(OSError):
        return f"{BOOT_ID.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str:
    """Return when a living process was started, in ticks since boot; empty for no such process."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""
