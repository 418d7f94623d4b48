"""Opening a database: SQLite with durable settings, the schema's version, one-sentence errors."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, insert, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)

from scheduler.storage import schema
from scheduler.storage.errors import StorageBusy, StorageError
from scheduler.storage.migrations import migrate

NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "lustre", "beegfs", "9p", "fuse.sshfs"}


def open_engine(url: str, *, create: bool) -> Engine:
    """Return an engine on a database of this schema's version; an older one is brought up to it.

    With ``create`` a missing one is made; otherwise it is an error. Raises :class:`StorageError`.
    """
    parsed = _parse(url)
    _check_place(parsed, create)
    engine = create_engine(parsed)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    try:
        with translated(url):
            _check_version(engine, url, create)
    except StorageError:
        engine.dispose()
        raise
    return engine


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the database's errors into one sentence each."""
    try:
        yield
    except DatabaseError as error:
        if isinstance(error, (DataError, IntegrityError, InternalError, ProgrammingError)):
            raise  # a bug of ours, not of the place
        shown = make_url(url).render_as_string(hide_password=True)
        cause = str(error.orig).strip().rstrip(".")
        if not isinstance(error, OperationalError):
            raise StorageError(f"{shown} cannot be read: {cause}") from error
        raise StorageBusy(f"{shown}: {cause}") from error


def database_path(url: str) -> Path:
    """Return the absolute path of a SQLite database's file. Raises :class:`StorageError`."""
    name = _parse(url).database
    if not name or name == ":memory:":
        raise StorageError(f"{url} names no file; write for example sqlite:///schedd.db")
    return Path(name).absolute()


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError):
        text = f"{url!r} is not a database URL; write for example sqlite:///schedd.db"
        raise StorageError(text) from None
    if parsed.get_backend_name() != "sqlite":
        backend = parsed.get_backend_name()
        raise StorageError(f"storage on {backend} is not implemented yet; use sqlite:///FILE")
    return parsed


def _check_place(url: URL, create: bool) -> None:
    path = database_path(url.render_as_string(hide_password=False))
    if not create and not path.exists():
        raise StorageError(f"there is no database {path}; name it with --storage sqlite:///FILE")
    if not path.parent.is_dir():
        raise StorageError(f"the folder {path.parent} of the database does not exist")
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.W_OK):
            raise StorageError(
                f"{place} is not writable; SQLite keeps its journal beside the file"
            )
    kind = _filesystem(path.parent)
    if kind in NETWORK_FILESYSTEMS:
        raise StorageError(f"{path} is on {kind}; SQLite loses data there: use a local disk")


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


def _check_version(engine: Engine, url: str, create: bool) -> None:
    with engine.begin() as connection:
        empty = not engine.dialect.has_table(connection, "schema_info")
        if not empty:
            found = connection.execute(select(schema.schema_info.c.version)).scalar_one()
    if empty and create:
        _create(engine)
    elif empty:
        raise StorageError(f"{url} holds no schedd database")
    elif found > schema.VERSION:
        raise StorageError(
            f"{url} has schema version {found}; this schedd knows {schema.VERSION}: upgrade it"
        )
    elif found < schema.VERSION:
        migrate(engine)


def _create(engine: Engine) -> None:
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.has_table(connection, "schema_info"):
            return
        schema.metadata.create_all(connection)
        connection.execute(insert(schema.schema_info), {"version": schema.VERSION})
