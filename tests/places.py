"""Where experiments are kept: an empty place of each kind, for tests that both must pass."""

import atexit
import functools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from services.postgres import Server, why_not

from scheduler.storage.store import Store

KINDS = ("sqlite", "postgresql")


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
def place(kind: str, folder) -> Iterator[str]:
    """The URL of a database that holds nothing yet."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/s.db"
        return
    name = server().create(_template())
    yield server().url(name)
    server().drop(name)


@pytest.fixture(params=KINDS)
def url(request, tmp_path) -> Iterator[str]:
    with place(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def postgres_url(tmp_path) -> Iterator[str]:
    with place("postgresql", tmp_path) as found:
        yield found
