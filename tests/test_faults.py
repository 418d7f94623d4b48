"""Faults around a daemon, and the outcome that is required; docs/faults.md lists all of them."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_bench import ENTRY, process
from places import storage, url, urls
from plugin_package import install
from simulation.bench import Bench
from simulation.bench import definition as defined
from test_clock import machine
from test_service import PATIENCE, daemon, stand, starts, stopped, until, written

from runners.testing import FakeRunner, FakeWorld
from scheduler import registry
from scheduler.daemon import take
from scheduler.gauges import Gauges
from scheduler.model.trial import TrialStatus
from scheduler.room import LEAST, shortage
from scheduler.service import Service
from scheduler.storage.read import events
from scheduler.storage.store import Store

__all__ = ["machine", "storage", "url", "urls"]

ROOT = Path(__file__).parent.parent
T = TrialStatus
YEARS = 10 * 365.25 * 86400


# -- clocks


@pytest.mark.parametrize("step", [YEARS, -YEARS])
def test_a_step_of_the_wall_clock_moves_nothing(step, machine, url, tmp_path, monkeypatch):
    world = FakeWorld(seconds=lambda _: 1e12, clock=lambda: machine.boottime)
    monkeypatch.setattr(registry, "build_runner", lambda *_: FakeRunner(world=world))
    arms = [{"name": f"at_{x}", "parameters": {"x": x}} for x in (0.25, 0.75)]
    limits = {"ttl": 86400, "pending_ttl": 86400, "total_trials": 2}
    made = defined(arms=arms, trials=limits, stopping_criteria={"timeout": 864000})
    store = Store.open(url, create=True)
    store.create(made, tmp_path / "trials", machine.wall)

    def drive(ticks):
        driven = take(store, store.find("e"))
        for _ in range(ticks):
            machine.boottime += 10
            machine.wall += 10
            driven.loop.tick()
        driven.release()
        return driven.loop.state

    before = drive(3)
    machine.wall += step
    after = drive(3)
    assert [t.status for t in after.active.values()] == [T.RUNNING] * 2
    assert after.active.keys() == before.active.keys()
    assert after.stop == before.stop
    assert (before.seconds, after.seconds) == (30.0, 60.0)
    with store.reading() as connection:
        times = connection.exec_driver_sql("SELECT time FROM event ORDER BY id").scalars().all()
    assert times == sorted(times)
    assert times[-1] <= 1e9 + 60
    store.close()


# -- disks


def disk(free, total):
    return lambda _: SimpleNamespace(free=free, total=total)


@pytest.mark.parametrize(
    ("free", "total", "low"),
    [
        (LEAST - 1, 100 * LEAST, True),
        (LEAST, 100 * LEAST, False),
        (0.04 * LEAST, LEAST, True),
        (0.06 * LEAST, LEAST, False),
    ],
)
def test_a_disk_is_low(free, total, low, tmp_path):
    words = shortage([tmp_path / "not" / "yet"], disk(free, total))
    assert bool(words) is low
    assert not low or words == f"{free / 2**20:.0f} MiB are free on the disk of {tmp_path}/not/yet"


def test_a_disk_that_does_not_answer_is_not_low(tmp_path):
    def usage(_):
        raise OSError

    assert shortage([tmp_path], usage) == ""


def test_a_disk_that_is_low_starts_nothing_until_there_is_room(url, tmp_path):
    bench = Bench(url, tmp_path)
    low = []
    object.__setattr__(bench.loop.world, "shortage", lambda: "".join(low))
    bench.tick()
    bench.tick()
    assert bench.loop.state.pending == 2
    low.append("7 MiB are free")
    for _ in range(5):
        bench.tick(30)
    assert bench.loop.state.tally.finished == {T.COMPLETED: 2}
    assert bench.loop.state.pending == 0
    (told,) = [e for e in bench.events if e.kind.startswith("disk")]
    assert told.message == "7 MiB are free: nothing is started until there is room"
    status = process(tmp_path, "status", "e", "--storage", bench.store.url).stdout
    assert "trouble: " in status
    assert "7 MiB are free" in status
    again = Bench.start(bench)  # another process does not tell it again
    object.__setattr__(again.world, "shortage", lambda: "".join(low))
    bench.loop = again
    for _ in range(5):
        bench.tick(1000)
    (stalled,) = [e.message for e in bench.events if e.kind == "stalled"]
    assert stalled.endswith("wait for room: 7 MiB are free")
    low.clear()
    bench.run()
    assert [e.kind for e in bench.events if e.kind.startswith("disk")] == ["disk_low", "disk_free"]
    assert [status for status, _ in bench.statuses()] == [T.COMPLETED] * 6
    bench.close()


# -- databases that are refused


@pytest.fixture
def some(tmp_path):
    """A folder with a database that holds something."""
    fill(f"sqlite:///{tmp_path}/schedd.db", tmp_path)
    return tmp_path


def fill(url, folder, *statements):
    """Store an experiment, and change the database behind its back."""
    store = Store.open(url, create=True)
    store.create(defined(), folder / "trials", 0.0)
    with store.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    store.close()


def damaged(folder):
    """Spoil one page in the middle, which no verb that only shows would meet."""
    spoil = ("CREATE TABLE ballast (x)", "INSERT INTO ballast VALUES (zeroblob(100000))")
    with contextlib.closing(sqlite3.connect(folder / "schedd.db")) as connection, connection:
        for statement in spoil:
            connection.execute(statement)
    path = folder / "schedd.db"
    content = bytearray(path.read_bytes())
    content[-40960:-36864] = b"\xff" * 4096
    path.write_bytes(content)


def no_database(folder):
    (folder / "schedd.db").write_text("dear diary, " * 1000)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damaged, "put a copy that schedd db backup made in its place"),
        (no_database, "not a database"),
    ],
)
def test_a_daemon_refuses_what_only_a_person_can_mend(spoil, said, some):
    spoil(some)
    done = process(some, "daemon")
    assert (done.returncode, "Traceback" in done.stderr) == (78, False)
    assert said in done.stderr


def test_a_daemon_refuses_a_database_of_a_later_schedd(url, tmp_path):
    fill(url, tmp_path, "UPDATE schema_info SET version = 99")
    done = process(tmp_path, "daemon", "--storage", url)
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert "schema version 99" in done.stderr


def test_a_database_that_may_not_be_written_is_refused(some):
    words = [*ENTRY, "daemon"]
    if os.geteuid() == 0:  # whom permissions do not bind, unless told so
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv")
        words = ["setpriv", "--bounding-set=-dac_override", *words]
    some.chmod(0o555)
    try:
        done = subprocess.run(words, cwd=some, capture_output=True, text=True, check=False)
    finally:
        some.chmod(0o755)
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert f"{some} is not writable" in done.stderr


# -- ends


class Gate(FakeRunner):
    """Calls ``during`` in its first submission, which takes so long as that does."""

    during = None

    def submit(self, jobs):
        self.world.submitted.append(len(jobs))
        if len(self.world.submitted) == 1:
            self.world.during()
        return super().submit(jobs)


def gated(storage, tmp_path, monkeypatch, during):
    """A service over one experiment of 40 arms, whose first submission calls ``during``."""
    world = FakeWorld(seconds=lambda _: 1e12)
    world.submitted, world.during = [], during
    monkeypatch.setattr(registry, "build_runner", lambda *_: Gate(world=world))
    arms = [{"name": f"a{i}", "parameters": {"x": i / 64}} for i in range(40)]
    limits = {"total_trials": 40, "max_pending_trials": 40}
    store = Store.open(storage, create=True)
    store.create(defined(arms=arms, trials=limits), tmp_path / "trials", 0.0)
    told = []
    service = Service(
        store,
        lambda name, _state, events: told.extend((name, e.kind) for e in events),
        generators=1,
        progress=lambda: told.append(("", "alive")),
        max_jobs={},
        gauges=Gauges(),
    )
    return service, world, told


def test_a_request_to_end_in_a_tick_lets_nothing_new_begin(url, tmp_path, monkeypatch):
    def during():
        service.stop()

    service, world, _ = gated(url, tmp_path, monkeypatch, during)
    assert service.run() == []
    assert world.submitted == [16]  # the portion under way, and no other
    store = service._store
    assert not store.is_driven("e")
    driven = take(store, store.find("e"))
    for _ in range(3):
        driven.loop.tick()
    driven.release()
    assert world.submitted == [16, 16, 8]
    assert set(world.executions.values()) == {1}
    assert driven.loop.state.pending == 40
    store.close()


def test_a_turn_that_hangs_is_told_starves_the_watchdog_and_does_not_hold_up_the_end(
    url, tmp_path, monkeypatch
):
    monkeypatch.setattr("scheduler.service.LONG", 0.0)
    monkeypatch.setattr("scheduler.service.DISCOVER", 0.05)
    monkeypatch.setattr("scheduler.service.LEAVE_WITHIN", 0.05)
    go = threading.Event()

    def during():
        until(lambda: ("e", "turn_hangs") in told, "it is said to hang")
        shown = 'schedd_turns_hanging{runner="local"} 1'
        until(lambda: shown in service._gauges.text(), "it is shown to hang")
        fed = told.count(("", "alive"))
        until(lambda: rounds() > 3, "more is looked for")
        assert told.count(("", "alive")) == fed
        service.stop()
        go.wait(PATIENCE)

    def rounds():
        looked.append(1)
        return len(looked)

    looked = []
    service, _, told = gated(url, tmp_path, monkeypatch, during)
    assert service.run() == ["e"]
    assert not service._store.is_driven("e")
    go.set()


HOSTILE = """
import os, time
from runners.base import Runner
from runners.local import LocalRunner
from metrics.base import Fetcher

