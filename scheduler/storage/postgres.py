"""PostgreSQL: a server for many hosts. Every wait for it is bounded, every commit is durable.

Writers run at READ COMMITTED: the first statement of each locks the lease's row and looks at its
epoch, so that those of one experiment follow one another, and whoever waited sees what the one
before has left. Readers run at REPEATABLE READ, READ ONLY: a snapshot, which waits for nobody.
"""

import logging
import os
import select as polling
import shutil
import subprocess
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError

from scheduler.storage import term
from scheduler.storage.database import Database, Tell
from scheduler.storage.errors import StorageBusy, StorageError
from scheduler.storage.lease import Lease

OLDEST = 15
SETTINGS: Mapping[str, str] = {
    "synchronous_commit": "on",
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
}
"""Of every session; they come with the connection, so they cost no round trip."""
CONNECT: Mapping[str, str | int] = {
    "application_name": "schedd",
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
    "target_session_attrs": "read-write",
}
"""What the URL may set otherwise, as ``?connect_timeout=20``."""
_ONE_OF_US = 0x5C4EDD
"""The advisory lock of those who make the schema."""
_PASSING = ("08", "25006", "25P03", "25P04", "40", "53", "55", "57", "58")
"""What passes: connections, read-only, idle, conflicts, resources, locks, operators, I/O."""


class Postgres(Database):
    """A database of a server."""

    def __init__(self, url: URL) -> None:
        """Connects to nothing yet. Raises StorageError for what is missing in ``url``."""
        self.shown = url.render_as_string()
        if "password" in url.query:
            raise StorageError("write a password as user:password@host, or into ~/.pgpass")
        self.url = url
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # it raises what it would log
        self.engine = create_engine(url, connect_args=_arguments(url), max_overflow=-1)
        weakref.finalize(self, self.engine.dispose)
        event.listen(self.engine, "checkout", _on_checkout)
        self.writer = self.engine
        self.reader = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def looking(self) -> AbstractContextManager[Connection]:
        """Reads that need not be of one moment: a round trip each, and no more."""
        return self.single()

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """Statements that are a transaction each."""
        with self.translated(), self._single.connect() as connection:
            yield connection

    def sentence(self, error: DBAPIError) -> StorageError | None:
        """Return what to tell of an error; ``None`` where it is a bug of ours."""
        cause, state = self._cause(error.orig), getattr(error.orig, "sqlstate", None) or ""
        if state == "42501":
            return StorageError(
                f"{self.shown}: {cause}; schedd needs a schema of its own to make tables in, "
                "for example CREATE SCHEMA schedd AUTHORIZATION its user"
            )
        if state.startswith(_PASSING) or isinstance(
            error.orig, (psycopg.OperationalError, psycopg.InterfaceError)
        ):
            return StorageBusy(f"{self.shown}: {cause}")
        if state.startswith("XX"):
            return StorageError(f"{self.shown} cannot be read: {cause}")
        return None

    def _cause(self, error: BaseException | None) -> str:
        """Return what the server or the driver says, in one line and without the password."""
        said = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
        words = " ".join(said.split()).rstrip(".")
        return words.replace(str(self.url.password), "***") if self.url.password else words

    # -- leases

    def acquire(self, experiment_id: int, name: str, now: float) -> Lease:
        """Return the right to drive. Raises :class:`~scheduler.storage.errors.Held`."""
        return term.acquire(self, experiment_id, name, now)

    def is_driven(self, name: str) -> bool:
        """Whether a process that is not known to be dead drives the experiment now."""
        return term.is_driven(self, name)

    def driven(self, names: Collection[str]) -> set[str]:
        """Return which of these experiments a process drives that is not known to be dead."""
        return term.driven(self, names)

    # -- the schema

    def prepare(self, *, create: bool, tell: Tell) -> None:
        """Look at the server's version first; then as every database."""
        with self.single() as connection:
            number = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
        version = int(number) // 10000
        if version < OLDEST:
            raise StorageError(
                f"{self.shown} is PostgreSQL {version}; schedd needs {OLDEST} or later"
            )
        super().prepare(create=create, tell=tell)

    def lock_schema(self, connection: Connection) -> None:
        """Keep others from making the schema until the transaction ends."""
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_OF_US})

    # -- care

    def must_be_sound(self) -> None:
        """Do nothing: a server looks at its own pages."""

    def ask_health(self) -> Iterator[tuple[bool, str]]:
        """Yield which server it is, and whether it keeps what it confirms."""
        with self.single() as connection:

            def shown(name: str) -> str:
                found: str = connection.exec_driver_sql(f"SHOW {name}").scalar_one()
                return found

            yield True, f"PostgreSQL {shown('server_version')}; pg_amcheck looks at its files"
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                if shown(name) == "off":
                    yield False, f"the server has {name} off: a crash of it loses what is stored"

    def backup(self, to: Path) -> None:
        """Write a consistent copy into a file that does not exist yet, by ``pg_dump``."""
        if to.exists():
            raise StorageError(f"{to} exists already; it is left as it is")
        url = self.url.set(drivername="postgresql", password=None).render_as_string()
        command = ["pg_dump", "--format=custom", f"--file={to}", f"--dbname={url}"]
        if shutil.which("pg_dump") is None:
            raise StorageError(f"pg_dump is not installed here; where it is: {' '.join(command)}")
        secret = {"PGPASSWORD": str(self.url.password)} if self.url.password else {}
        done = subprocess.run(
            command, env=os.environ | secret, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            to.unlink(missing_ok=True)
            raise StorageError(f"{' '.join(command)} failed: {' '.join(done.stderr.split())}")

    def keep_a_copy(self, _version: int) -> str:
        """Save nothing: the steps are one transaction, and copies of a server are its owner's."""
        return ""


def _arguments(url: URL) -> dict[str, Any]:
    """Return what a connection is made with, besides what the URL says itself."""
    ours = {name: value for name, value in CONNECT.items() if name not in url.query}
    settings = [f"-c {name}={value}" for name, value in SETTINGS.items()]
    theirs = url.query.get("options", ())
    before = [theirs] if isinstance(theirs, str) else theirs
    return ours | {"options": " ".join([*before, *settings])}


def _on_checkout(connection: Any, *_: object) -> None:
    """Look, without asking the server, whether it has closed the connection since it was used.

    Then the pool makes a new one, and a server that was restarted costs nobody a transaction.
    """
    if connection.closed:
        raise DisconnectionError
    poll = polling.poll()
    poll.register(connection.fileno(), polling.POLLIN)
    for _attempt in range(3):  # its last words, and then the end of the stream
        if not poll.poll(0):
            return
        try:
            connection.pgconn.consume_input()
        except psycopg.OperationalError as error:
            raise DisconnectionError from error
