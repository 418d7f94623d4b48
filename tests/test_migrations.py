"""A database of an earlier version, as it was written then, is brought up to the present one."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event

from scheduler.model.trial import ARMS_OWN, TrialStatus
from scheduler.storage import migrations, read, schema
from scheduler.storage.errors import StorageError
from scheduler.storage.sqlite import Sqlite
from scheduler.storage.store import Store

DATABASES = Path(__file__).parent / "databases"


@pytest.fixture(params=range(1, schema.VERSION))
def old(request, tmp_path):
    """An experiment of seven trials, kept by each earlier version."""
    path = tmp_path / "s.db"
    connection = sqlite3.connect(path)
    connection.executescript((DATABASES / f"version_{request.param}.sql").read_text())
    connection.close()
    return path


def asked(path, query):
    connection = sqlite3.connect(path)
    with connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def shape(path):
    """Return every column of every table, and every index."""
    tables = asked(path, "SELECT name, type FROM sqlite_master ORDER BY name")
    return {name: asked(path, f'PRAGMA {kind}_info("{name}")') for name, kind in tables}


def test_every_version_has_a_step():
    assert set(migrations.STEPS) == set(range(1, schema.VERSION))


def test_an_old_database_becomes_what_a_new_one_is(old, tmp_path):
    for path, create in ((old, False), (tmp_path / "new.db", True)):
        Store.open(f"sqlite:///{path}", create=create).close()
    assert shape(old) == shape(tmp_path / "new.db")
    assert asked(old, "SELECT version FROM schema_info") == [(schema.VERSION,)]
    assert asked(old, "PRAGMA foreign_key_check") == []


def test_everything_that_was_stored_is_still_there(old):
    store = Store.open(f"sqlite:///{old}")
    experiment = store.find("old")
    state = store.peek(experiment)
    assert state.baseline == {"loss": 0.1, "size": 1.0}
    assert [o.means["loss"] for o in state.outcomes] == [0.2, 0.1, 0.3, 0.5, 0.6, 0.7]
    assert state.definition.generation_strategy.learn_feasibility
    records = list(read.trials(store, experiment.id))
    assert [r.trial.status for r in records].count(TrialStatus.FAILED) == 1
    run = read.generator_run(store, experiment.id, 3)
    assert (run.generator, set(run.predictions[0]), run.insights) == (
        "botorch",
        {"loss", "size"},
        (),
    )
    assert store.failed(experiment.id, ARMS_OWN) == ({"x": 0.8907156931236386, "kind": "a"},)
    store.close()


def test_a_driver_of_the_version_before_can_go_on(old):
    Store.open(f"sqlite:///{old}").close()
    columns = 'experiment_id, "index", node, generator, seed, cursor, seconds, created_at'
    values = "1, 9, 0, 'sobol', 1, 1, 0.0, 0.0, '[]', ''"
    statement = f"INSERT INTO generator_run ({columns}, predictions, note) VALUES ({values})"
    asked(old, statement)
    store = Store.open(f"sqlite:///{old}")
    assert read.generator_run(store, 1, 9).insights == ()
    store.close()


class Killed(BaseException):
    """The process dies here."""


def test_a_migration_that_is_cut_off_leaves_the_old_database(old, monkeypatch):
    before = shape(old), asked(old, "SELECT * FROM schema_info")
    migrate = migrations.migrate
    points = 0
    while cut_off(old, points, migrate, monkeypatch):
        assert (shape(old), asked(old, "SELECT * FROM schema_info")) == before
        points += 1
    assert points > 2
    assert asked(old, "SELECT version FROM schema_info") == [(schema.VERSION,)]


def cut_off(path, at, migrate, monkeypatch):
    """Open the database, to be killed before write number ``at``; return whether that was."""
    writes = []

    def dies(_connection, _cursor, statement, *_):
        if not statement.lstrip().startswith("SELECT"):
            writes.append(statement)
        if len(writes) > at:
            raise Killed

    def until_killed(connection, keep_a_copy):
        event.listen(connection, "before_cursor_execute", dies)
        return migrate(connection, keep_a_copy)

    with monkeypatch.context() as patched:
        patched.setattr("scheduler.storage.database.migrate", until_killed)
        try:
            Store.open(f"sqlite:///{path}").close()
        except Killed:
            return True
    return False


def test_two_that_open_it_at_once_bring_it_up_once(old):
    store = Store.open(f"sqlite:///{old}")
    after = shape(old)
    with store.writing() as connection:
        assert migrations.migrate(connection, pytest.fail) == ""
    store.close()
    assert shape(old) == after


def test_what_it_was_is_kept_beside_it_and_told(old):
    before, version = shape(old), asked(old, "SELECT version FROM schema_info")[0][0]
    told = []
    (old.parent / f"s.db.v{version}").touch()
    Store.open(f"sqlite:///{old}", tell=told.append).close()
    copy = old.parent / f"s.db.v{version}.2"
    words = f"brought from schema version {version} to {schema.VERSION}; {copy} is what it was"
    assert told == [f"sqlite:///{old}: {words}"]
    assert shape(copy) == before
    assert asked(copy, "SELECT version FROM schema_info") == [(version,)]
    Store.open(f"sqlite:///{old}", tell=pytest.fail).close()


def test_a_database_whose_copy_cannot_be_made_is_left_as_it_is(old, monkeypatch):
    before = shape(old)

    def full(*_):
        raise StorageError("no space left")

    monkeypatch.setattr(Sqlite, "backup", full)
    with pytest.raises(StorageError, match="no space left"):
        Store.open(f"sqlite:///{old}")
    assert shape(old) == before