class Hangs(LocalRunner):
    def poll(self, refs):
        time.sleep(3600)

class Raises(LocalRunner):
    def poll(self, refs):
        raise RuntimeError("poll broke")
    def submit(self, jobs):
        raise RuntimeError("submit broke")

class Garbage(LocalRunner):
    def poll(self, refs):
        return ["nonsense"]
    def submit(self, jobs):
        return 7

class Prints(LocalRunner):
    def poll(self, refs):
        print("\\x00{not json", flush=True)
        return super().poll(refs)

class Exits(LocalRunner):
    def submit(self, jobs):
        answers = super().submit(jobs)
        if not os.path.exists("died"):
            open("died", "w").close()
            os._exit(9)
        return answers

class Fetches(Fetcher):
    def fetch(self, request):
        time.sleep(3600)
"""
NAMES = ("hangs", "raises", "garbage", "prints", "exits")


@pytest.fixture
def hostile(tmp_path, storage):
    """A folder with experiments of one arm each, and runners and fetchers of a third party."""
    runners = "\n".join(f"{name} = hostile:{name.title()}" for name in NAMES)
    environ = install(
        tmp_path / "third", runners=runners, metrics="fetches = hostile:Fetches", hostile=HOSTILE
    )
    written(tmp_path, "unused")
    store = Store.open(storage, create=True)

    def make(name, runner="local", **changes):
        definition = defined(
            name=name,
            arms=[{"name": "mine", "parameters": {"x": 0.5}}],
            trials={"total_trials": 1},
            polling={"interval": 0.1},
            runner={
                "type": runner,
                "command": [sys.executable, "trial.py"],
                "workdir": str(tmp_path),
            },
            **changes,
        )
        store.create(definition, tmp_path / f"{name}.trials", 0.0)

    yield make, {"PYTHONPATH": environ["PYTHONPATH"]}
    store.close()


def history(storage, name):
    store = Store.open(storage)
    messages = [e.message for e in events(store, store.find(name).id)]
    store.close()
    return " | ".join(messages)


def test_plugins_that_hang_or_talk_nonsense_hold_up_nobody_else(hostile, storage, tmp_path):
    make, environ = hostile
    (tmp_path / "go").touch()
    for number in range(17):  # more than there are threads for one type of runner
        make(f"hangs{number}", "hangs")
    fetches = {"loss": {"fetcher": {"type": "fetches"}}}
    make("fetches", metrics=fetches)
    for name in ("raises", "garbage", "prints"):
        make(name, name)
    make("good")
    with daemon(tmp_path, **environ) as running:
        wanted = {"good": "COMPLETED", "prints": "COMPLETED"}
        until(lambda: wanted.items() <= stand(storage).items(), "the others end")
        for name in ("raises", "garbage"):
            until(lambda: "the runner broke: " in history(storage, name), "it is told")  # noqa: B023
        told = stopped(running)
    assert told[-1]["event"] == "daemon_stopped"
    assert "left in the middle of a turn that hangs: " in told[-1]["message"]
    assert "fetches" in told[-1]["message"]
    for name in ("raises", "garbage"):
        assert stand(storage)[name] == "RUNNING"
    assert len(starts(tmp_path)) == len(set(starts(tmp_path)))


def test_a_plugin_that_ends_the_process_costs_a_restart_and_starts_nothing_twice(
    hostile, storage, tmp_path
):
    make, environ = hostile
    (tmp_path / "go").touch()
    make("exits", "exits")
    with daemon(tmp_path, **environ) as first:
        assert first.wait(PATIENCE) == 9
    with daemon(tmp_path, **environ) as second:
        until(lambda: stand(storage)["exits"] == "COMPLETED", "it goes on")
        stopped(second)
    assert len(starts(tmp_path)) == 1


# -- two at once

CONTEND = """
import sys
from scheduler.storage import lock
from scheduler.storage.errors import Held
lock.PATIENCE = 0  # nobody only looks
from scheduler.storage.store import Store
store = Store.open(sys.argv[1])
experiment = store.find("e")
print("ready", flush=True)
for line in sys.stdin:
    try:
        lease = store.acquire(experiment, 0.0)
    except Held:
        print("held", flush=True)
        sys.stdin.readline()
    else:
        print(lease.epoch, flush=True)
        sys.stdin.readline()
        lease.release()
    print("done", flush=True)
