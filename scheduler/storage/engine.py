"""From a URL to a database that is open and of the present schema."""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from scheduler.storage import schema
from scheduler.storage.database import Database, Tell
from scheduler.storage.errors import StorageError
from scheduler.storage.sqlite import Sqlite, check_place, path_of

PSYCOPG = "postgresql+psycopg"
_POSTGRES = ("postgresql", "postgres", PSYCOPG)


def open_database(
    url: str, *, create: bool = False, upgrade: bool = True, tell: Tell = lambda _: None
) -> Database:
    """Return the database at ``url``, its schema of this version.

    With ``create`` a missing one is made; otherwise that is an error. An older schema is brought
    up to this version, which is told; without ``upgrade`` it is left as it is.
    Raises StorageError.
    """
    database = _connected(_parse(url), create=create)
    try:
        if upgrade or not 0 < database.version() <= schema.VERSION:
            database.prepare(create=create, tell=tell)
    except BaseException:
        database.engine.dispose()
        raise
    return database


def shown(url: str) -> str:
    """Return a URL as an open database shows it; empty for what is none."""
    with suppress(StorageError):
        return _parse(url).render_as_string()
    return ""


def absolute(url: str) -> str:
    """Return a URL that names the same database from every folder. Raises StorageError."""
    parsed = _parse(url)
    if parsed.drivername == PSYCOPG:
        return url
    return parsed.set(database=str(path_of(parsed))).render_as_string(hide_password=False)


def check_creatable(url: str) -> str:
    """Return in words that a database can be made where there is none. Raises StorageError."""
    parsed = _parse(url)
    if parsed.drivername == PSYCOPG:
        return f"{parsed.render_as_string()} answers, and schedd run makes its tables"
    path = path_of(parsed)
    check_place(path, create=True)
    return f"{path} can be made"


def folder_of(url: str) -> Path | None:
    """Return the folder of a database that is a file; ``None`` for one that is a server."""
    parsed = _parse(url)
    return None if parsed.drivername == PSYCOPG else path_of(parsed).parent


def _connected(url: URL, *, create: bool) -> Database:
    if url.drivername != PSYCOPG:
        return Sqlite(url, create=create)
    if find_spec("psycopg") is None:
        raise StorageError(
            "PostgreSQL needs the driver psycopg, which is not installed: "
            "pip install 'schedd[postgres]'"
        )
    from scheduler.storage.postgres import Postgres

    return Postgres(url)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in _POSTGRES:
            return parsed.set(drivername=PSYCOPG)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        text = (
            "the storage is not a database URL; write for example sqlite:///schedd.db "
            "or postgresql+psycopg://user@host/database"
        )
        raise StorageError(
            text if "@" in url else text.replace("the storage", repr(url))
        ) from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StorageError(
            f"storage on {parsed.drivername} is not supported; use sqlite:///FILE or {PSYCOPG}://"
        )
    return parsed
