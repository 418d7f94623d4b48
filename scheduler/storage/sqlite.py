"""SQLite: a file on a local disk, every commit durable, one host."""

import os
import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InternalError,
    OperationalError,
    ProgrammingError,
)

from scheduler.storage import lock
from scheduler.storage.database import Database
from scheduler.storage.errors import NoDatabase, StorageBusy, StorageError
from scheduler.storage.lease import Lease

_ON_A_NETWORK = re.compile(
    "(fuse[.])?(9p|afs|beegfs|ceph|cifs|davfs|gcsfuse|glusterfs|gpfs|juicefs|lustre|ncpfs|nfs|nfs4"
    "|orangefs|pvfs2|rclone|s3fs|smb2|smb3|smbfs|sshfs|wekafs)"
)
"""Types of filesystems whose locks do not hold between hosts, or not at all."""


class Sqlite(Database):
    """A database in a file."""

    def __init__(self, url: URL, *, create: bool) -> None:
        """Raises NoDatabase where there is no file, and StorageError where none can be."""
        self.path = path_of(url)
        self.folder = self.path.parent
        self.shown = url.render_as_string()
        check_place(self.path, create=create)
        self.engine = create_engine(url, max_overflow=-1)
        event.listen(self.engine, "connect", _on_connect)
        event.listen(self.engine, "begin", _on_begin)
        self.reader = self.engine
        self.writer = self.engine.execution_options(writes=True)

    def sentence(self, error: DBAPIError) -> StorageError | None:
        """Return what to tell of an error; ``None`` where it is a bug of ours."""
        if isinstance(error, (DataError, IntegrityError, InternalError, ProgrammingError)):
            return None
        cause = str(error.orig).strip().rstrip(".")
        if isinstance(error, OperationalError):
            return StorageBusy(f"{self.shown}: {cause}")
        return StorageError(f"{self.shown} cannot be read: {cause}")

    def acquire(self, experiment_id: int, name: str, now: float) -> Lease:
        """Return the right to drive. Raises :class:`~scheduler.storage.errors.Held`."""
        with self.translated():
            path = lock.lock_path(self.path, name)
            return lock.acquire(self.reader, self.writer, path, experiment_id, name, now)

    def is_driven(self, name: str) -> bool:
        """Whether a living process drives the experiment now."""
        return lock.is_held(lock.lock_path(self.path, name))

    def driven(self, names: Collection[str]) -> set[str]:
        """Return which of these experiments a living process drives now."""
        return set(filter(self.is_driven, names))

    def ask_health(self) -> Iterator[tuple[bool, str]]:
        """Yield what the database says of its file, and whether references lead somewhere."""
        with self.reading() as connection:
            said = connection.exec_driver_sql("PRAGMA integrity_check(5)").scalars().all()
            lost = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if said == ["ok"]:
            yield True, "every page of the file is sound"
        else:
            yield False, f"the file is damaged: {'; '.join(said)}".replace("\n", " ")
        if lost:
            yield False, f"{len(lost)} rows refer to an experiment that is not there"

    def must_be_sound(self) -> None:
        """Read every page, but compare no index. Raises StorageError."""
        with self.reading() as connection:
            said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if said != "ok":
            words = " ".join(str(said).split())
            raise StorageError(
                f"{self.path} is damaged: {words}; put a copy that schedd db backup made in its "
                f"place, without {self.path.name}-wal and -shm"
            )

    def backup(self, to: Path) -> None:
        """Write a consistent copy into a file that does not exist yet, while others write."""
        try:
            to.touch(mode=0o600, exist_ok=False)
            with closing(sqlite3.connect(self.path)) as own, closing(sqlite3.connect(to)) as copy:
                own.backup(copy)
                found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except FileExistsError:
            raise StorageError(f"{to} exists already; it is left as it is") from None
        except OSError as error:
            raise StorageError(f"{to} cannot be written: {error.strerror}") from None
        except sqlite3.Error as error:
            to.unlink()
            raise StorageError(f"{self.shown} cannot be copied to {to}: {error}") from None
        if found != "ok":
            raise StorageError(f"the copy {to} is damaged, and so is {self.path}: {found}")

    def keep_a_copy(self, version: int) -> str:
        """Save the file as it was; return where, to end a sentence."""
        taken = range(1, 1000)
        names = (f"{self.path.name}.v{version}" + (f".{n}" if n > 1 else "") for n in taken)
        to = next(p for p in map(self.path.with_name, names) if not p.exists())
        self.backup(to)
        return f"; {to} is what it was"

    def lock_schema(self, connection: Connection) -> None:
        """Do nothing: who writes is alone."""


def path_of(url: URL) -> Path:
    """Return the absolute path of the file. Raises :class:`StorageError`."""
    if not url.database or url.database == ":memory:":
        raise StorageError(f"{url} names no file; write for example sqlite:///schedd.db")
    return Path(url.database).absolute()


def check_place(path: Path, *, create: bool) -> None:
    """Return if a database can be used there, or made if ``create``. Raises StorageError."""
    if not create and not path.exists():
        raise NoDatabase(f"there is no database {path}; name it with --storage sqlite:///FILE")
    if not path.parent.is_dir():
        raise StorageError(f"the folder {path.parent} of the database does not exist")
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.W_OK):
            raise StorageError(
                f"{place} is not writable; SQLite keeps its journal beside the file"
            )
    kind = _filesystem(path.parent)
    if _ON_A_NETWORK.fullmatch(kind):
        raise StorageError(
            f"{path} is on {kind}, where SQLite loses data: use a local disk, or PostgreSQL"
        )


def _filesystem(folder: Path) -> str:
    """Return the type of the filesystem that holds ``folder``; empty where it cannot be told."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    real = os.path.realpath(folder)
    best, kind = "", ""
    for line in mounts:
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _on_connect(connection: Any, _: object) -> None:
    """Make every commit durable, and leave BEGIN to us."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 10000")
    cursor.execute("PRAGMA foreign_keys = ON")
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if "readonly" not in str(error):
            raise
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _on_begin(connection: Any) -> None:
    """Take the write lock at once: a transaction that upgrades later can fail half-way."""
    if connection.get_execution_options().get("writes"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")
