"""The verbs that care for the database, and what is said of its place."""

import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from cli_bench import finished, json_of, schedd
from places import KINDS, place, postgres_url, server
from simulation.stores import definition
from test_migrations import DATABASES, asked

from scheduler.storage import schema
from scheduler.storage.store import Store
from scheduler.submit import submit

__all__ = ["finished", "json_of", "postgres_url", "schedd"]

DOCUMENT = (Path(__file__).parent.parent / "docs/storage.md").read_text()


def shown(language):
    (block,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return [line.partition("#")[0].strip() for line in block.splitlines()]


@pytest.fixture
def copy(finished, tmp_path):
    """A database of ours, and its URL."""
    path = tmp_path / "copy.db"
    shutil.copy(finished / "schedd.db", path)
    return path, f"sqlite:///{path}"


@pytest.fixture(params=KINDS)
def stored(request, tmp_path):
    with place(request.param, tmp_path) as url:
        store = Store.open(url, create=True)
        store.create(definition(), tmp_path, 0.0)
        store.close()
        yield url


def test_the_commands_shown_do_what_is_said(schedd, tmp_path, copy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDD_STORAGE", copy[1])
    for command in shown("sh"):
        status, out, err = schedd(*command.split()[1:])
        assert (status, bool(out), err) == (0, True, ""), command
    store = Store.open(f"sqlite:///{tmp_path}/copy.backup")
    assert store.names() == ["small"]
    store.close()


def test_the_database_shown_can_be_used_at_once():
    for statement in shown("sql"):
        server().ask(statement)
    url = server().url("schedd").replace("postgres@", "schedd@")
    Store.open(url, create=True).close()
    server().drop("schedd")


def test_what_fits_together_is_sound(stored, schedd):
    status, out, _ = schedd("db", "check", "--storage", stored)
    assert "✓ 1 experiments with 2 trials fit together" in out
    assert f"✓ schema version {schema.VERSION}, the present one" in out
    fast = "✗ the server has fsync off: a crash of it loses what is stored"  # as for tests
    assert (status, fast in out) == ((0, False) if "sqlite" in stored else (1, True))


def test_what_is_astray_is_found(stored, schedd):
    store = Store.open(stored)
    with store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM arm WHERE trial_index = 1")
        connection.exec_driver_sql("UPDATE experiment SET definition = '{}'")
    store.close()
    status, out, _ = schedd("db", "check", "--storage", stored)
    assert status == 1
    assert "✗ 1 trials have no arm" in out
    assert "✗ the definition of e is none that this schedd can read" in out


def test_a_check_is_json_too(json_of):
    assert [found["ok"] for found in json_of("db", "check")] == [True, True, True]


def test_rows_of_nothing_are_found(copy, schedd):
    path, url = copy
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE event SET experiment_id = 7 WHERE id = 1")
    connection.close()
    status, out, _ = schedd("db", "check", "--storage", url)
    assert (status, "✗ 1 rows refer to an experiment that is not there" in out) == (1, True)


def test_an_older_database_is_checked_and_copied_as_it_is_and_upgraded_when_asked(
    schedd, tmp_path
):
    path = tmp_path / "s.db"
    connection = sqlite3.connect(path)
    connection.executescript((DATABASES / "version_1.sql").read_text())
    connection.close()
    storage = ("--storage", f"sqlite:///{path}")
    status, out, _ = schedd("db", "check", *storage)
    words = f"schema version 1; schedd db upgrade brings it to {schema.VERSION}"
    assert (status, words in out) == (0, True)
    assert schedd("db", "backup", str(tmp_path / "old.db"), *storage)[0] == 0
    for database in (path, tmp_path / "old.db"):
        assert asked(database, "SELECT version FROM schema_info") == [(1,)]
    assert (
        f"brought from schema version 1 to {schema.VERSION}; "
        in schedd("db", "upgrade", *storage)[1]
    )
    assert "nothing to do" in schedd("db", "upgrade", *storage)[1]


def test_a_verb_says_that_it_upgraded_on_standard_error(schedd, tmp_path):
    connection = sqlite3.connect(tmp_path / "s.db")
    connection.executescript((DATABASES / "version_2.sql").read_text())
    connection.close()
    status, _, err = schedd("status", "--json", "--storage", f"sqlite:///{tmp_path}/s.db")
    assert status == 0
    assert f"brought from schema version 2 to {schema.VERSION}; {tmp_path}/s.db.v2 is what" in err


def test_a_copy_overwrites_nothing(stored, schedd, tmp_path):
    (tmp_path / "there").write_text("mine")
    arguments = ("db", "backup", str(tmp_path / "there"), "--storage", stored)
    status, out, err = schedd(*arguments)
    assert (status, out, "exists already; it is left as it is" in err) == (78, "", True)
    assert (tmp_path / "there").read_text() == "mine"
    status, _, err = schedd(*arguments[:2], str(tmp_path / "none" / "there"), *arguments[3:])
    assert (status, err.count("\n")) == (78, 1)


def test_a_server_is_copied_by_pg_dump_or_it_is_said_how(
    schedd, tmp_path, postgres_url, monkeypatch
):
    store = Store.open(postgres_url)
    store.create(definition(), tmp_path, 0.0)
    store.close()
    url = postgres_url.replace("postgres@", "postgres:hush@")
    assert schedd("db", "backup", str(tmp_path / "dump"), "--storage", url)[0] == 0
    assert (tmp_path / "dump").read_bytes().startswith(b"PGDMP")
    assert restored(tmp_path / "dump") == ["e"]
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, err = schedd("db", "backup", str(tmp_path / "again"), "--storage", url)
    assert (status, "pg_dump --format=custom --file=" in err, "hush" in err) == (78, True, False)


def restored(dump):
    """Return what is in a copy, once it is in a database again as the document says."""
    (shown,) = re.findall(r"`(pg_restore .*?)`", DOCUMENT)
    words = shown.replace("copy.backup", str(dump))
    name = server().create()
    words = words.replace("postgresql://user@host/database", server().dsn(name))
    subprocess.run(words.split(), check=True)
    store = Store.open(server().url(name))
    found = store.names()
    store.close()
    server().drop(name)
    return found


def test_no_verb_tells_a_password(schedd, postgres_url, tmp_path):
    store = Store.open(postgres_url)
    store.create(definition(), tmp_path, 0.0)
    store.close()
    url = postgres_url.replace("postgres@", "postgres:hush@")
    for verb in ("status", "doctor", "trials other", "stop", "set trials.total_trials=7"):
        _, out, err = schedd(*verb.split(), "--storage", url)
        assert out + err
        assert "hush" not in out + err, verb
    assert "--storage postgresql+psycopg://postgres:***@" in out


def test_trials_of_a_server_lie_where_commands_start(postgres_url, tmp_path):
    store = Store.open(postgres_url)
    for name, runner in (("a", {"workdir": "/work"}), ("b", {}), ("c", {"trials_dir": "/t"})):
        made = definition(name, runner={"command": ["true"], **runner})
        submit(store, made, 0.0)
    places = [store.find(name).trials_dir for name in "abc"]
    assert places == [Path("/work/a.trials"), Path.cwd() / "b.trials", Path("/t")]
    store.close()
