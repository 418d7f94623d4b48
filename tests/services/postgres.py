"""A private, real PostgreSQL on 127.0.0.1, in a temporary folder, up in a second: for tests.

It runs as whoever runs the tests, but for root, whom the server refuses: then as ``postgres``.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from signal import SIGQUIT, Signals

import psycopg
from services.ports import Ports
from services.service import Service

IMMEDIATE = SIGQUIT
"""To stop as a power cut does; it recovers when it starts again."""
_USER = "postgres"
_QUICK = ("fsync=off", "full_page_writes=off", "autovacuum=off", "shared_buffers=32MB")


@cache
def _programs() -> Path | None:
    """Return the folder of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if found:
        return found[-1].parent
    anywhere = shutil.which("initdb")
    return Path(anywhere).resolve().parent if anywhere else None


def _version(program: Path) -> float:
    return float(program.parts[-3])


def why_not() -> str:
    """Return why no PostgreSQL can be had here; empty where one can."""
    if _programs() is None:
        return "no PostgreSQL: its server is not installed (apt-get install postgresql)"
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            return "no PostgreSQL: it refuses root, and there is no setpriv"
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            return "no PostgreSQL: it refuses root, and there is no user postgres"
    return ""


class Server:
    """One server, with as many databases as are asked for."""

    def __init__(self) -> None:
        """Make its files; start nothing."""
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._ports = Ports()
        self.port = self._ports.numbers[0]
        self._service: Service | None = None
        self._names = count()
        if os.geteuid() == 0:
            shutil.chown(self.folder, _USER)
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        self._run("initdb", "-D", str(self.folder / "data"), f"--username={_USER}", *options)

    def _words(self, program: str) -> Sequence[str]:
        """Return the words that start a program of the server as its user."""
        programs = _programs()
        assert programs is not None
        command = [str(programs / program)]
        if os.geteuid() != 0:
            return command
        return ["setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups", *command]

    def _run(self, program: str, *options: str) -> None:
        command = [*self._words(program), *options]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    # -- the server

    def start(self) -> None:
        """Return when it answers. Raises NotReady."""
        settings = (
            *_QUICK,
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
        )
        options = [word for setting in settings for word in ("-c", setting)]
        data = ["-D", str(self.folder / "data"), "-p", str(self.port)]
        command = [*self._words("postgres"), *data, *options]
        log = self.folder / "log"
        self._service = Service("postgres", self.folder, log, command, os.environ)
        self._service.await_ready(self._answers)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: Signals = IMMEDIATE) -> None:
        """End it: at once, unless told otherwise."""
        assert self._service is not None
        self._service.end(number)
        self._service.close()
        self._service = None

    def signal(self, number: Signals) -> None:
        """Signal it, not the processes of its sessions."""
        assert self._service is not None
        self._service.signal(number)

    def close(self) -> None:
        """End all of it and remove its folder."""
        if self._service is not None:
            self._service.close()
        self._ports.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- databases

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of a database, for psycopg."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def url(self, database: str) -> str:
        """Return the URL of a database, for schedd."""
        return self.dsn(database).replace("postgresql:", "postgresql+psycopg:")

    def ask(self, query: str, database: str = "postgres") -> list[tuple]:
        """Return the rows of a query, a transaction of its own."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def create(self, template: str = "template1") -> str:
        """Return the name of a new database, a copy of another."""
        name = f"t{next(self._names)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop(self, name: str) -> None:
        """Remove a database and whoever is connected to it."""
        self.ask(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres() -> Iterator[Server]:
    """A server, from its start to its end."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.close()