"""


def test_of_two_that_start_at_once_one_drives_a_hundred_times(url, tmp_path):
    store = Store.open(url, create=True)
    store.create(defined(), tmp_path / "trials", 0.0)
    store.close()
    command = [sys.executable, "-P", "-c", CONTEND, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    pair = [subprocess.Popen(command, **pipes) for _ in range(2)]

    def both():
        for one in pair:
            one.stdin.write("go\n")
        return [one.stdout.readline().strip() for one in pair]

    assert [one.stdout.readline() for one in pair] == ["ready\n"] * 2
    epochs = []
    for _ in range(100):
        answers = both()
        assert answers.count("held") == 1
        epochs += [int(answer) for answer in answers if answer != "held"]
        assert both() == ["done"] * 2
    for one in pair:
        one.stdin.close()
        one.wait()
        one.stdout.close()
    assert epochs == list(range(1, 101))


# -- the list


def test_every_fault_is_shown_by_tests_that_there_are():
    rows = [row for row in (ROOT / "docs/faults.md").read_text().splitlines() if row[:2] == "| "]
    for row in rows[2:]:
        shown = row.split("|")[3].strip()
        assert shown, row
        for file, name in (each.strip("`").split("::") for each in shown.split(", ")):
            text = (ROOT / "tests" / file).read_text()
            assert name == "*" or f"def {name}(" in text, f"{file} has no {name}"
