"""Real processes of schedd that die, stop, meet each other, or lose their database."""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_bench import ENTRY, GATED, written
from places import postgres_url, server, url

from scheduler import registry
from scheduler.config.load import load_file
from scheduler.storage.store import Store
from scheduler.submit import submit

__all__ = ["postgres_url", "url"]

Start = Callable[..., "subprocess.Popen[str]"]


@contextmanager
def processes(folder: Path, url: str) -> Iterator[Start]:
    """Start verbs of schedd on one database; what is left of them is killed."""
    started = []
    environment = {**os.environ, "SCHEDD_STORAGE": url}

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*ENTRY, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        (folder / "go").touch()  # no trial is left waiting
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture
def folder(tmp_path) -> Path:
    return written(tmp_path, GATED)


@pytest.fixture
def start(folder, url):
    with processes(folder, url) as made:
        yield made


@pytest.fixture
def on_postgres(folder, postgres_url):
    secret = postgres_url.replace("postgres@", "postgres:canary@")
    with processes(folder, secret) as made:
        yield made


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """Return what it said on standard error, up to the line with ``words``."""
    said = ""
    for line in process.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was never said: {said}")


def check(folder: Path, url: str) -> None:
    """All trials are completed, and none was started twice."""
    starts = (folder / "starts").read_text().split("\n")[:-1]
    assert sorted(starts) == [f"{index} 1" for index in range(6)]
    store = Store.open(url)
    state = store.peek(store.find("small"))
    store.close()
    assert {status.value: n for status, n in state.tally.finished.items()} == {"COMPLETED": 6}


def test_a_driver_that_was_killed_is_replaced_at_once(start, folder, url):
    first = start("run", "e.yaml")
    read_until(first, "trial 1 completed")
    first.kill()
    first.wait()
    (folder / "go").touch()
    second = start("resume")
    _, err = second.communicate()
    assert (second.returncode, "Traceback" in err) == (0, False)
    check(folder, url)


def test_a_driver_that_was_suspended_is_replaced_and_writes_no_more(
    on_postgres, folder, postgres_url
):
    first = on_postgres("run", "e.yaml")
    read_until(first, "trial 1 completed")
    first.send_signal(signal.SIGSTOP)
    early = on_postgres("resume")
    _, err = early.communicate()
    assert early.returncode == 0
    assert f"driven by process {first.pid} on " in err
    assert "whose lease ends in" in err
    server().ask("UPDATE lease SET expires_at = expires_at - 60", name(postgres_url))
    (folder / "go").touch()
    second = on_postgres("resume")
    read_until(second, "completed")
    first.send_signal(signal.SIGCONT)
    _, err = first.communicate()
    assert first.returncode == 75
    assert err.endswith("took the experiment over\n")
    assert f"schedd: process {second.pid} on " in err
    second.communicate()
    assert second.returncode == 0
    check(folder, postgres_url)


def test_a_driver_that_was_suspended_goes_on_where_nobody_took_over(start, folder, url):
    driver = start("run", "e.yaml")
    read_until(driver, "trial 1 completed")
    driver.send_signal(signal.SIGSTOP)
    if url.startswith("postgresql"):
        server().ask("UPDATE lease SET expires_at = expires_at - 7200", name(url))
    (folder / "go").touch()
    driver.send_signal(signal.SIGCONT)
    _, err = driver.communicate()
    assert (driver.returncode, "Traceback" in err) == (0, False)
    check(folder, url)


def test_a_database_that_goes_and_comes_ends_nothing(on_postgres, folder, postgres_url):
    driver = on_postgres("run", "e.yaml")
    read_until(driver, "trial 1 completed")
    server().stop()
    said = read_until(driver, "storage unavailable")
    server().start()
    (folder / "go").touch()
    _, err = driver.communicate()
    assert (driver.returncode, "Traceback" in said + err) == (0, False)
    assert (said + err).count("storage unavailable: waiting, nothing is lost: ") == 1
    assert "canary" not in said + err
    assert err.count("storage available: ") == 1
    check(folder, postgres_url)


def name(url: str) -> str:
    return url.rpartition("/")[2]


def first_to_follow(started: "list[subprocess.Popen[str]]") -> tuple[int, str]:
    """Wait until one of them says that it follows another; return which, and what it said."""
    streams = [process.stderr for process in started]
    while True:
        for stream in select.select(streams, [], [])[0]:
            line = stream.readline()
            assert line, "it has ended"
            if "following it" in line:
                return streams.index(stream), line


def test_of_two_that_run_the_same_at_once_one_drives_and_the_other_follows(start, folder, url):
    pair = [start("run", "e.yaml") for _ in range(2)]
    number, said = first_to_follow(pair)
    follower, driver = pair[number], pair[1 - number]
    assert f"small is driven by process {driver.pid} on " in said
    (folder / "go").touch()
    ends = [process.communicate()[0] for process in (driver, follower)]
    assert (driver.returncode, follower.returncode) == (0, 0)
    assert all("small: 6 trials (6 completed)" in end for end in ends)
    check(folder, url)


def test_ticks_at_once_start_nothing_twice(start, folder, url):
    (folder / "go").touch()
    store = Store.open(url, create=True)
    experiment = submit(store, load_file(folder / "e.yaml", registry), 0.0)
    for _ in range(30):
        pair = [start("tick") for _ in range(2)]
        for process in pair:
            _, err = process.communicate()
            assert (process.returncode, "Traceback" in err) == (0, False)
        if store.peek(experiment).stop:
            break
    store.close()
    start("resume").wait()
    check(folder, url)
