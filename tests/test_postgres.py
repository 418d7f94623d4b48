"""PostgreSQL: what is asked of it, how its errors are told, and connections that break."""

import json
import threading
from signal import SIGCONT, SIGSTOP

import psycopg
import pytest
from cli_bench import TRIAL, finished, process, schedd, written
from places import postgres_url, server
from services.proxy import Proxy
from simulation.bench import Bench
from simulation.stores import commit, definition, in_database, trial
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from scheduler.model.experiment import Changes
from scheduler.model.trial import TrialStatus
from scheduler.storage import engine, schema
from scheduler.storage.errors import NoDatabase, StorageBusy, StorageError
from scheduler.storage.store import Store

__all__ = ["finished", "postgres_url", "schedd"]


@pytest.fixture
def driven(postgres_url, tmp_path):
    made = in_database(postgres_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def proxy():
    made = Proxy(server().port)
    yield made
    made.close()


def name_of(url):
    return url.rpartition("/")[2]


def through(proxy, url):
    return url.replace(f":{server().port}/", f":{proxy.port}/")


def refusal(url, **options):
    with pytest.raises(StorageError) as caught:
        Store.open(url, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


# -- settings


def test_what_is_confirmed_is_durable_and_every_wait_is_bounded(driven):
    wanted = {
        "synchronous_commit": "on",
        "statement_timeout": "30s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "30s",
        "application_name": "schedd",
    }
    for opened, isolation in (("writing", "read committed"), ("reading", "repeatable read")):
        with getattr(driven.store, opened)() as connection:
            found = {
                name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in wanted
            }
            assert found == wanted
            level = connection.exec_driver_sql("SHOW transaction_isolation").scalar_one()
            assert level == isolation


def test_options_of_the_url_are_kept(postgres_url):
    store = Store.open(f"{postgres_url}?options=-c%20work_mem%3D3MB&connect_timeout=7")
    with store.reading() as connection:
        assert connection.exec_driver_sql("SHOW work_mem").scalar_one() == "3MB"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"
    store.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_url_may_leave_the_driver_out(scheme, postgres_url):
    store = Store.open(postgres_url.replace("postgresql+psycopg", scheme))
    assert store.url.startswith("postgresql+psycopg://")
    store.close()


def test_texts_are_compared_byte_by_byte(driven):
    with driven.store.reading() as connection:
        found = connection.exec_driver_sql(
            "SELECT collation_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name IN ('metric', 'arm_name', 'name')"
        )
        assert {row[0] for row in found} == {"C"}


# -- places that are refused


def test_the_driver_may_be_missing(monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    assert "pip install 'schedd[postgres]'" in refusal("postgresql://host/db")


def test_a_server_that_is_down_is_one_sentence_without_the_password():
    text = refusal("postgresql://me:hush@127.0.0.1:1/db")
    assert "refused" in text
    assert "me:***@" in text
    assert "hush" not in text


def test_a_password_in_the_query_is_refused_and_not_told():
    text = refusal("postgresql://me@127.0.0.1:1/db?password=hush")
    assert "user:password@host" in text
    assert "hush" not in text


def test_a_database_that_is_not_there_is_one_sentence(postgres_url):
    assert 'database "nowhere" does not exist' in refusal(
        postgres_url.replace(name_of(postgres_url), "nowhere")
    )


def test_a_database_without_tables_is_no_database_yet(tmp_path):
    name = server().create()
    with pytest.raises(NoDatabase, match="holds no schedd database; schedd run makes one"):
        Store.open(server().url(name))
    Store.open(server().url(name), create=True).close()
    Store.open(server().url(name)).close()
    server().drop(name)


def test_a_user_who_may_make_no_tables_is_told_what_to_do():
    name = server().create()
    server().ask("CREATE ROLE guest LOGIN")
    text = refusal(server().url(name).replace("postgres@", "guest@"), create=True)
    assert "permission denied for schema public; schedd needs a schema of its own" in text
    server().drop(name)


def test_a_newer_schema_is_refused(postgres_url):
    server().ask("UPDATE schema_info SET version = 99", name_of(postgres_url))
    assert "schema version 99; this schedd knows" in refusal(postgres_url)


def test_a_server_that_is_read_only_is_waited_for(driven):
    database = name_of(driven.store.url)
    server().ask(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    driven.store.database.engine.dispose()
    with pytest.raises(StorageBusy, match="read-only"):
        commit(driven, trials=(trial(2),))


def test_many_that_make_the_schema_at_once_make_it_once():
    name, failed = server().create(), []

    def make():
        try:
            Store.open(server().url(name), create=True).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert server().ask("SELECT version FROM schema_info", name) == [(schema.VERSION,)]
    server().drop(name)


def test_a_server_that_says_nothing_is_not_waited_for_longer_than_allowed(postgres_url):
    server().signal(SIGSTOP)
    try:
        assert "timeout" in refusal(f"{postgres_url}?connect_timeout=2")
    finally:
        server().signal(SIGCONT)


PASSING = ("DeadlockDetected", "SerializationFailure", "QueryCanceled", "LockNotAvailable")
GONE = ("AdminShutdown", "CannotConnectNow", "TooManyConnections", "DiskFull", "InterfaceError")


@pytest.mark.parametrize("kind", PASSING + GONE)
def test_what_passes_is_waited_for(kind, driven):
    error = DBAPIError("SELECT", {}, getattr(psycopg.errors, kind)("so it is\n"))
    told = driven.store.database.sentence(error)
    assert isinstance(told, StorageBusy)
    assert str(told).endswith(": so it is")


@pytest.mark.parametrize("kind", ["UndefinedTable", "UniqueViolation", "NumericValueOutOfRange"])
def test_what_is_a_bug_stays_one(kind, driven):
    error = DBAPIError("SELECT", {}, getattr(psycopg.errors, kind)("it is"))
    assert driven.store.database.sentence(error) is None


def test_a_damaged_database_is_no_passing_trouble(driven):
    told = driven.store.database.sentence(
        DBAPIError("SELECT", {}, psycopg.errors.DataCorrupted("bad page"))
    )
    assert type(told) is StorageError
    assert "cannot be read: bad page" in str(told)


# -- others at work


def test_a_row_that_somebody_locks_is_busy_and_then_free(driven):
    before = driven.state()
    with driven.store.reading() as connection:
        connection.exec_driver_sql("SET SESSION lock_timeout = '20ms'")
    address = server().dsn(name_of(driven.store.url))
    with psycopg.connect(address) as other:
        other.execute("UPDATE lease SET epoch = epoch")
        with pytest.raises(StorageBusy, match="lock timeout"):
            driven.journal.commit(before, Changes(trials=(trial(2),)))
    assert driven.state() == before
    commit(driven, trials=(trial(2),))


def test_connections_that_ended_between_two_ticks_cost_nothing(driven):
    end_connections(driven.store.url)
    assert 2 in commit(driven, trials=(trial(2),)).active


def end_connections(url):
    """End the connections to a database, and wait until they are gone."""
    others = f"FROM pg_stat_activity WHERE datname = '{name_of(url)}' AND pid <> pg_backend_pid()"
    server().ask(f"SELECT pg_terminate_backend(pid, 5000) {others}")


# -- connections that break


@pytest.fixture
def bench(proxy, postgres_url, tmp_path):
    made = Bench(through(proxy, postgres_url), tmp_path)
    yield made
    made.close()


def went_well(bench):
    assert bench.statuses() == [(TrialStatus.COMPLETED, None)] * 6
    assert list(bench.backend.executions.values()) == [1] * 6


def persist(bench):
    """Tick to the end through all trouble; return how often there was some."""
    busy = 0
    for _ in range(500):
        if bench.loop.ended:
            return busy
        try:
            bench.tick(0.2)
        except StorageBusy:
            busy += 1
    raise AssertionError("stuck")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_is_cut_is_in_doubt_and_nothing_runs_twice(bench, proxy, when):
    for tick in range(500):
        if bench.loop.ended:
            break
        if tick % 3 == 0:
            proxy.cut = when
        try:
            bench.tick()
        except StorageBusy:
            continue
    assert proxy.cuts >= 4
    went_well(bench)


def test_a_commit_of_which_the_answer_was_lost_is_stored_once(bench, proxy):
    bench.tick()  # asks the generator
    proxy.cut = "after"
    with pytest.raises(StorageBusy, match="closed"):
        bench.tick()
    assert not bench.loop.state.active
    assert bench.trials()
    bench.tick()
    assert bench.loop.state.active.keys() == bench.trials().keys()
    persist(bench)
    went_well(bench)


@pytest.mark.parametrize("first", range(0, 31, 8))
def test_a_connection_may_be_ended_before_any_statement(bench, postgres_url, first):
    """From ``first`` on, before every 31st: in between a tick gets through."""
    statements = []

    def end(*_):
        statements.append(1)
        if len(statements) % 31 == first:
            end_connections(postgres_url)

    event.listen(bench.store.database.engine, "before_cursor_execute", end)
    assert persist(bench) > 3
    event.remove(bench.store.database.engine, "before_cursor_execute", end)
    went_well(bench)


def test_a_definition_in_the_database_has_no_password(postgres_url, tmp_path):
    own = postgres_url.replace("postgres@", "postgres:hush@")
    source = {"experiment": "old", "storage": own}
    store = Store.open(own, create=True)
    store.create(definition("old"), tmp_path, 0.0)
    store.create(definition("new", storage=own, warm_start=[source]), tmp_path, 0.0)
    assert "hush" not in store.find("new").definition.canonical()
    store.close()
    rows = server().ask("SELECT definition FROM experiment", name_of(postgres_url))
    assert "hush" not in str(rows)
    assert "postgres:***@" in str(rows)


# -- the verbs

READING = ("status", "trials", "trial 1", "events", "best --observed", "logs 1", "diff e.yaml")


def test_the_verbs_say_the_same_of_both(schedd, finished, postgres_url, tmp_path, monkeypatch):
    folder = written(tmp_path, TRIAL)
    on_sqlite = {verb: schedd(*verb.split()) for verb in READING}
    arms = json.loads(schedd("trials", "--json")[1])
    monkeypatch.setenv("SCHEDD_STORAGE", postgres_url)
    assert process(folder, "run", "e.yaml").returncode == 0
    monkeypatch.chdir(folder)
    for verb, (status, out, _) in on_sqlite.items():
        found = schedd(*verb.split())
        assert (found[0], bool(found[1])) == (status, bool(out)), (verb, found)
    again = json.loads(schedd("trials", "--json")[1])
    what = ("index", "status", "reason", "arms", "generator", "attempt")
    assert [{k: t[k] for k in what} for t in again] == [{k: t[k] for k in what} for t in arms]
