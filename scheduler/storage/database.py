"""What every database gives the store, whichever it is: transactions, a lease, errors in words."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from scheduler.storage import schema
from scheduler.storage.errors import NoDatabase, StorageError
from scheduler.storage.lease import Lease
from scheduler.storage.migrations import migrate

Tell = Callable[[str], None]


class Database(ABC):
    """One database. What cannot be done raises a StorageError."""

    engine: Engine
    writer: Engine
    """The same, for transactions that write."""
    reader: Engine
    """The same, for transactions whose reads are all of one moment."""
    shown: str
    """Its URL for people, without a password."""
    folder: Path | None = None
    """Where it lies, if that is a disk of this machine."""

    # -- transactions

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that writes; it commits at the end or not at all."""
        with self.translated(), self.writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Reads of one moment."""
        with self.translated(), self.reader.begin() as connection:
            yield connection

    def looking(self) -> AbstractContextManager[Connection]:
        """Reads that need not be of one moment, so in as few round trips as there are."""
        return self.reading()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the database's errors into one sentence each; a bug of ours stays what it is."""
        try:
            yield
        except DBAPIError as error:
            sentence = self.sentence(error)
            if sentence is None:
                raise
            raise sentence from error

    @abstractmethod
    def sentence(self, error: DBAPIError) -> StorageError | None:
        """Return what to tell of an error; ``None`` where it is a bug of ours."""

    # -- leases

    @abstractmethod
    def acquire(self, experiment_id: int, name: str, now: float) -> Lease:
        """Return the right to drive. Raises :class:`~scheduler.storage.errors.Held`."""

    @abstractmethod
    def is_driven(self, name: str) -> bool:
        """Whether a living process drives the experiment now."""

    @abstractmethod
    def driven(self, names: Collection[str]) -> set[str]:
        """Return which of these experiments a living process drives now."""

    # -- care

    @abstractmethod
    def must_be_sound(self) -> None:
        """Look, as far as that is quick, whether it is damaged. Raises StorageError."""

    @abstractmethod
    def ask_health(self) -> Iterator[tuple[bool, str]]:
        """Yield whether each thing that can be looked at is sound, and a sentence."""

    @abstractmethod
    def backup(self, to: Path) -> None:
        """Write a consistent copy into a file that does not exist yet."""

    @abstractmethod
    def keep_a_copy(self, version: int, /) -> str:
        """Save what a migration from ``version`` could spoil; return where, to end a sentence."""

    # -- the schema

    def version(self) -> int:
        """Return the version of the schema; 0 where there is none."""
        with self.translated(), self.engine.begin() as connection:
            if not inspect(connection).has_table("schema_info"):
                return 0
            return int(connection.execute(select(schema.schema_info.c.version)).scalar_one())

    def prepare(self, *, create: bool, tell: Tell) -> None:
        """Bring the schema up to the present version.

        With ``create`` it is made where there is none; otherwise that is an error.
        """
        found = self.version()
        if found == 0 and create:
            self._create()
        elif found == 0:
            raise NoDatabase(f"{self.shown} holds no schedd database; schedd run makes one")
        elif found > schema.VERSION:
            raise StorageError(
                f"{self.shown} has schema version {found}; this schedd knows {schema.VERSION}: "
                "upgrade it"
            )
        elif found < schema.VERSION:
            with self.writing() as connection:
                said = migrate(connection, self.keep_a_copy)
            if said:
                tell(f"{self.shown}: {said}")

    def _create(self) -> None:
        with self.writing() as connection:
            self.lock_schema(connection)
            if inspect(connection).has_table("schema_info"):
                return
            schema.metadata.create_all(connection)
            connection.execute(insert(schema.schema_info), {"version": schema.VERSION})

    @abstractmethod
    def lock_schema(self, connection: Connection) -> None:
        """Keep others from making the schema until the transaction ends."""
