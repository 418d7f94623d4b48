"""Who drives: one process at a time, until it is dead, and nobody who only believes so."""

import os
import signal
import subprocess
import sys

import pytest
from places import url

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Changes
from scheduler.storage.errors import Held, LeaseLost, StorageError
from scheduler.storage.lock import is_held, lock_path
from scheduler.storage.overview import standings
from scheduler.storage.store import Store

__all__ = ["url"]

HOLD = """
import sys
from scheduler.storage.store import Store
store = Store.open(sys.argv[1])
try:
    lease = store.acquire(store.find("e"), 0.0)
except Exception as error:
    print(type(error).__name__, error, flush=True)
else:
    print("acquired", lease.epoch, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(url, tmp_path):
    made = Store.open(url, create=True)
    definition = {
        "name": "e",
        "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
        "objective": "-loss",
        "runner": {"command": ["true"]},
    }
    made.create(ExperimentDefinition.model_validate(definition), tmp_path, 0.0)
    yield made
    made.close()


@pytest.fixture
def start(store):
    """Start processes that acquire the lease and hold it; they are gone at the end."""
    started = []

    def begin():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, store.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def acquire(store):
    return store.acquire(store.find("e"), 0.0)


def test_a_second_driver_is_told_who_drives(store, start):
    child = start()
    assert child.stdout.readline() == "acquired 1\n"
    with pytest.raises(Held, match=f"e is driven by process {child.pid} on "):
        acquire(store)
    assert store.is_driven("e")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lease_is_free_when_its_holder_is_dead(store, start, number):
    child = start()
    assert child.stdout.readline() == "acquired 1\n"
    os.kill(child.pid, number)
    child.wait()
    assert not store.is_driven("e")
    lease = acquire(store)
    assert lease.epoch == 2
    lease.release()


def test_of_many_that_start_at_once_one_drives(start):
    children = [start() for _ in range(4)]
    answers = sorted(child.stdout.readline().split()[0] for child in children)
    assert answers == ["Held", "Held", "Held", "acquired"]


def test_who_has_not_stored_itself_yet_drives_all_the_same(store, monkeypatch):
    monkeypatch.setattr(store.database, "driven", set)
    (standing,) = standings(store)
    assert standing.driver == "another process that has just started"


def test_one_process_does_not_hold_it_twice(store):
    lease = acquire(store)
    with pytest.raises(Held, match=str(os.getpid())):
        acquire(store)
    lease.release()
    lease.release()
    acquire(store).release()


def test_an_earlier_epoch_writes_no_more(store):
    experiment = store.find("e")
    old = acquire(store)
    old.release()
    new = acquire(store)
    state = store.load(new)
    me = f"process {os.getpid()} on "
    with pytest.raises(LeaseLost, match=f"{me}.* took the experiment over"):
        store.commit(old, state, Changes(), "")
    with pytest.raises(LeaseLost, match=me):
        store.load(old)
    with pytest.raises(LeaseLost, match=me):
        store.redefine(old, experiment.definition, 0.0, "changed")
    store.commit(new, state, Changes(), "")
    new.release()


def test_a_lock_that_was_never_taken_is_not_held_nor_made(tmp_path):
    path = lock_path(tmp_path / "s.db", "e")
    assert not is_held(path)
    assert not path.exists()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_lock_that_cannot_be_made_is_one_sentence(store, tmp_path):
    lock_path(tmp_path / "s.db", "e").mkdir()
    with pytest.raises(StorageError, match=r"cannot lock .*: Is a directory"):
        acquire(store)
