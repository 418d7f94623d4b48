"""Where experiments are kept: an empty place of each kind, for tests that both must pass."""

import atexit
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from services.postgres import Server, why_not

from scheduler.storage.store import Store

KINDS = ("sqlite", "postgresql")
EITHER = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql))
"""The same for what takes longer: on PostgreSQL where asked for (make test-postgresql)."""

os.environ.pop("SCHEDD_STORAGE", None)  # whoever runs the tests keeps experiments there


@functools.cache
def server() -> Server:
    """Return the server of this test process; the test is skipped where there is none."""
    if reason := why_not():
        pytest.skip(reason)
    made = Server()
    atexit.register(made.close)
    made.start()
    return made


@functools.cache
def _template() -> str:
    """Return a database whose schema was made once: a copy of it takes no time."""
    name = server().create()
    Store.open(server().url(name), create=True).close()
    return name


@contextmanager
def place(kind: str, folder, name: str = "s") -> Iterator[str]:
    """The URL of a database that holds nothing yet; one of SQLite lies in ``folder``."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/{name}.db"
        return
    made = server().create(_template())
    yield server().url(made)
    server().drop(made)


@contextmanager
def another(url: str, folder) -> Iterator[str]:
    """The URL of an empty database of the same kind."""
    with place(next(kind for kind in KINDS if url.startswith(kind)), folder, "another") as found:
        yield found


@pytest.fixture(params=KINDS)
def url(request, tmp_path) -> Iterator[str]:
    with place(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def postgres_url(tmp_path) -> Iterator[str]:
    with place("postgresql", tmp_path) as found:
        yield found


@pytest.fixture(params=EITHER)
def urls(request, tmp_path) -> Iterator[Callable[[str], str]]:
    """A function that gives each name a database of its own, all of one kind."""
    with ExitStack() as made:
        yield functools.cache(lambda n: made.enter_context(place(request.param, tmp_path, n)))


@pytest.fixture
def either(urls, tmp_path, monkeypatch) -> str:
    """As ``url``, for tests that take longer; trials' folders are made in the test's own."""
    monkeypatch.chdir(tmp_path)
    return urls("s")


@pytest.fixture
def storage(urls, monkeypatch) -> str:
    """The database of verbs that are told of none and are called in the test's folder."""
    found = urls("schedd")
    if not found.startswith("sqlite"):
        monkeypatch.setenv("SCHEDD_STORAGE", found)
    return found
