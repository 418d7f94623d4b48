"""One process that drives every experiment of a store, and what ends it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cli_bench import ENTRY, process
from places import storage, urls

from scheduler.gauges import Gauges
from scheduler.service import Service
from scheduler.storage.store import Store

__all__ = ["storage", "urls"]

FILE = """\
schema: schedd/v1
name: {name}
parameters:
  - {{name: x, type: range, bounds: [0.0, 1.0]}}
objective: "-loss"
generation_strategy: {{nodes: [{{generator: sobol}}]}}
trials: {{total_trials: {trials}, max_pending_trials: 2}}
missing_metrics: {{retry_for: 0s}}
polling: {{interval: 0.2s}}
runner:
  type: local
  command: ["{python}", trial.py]
"""
TRIAL = """\
import os, sys, time
place = os.environ["SCHEDD_TRIAL_DIR"]
with open("starts", "a") as out:
    print(place, file=out)
while not os.path.exists("go"):
    time.sleep(0.02)
with open(place + "/metrics.jsonl", "a") as out:
    print('{"loss": %s}' % os.environ["SCHEDD_PARAM_X"], file=out)
"""
PATIENCE = 60.0


def written(folder: Path, name: str, trials: int = 3, text: str = FILE) -> str:
    (folder / "trial.py").write_text(TRIAL)
    (folder / f"{name}.yaml").write_text(
        text.format(name=name, trials=trials, python=sys.executable)
    )
    return f"{name}.yaml"


@contextlib.contextmanager
def daemon(folder: Path, *words: str, **environ: str):
    started = subprocess.Popen(
        [*ENTRY, "daemon", *words],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def until(holds, what: str):
    """Wait until ``holds()`` is true, and return what it is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise TimeoutError(what)


def stand(storage: str) -> dict[str, str]:
    store = Store.open(storage)
    found = {name: store.find(name).status.value for name in store.names()}
    store.close()
    return found


def starts(folder: Path) -> list[str]:
    path = folder / "starts"
    return path.read_text().splitlines() if path.exists() else []


def stopped(process: subprocess.Popen) -> list[dict]:
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return [json.loads(line) for line in err.splitlines()]


def test_it_drives_what_is_there_and_what_comes_later_and_leaves_jobs_alone(tmp_path, storage):
    for name in ("one", "two"):
        out = process(tmp_path, "submit", written(tmp_path, name))
        assert out.stdout == f"submitted {name}; nobody drives it yet: schedd daemon does\n"
    with daemon(tmp_path) as first:
        until(lambda: len(starts(tmp_path)) == 4, "both have two trials")
        assert process(tmp_path, "tick").returncode == 0
        resumed = process(tmp_path, "resume", "one")
        assert (resumed.returncode, "; nothing to do" in resumed.stderr) == (0, True)
        assert "driven by process" in process(tmp_path, "status", "two").stdout
        process(tmp_path, "submit", written(tmp_path, "late"))
        until(lambda: len(starts(tmp_path)) == 6, "the late one has trials too")
        told = stopped(first)
    assert [line["event"] for line in told if not line["experiment"]] == [
        "daemon_started",
        "daemon_stopped",
    ]
    taken = {line["experiment"] for line in told if line["event"] == "experiment_taken"}
    assert taken == {"one", "two", "late"}
    assert "nobody drives it" in process(tmp_path, "status", "one").stdout
    (tmp_path / "go").touch()
    with daemon(tmp_path) as second:
        until(lambda: set(stand(storage).values()) == {"COMPLETED"}, "all end")
        stopped(second)
    assert len(starts(tmp_path)) == len(set(starts(tmp_path))) == 9


def test_it_stops_while_an_experiment_is_being_taken(tmp_path, storage):
    process(tmp_path, "submit", written(tmp_path, "one"))

    def tell(_name, _state, events):
        if events[0].kind == "experiment_taken":
            service.stop()
            until(lambda: not service._timer.running, "the timer is stopped")

    store = Store.open(storage)
    service = Service(
        store, tell, generators=1, progress=lambda: None, max_jobs={}, gauges=Gauges()
    )
    running = threading.Thread(target=service.run, daemon=True)
    running.start()
    running.join(PATIENCE)
    assert not running.is_alive()
    assert not store.is_driven("one")
    store.close()
    (tmp_path / "go").touch()


def test_another_takes_over_from_one_that_was_killed(tmp_path, storage):
    for name in ("one", "two"):
        process(tmp_path, "submit", written(tmp_path, name))
    with daemon(tmp_path) as first:
        until(lambda: len(starts(tmp_path)) == 4, "both have two trials")
        with daemon(tmp_path) as second:
            first.kill()
            first.wait()
            (tmp_path / "go").touch()
            until(lambda: set(stand(storage).values()) == {"COMPLETED"}, "all end")
            stopped(second)
    assert len(starts(tmp_path)) == len(set(starts(tmp_path))) == 6


def test_an_experiment_that_breaks_is_put_aside_and_the_others_go_on(tmp_path, storage):
    process(tmp_path, "submit", written(tmp_path, "good"))
    process(tmp_path, "submit", written(tmp_path, "bad"))
    store = Store.open(storage)
    with store.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE experiment SET definition = replace(definition, '\"local\"', '\"gone\"') "
            "WHERE name = 'bad'"
        )
    store.close()
    (tmp_path / "go").touch()
    with daemon(tmp_path) as running:
        until(lambda: stand(storage)["good"] == "COMPLETED", "the good one ends")
        told = stopped(running)
    (aside,) = [line for line in told if line["event"] == "experiment_put_aside"]
    assert aside["experiment"] == "bad"
    assert "there is no runner called 'gone'" in aside["message"]


def test_systemd_is_told_that_it_is_ready_alive_and_stopping(tmp_path, storage):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(PATIENCE)
        with daemon(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as running:
            assert [heard.recv(100), heard.recv(100)] == [b"READY=1", b"WATCHDOG=1"]
            stopped(running)
        said = [b"WATCHDOG=1"]
        while said[-1] == b"WATCHDOG=1":
            said.append(heard.recv(100))
        assert said[-1] == b"STOPPING=1"


@pytest.mark.parametrize("file", ["nowhere.yaml", "bad.yaml"])
def test_a_file_that_is_wrong_is_not_submitted(file, tmp_path):
    (tmp_path / "bad.yaml").write_text("name: x\n")
    done = process(tmp_path, "submit", file)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "schedd.db").exists()


def test_run_follows_what_a_daemon_drives_and_drives_where_that_dies(tmp_path, storage):
    process(tmp_path, "submit", written(tmp_path, "one"))
    with daemon(tmp_path) as driver:
        until(lambda: len(starts(tmp_path)) == 2, "it has two trials")
        run = subprocess.Popen(
            [*ENTRY, "run", "one.yaml"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert f"one is driven by process {driver.pid}" in run.stderr.readline()
        driver.kill()
    (tmp_path / "go").touch()
    out, err = run.communicate(timeout=PATIENCE)
    assert (run.returncode, "one: 3 trials (3 completed)" in out) == (0, True)
    assert "trial 0 completed" in err
    assert len(starts(tmp_path)) == 3


def test_run_ends_with_what_it_follows(tmp_path, storage):
    process(tmp_path, "submit", written(tmp_path, "one"))
    with daemon(tmp_path):
        until(lambda: len(starts(tmp_path)) == 2, "it has two trials")
        (tmp_path / "go").touch()
        done = process(tmp_path, "run", "one.yaml")
    assert (done.returncode, "one: 3 trials (3 completed)" in done.stdout) == (0, True)
