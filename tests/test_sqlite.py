"""SQLite: what it does when things go wrong, and where it is refused."""

import sqlite3

import pytest
from simulation.memory import seeded
from simulation.stores import commit, definition, in_database, trial
from sqlalchemy import event

from scheduler.model.experiment import Changes, Event
from scheduler.storage import sqlite as module
from scheduler.storage.errors import StorageBusy, StorageError
from scheduler.storage.store import Store


@pytest.fixture
def sqlite(tmp_path):
    made = in_database(f"sqlite:///{tmp_path}/s.db", tmp_path)
    yield made
    made.close()


def test_a_full_disk_loses_nothing_and_is_gone_when_there_is_room(sqlite):
    pages = limited(sqlite.store, 0)
    large = tuple(Event(1.0, "noise", "x" * 1000) for _ in range(200))
    before = sqlite.state()
    with pytest.raises(StorageBusy, match="full"):
        sqlite.journal.commit(before, Changes(trials=(trial(2),), events=large))
    assert sqlite.state() == before
    limited(sqlite.store, pages + 10_000)
    assert 2 in commit(sqlite, trials=(trial(2),), events=large).active


def limited(store, pages):
    """Let the database have so many pages, or as many as it has now; return how many it has."""

    def limit(connection, _):
        connection.execute(f"PRAGMA max_page_count = {pages or 1}")

    store.database.engine.dispose()
    event.listen(store.database.engine, "connect", limit)
    with store.reading() as connection:
        return connection.exec_driver_sql("PRAGMA page_count").scalar_one()


def test_a_database_that_somebody_locks_is_busy(sqlite):
    before = sqlite.state()
    with sqlite.store.reading() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(sqlite.store.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusy, match="locked"):
        sqlite.journal.commit(before, Changes(trials=(trial(2),)))
    other.close()
    commit(sqlite, trials=(trial(2),))


def test_a_database_that_cannot_be_written_says_so(sqlite):
    with sqlite.store.reading() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(StorageError, match="readonly"):
        sqlite.journal.commit(seeded(definition(), []).state(), Changes(trials=(trial(2),)))


def refusal(url, **options):
    with pytest.raises(StorageError) as caught:
        Store.open(url, **options).names()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_newer_schema_is_refused(sqlite, tmp_path):
    sqlite.store.close()
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("UPDATE schema_info SET version = 99")
    connection.close()
    assert "schema version 99; this schedd knows" in refusal(sqlite.store.url)


@pytest.mark.parametrize("create", [False, True])
def test_what_is_no_database_is_refused(tmp_path, create):
    (tmp_path / "s.db").write_text("dear diary, " * 100)
    assert "not a database" in refusal(f"sqlite:///{tmp_path}/s.db", create=create)
    assert (tmp_path / "s.db").read_text().startswith("dear diary")


def test_a_database_of_something_else_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    assert "holds no schedd database" in refusal(f"sqlite:///{tmp_path}/s.db")


def test_a_damaged_database_is_refused(sqlite, tmp_path):
    sqlite.store.close()
    path = tmp_path / "s.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    assert "damaged" in refusal(sqlite.store.url)


PLACES = {
    "sqlite:///{0}/none/s.db": "does not exist",
    "sqlite:///{0}/s.db": "there is no database",
    "sqlite://": "names no file",
    "sqlite:///:memory:": "names no file",
    "mysql://me@host/db": "is not supported; use sqlite:///FILE or postgresql+psycopg://",
    "sqlite:me@x": "the storage is not a database URL",
    "nonsense": "not a database URL",
    "nonsense://x": "not a database URL",
}


@pytest.mark.parametrize("url", PLACES)
def test_a_place_is_refused(url, tmp_path):
    create = "none" in url
    assert PLACES[url] in refusal(url.format(tmp_path), create=create)


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "cifs", "fuse.sshfs"])
def test_a_network_filesystem_is_refused(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_filesystem", lambda _: kind)
    assert f"is on {kind}" in refusal(f"sqlite:///{tmp_path}/s.db", create=True)


def test_the_filesystem_of_a_folder_is_found(tmp_path):
    assert not module._ON_A_NETWORK.fullmatch(module._filesystem(tmp_path))
    assert module._filesystem("/proc") == "proc"


def test_the_database_is_durable_and_checks_references(sqlite):
    with sqlite.store.reading() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "integrity_check")
        ]
    assert found == ["wal", 2, 1, "ok"]
