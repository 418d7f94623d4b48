"""The verbs that care for the database itself: check, backup, upgrade."""

from datetime import UTC, datetime
from pathlib import Path

import click

from scheduler.cli import common
from scheduler.storage.care import findings
from scheduler.storage.engine import open_database


@click.group()
def db() -> None:
    """Check, copy or upgrade the database itself.

    Exit status: 0 all is well, 1 something was found, 78 the database cannot be used.
    """


@db.command()
@common.storage_option
@common.json_option
@click.pass_context
def check(ctx: click.Context, storage: str | None, as_json: bool) -> None:
    """Look whether the database is sound.

    Every page of a SQLite file is read; of a server, whether it keeps what it confirms. Then
    whether what is stored fits together. Nothing is changed.
    """
    database = open_database(common.storage_url(storage), upgrade=False)
    found = list(findings(database))
    if as_json:
        common.print_json([{"ok": ok, "message": message} for ok, message in found])
    else:
        for ok, message in found:
            click.echo(f"{common.mark(ok)} {message}")
    if not all(ok for ok, _ in found):
        ctx.exit(1)


@db.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@common.storage_option
def backup(file: Path | None, storage: str | None) -> None:
    """Write a consistent copy of the database, while others go on.

    FILE must not exist. Of SQLite it is a database of its own; of PostgreSQL what pg_dump writes,
    for pg_restore.
    """
    database = open_database(common.storage_url(storage), upgrade=False)
    file = file or Path(f"schedd-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.backup")
    database.backup(file.absolute())
    click.echo(f"{database.shown} is copied to {file.absolute()}")


@db.command()
@common.storage_option
def upgrade(storage: str | None) -> None:
    """Bring the database up to this version of schedd.

    Every verb does that when it opens an older database; a SQLite file is copied before.
    """
    told: list[str] = []
    database = open_database(common.storage_url(storage), tell=told.append)
    at = f"{database.shown}: nothing to do, its schema version is {database.version()}"
    click.echo(told[0] if told else at)
