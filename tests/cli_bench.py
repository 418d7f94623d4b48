"""A small experiment that really ran, once a session, and the verbs called in this process."""

import contextlib
import functools
import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from places import EITHER, server, urls

from scheduler.cli import main
from scheduler.storage.store import Store
from scheduler.storage.transfer import lines, restore

__all__ = ["urls"]

FILE = """\
schema: schedd/v1
name: small
parameters:
  - {name: x, type: range, bounds: [0.0, 1.0]}
  - {name: kind, type: choice, values: [a, b]}
objective: "-loss"
outcome_constraints: ["size <= 1e6"]
metrics:
  loss: {fetcher: {type: jsonl}}
  size: {fetcher: {type: jsonl}}
status_quo: {parameters: {x: 0.5, kind: a}}
generation_strategy: {nodes: [{generator: sobol}]}
trials: {total_trials: 6, max_pending_trials: 3}
missing_metrics: {retry_for: 0s}
polling: {interval: 0.2s}
runner: {type: local, command: ["@python", trial.py, "{params.x}"]}
"""
TRIAL = """\
import json, os, sys
sys.stdout.buffer.write(b"bytes: \\xff\\xfe\\n")
if os.environ["SCHEDD_TRIAL_INDEX"] == "2":
    sys.exit("it went wrong")
with open(os.environ["SCHEDD_TRIAL_DIR"] + "/metrics.jsonl", "a") as out:
    print(json.dumps({"loss": abs(float(sys.argv[1]) - 0.3), "size": 10}), file=out)
"""
GATED = """\
import json, os, sys, time
index, attempt = os.environ["SCHEDD_TRIAL_INDEX"], os.environ["SCHEDD_ATTEMPT"]
with open("starts", "a") as out:
    print(index, attempt, file=out)
patience = time.monotonic() + 600  # should the test that waits have been killed
while int(index) > 1 and not os.path.exists("go") and time.monotonic() < patience:
    time.sleep(0.02)
with open(os.environ["SCHEDD_TRIAL_DIR"] + "/metrics.jsonl", "a") as out:
    print(json.dumps({"loss": 1.0, "size": 10}), file=out)
"""
ENTRY = [sys.executable, "-P", "-c", "from scheduler.cli import main; main()"]


def written(folder: Path, script: str) -> Path:
    (folder / "e.yaml").write_text(FILE.replace("@python", sys.executable))
    (folder / "trial.py").write_text(script)
    return folder


def process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENTRY, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@functools.cache
def ran(base: Path) -> Path:
    folder = written(Path(tempfile.mkdtemp(prefix="small", dir=base)), TRIAL)
    done = process(folder, "run", "e.yaml")
    assert done.returncode == 0, done.stderr
    assert "small: 6 trials (5 completed, 1 failed)" in done.stdout, done.stdout
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Return the folder of the experiment, the same in every file of tests: leave it as it is."""
    return ran(tmp_path_factory.getbasetemp())


@functools.cache
def _carried(folder: Path) -> str:
    """Return a database of a server that holds the same as the folder's."""
    url = server().url(server().create())
    carry(folder, url)
    return url


def carry(folder: Path, url: str) -> None:
    """Store what is in a folder's database in a new one, too."""
    here, there = Store.open(f"sqlite:///{folder}/schedd.db"), Store.open(url, create=True)
    for name in here.names():
        assert restore(there, lines(here, here.find(name))) == name
    here.close()
    there.close()


@pytest.fixture(params=EITHER)
def on_both(request, finished, monkeypatch) -> str:
    """Let the verbs find the finished experiment in a database of either kind; return its URL."""
    if request.param == "sqlite":
        return f"sqlite:///{finished}/schedd.db"
    monkeypatch.setenv("SCHEDD_STORAGE", _carried(finished))
    return _carried(finished)


@pytest.fixture
def schedd(finished, monkeypatch):
    """Return a function that calls a verb in this process: (exit status, stdout, stderr)."""
    monkeypatch.chdir(finished)
    return caller(monkeypatch)


@pytest.fixture
def copied(finished, tmp_path, monkeypatch, schedd, urls) -> Path:
    """Return a copy of the folder, where verbs are called, whose experiment a test may change."""
    folder, url = tmp_path / "copy", urls("copy/schedd")
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SCHEDD_STORAGE", url)
    if not url.startswith("sqlite"):
        (folder / "schedd.db").unlink()
        carry(finished, url)
    store = Store.open(url)
    with store.writing() as connection:
        connection.exec_driver_sql(f"UPDATE experiment SET trials_dir = '{folder}/small.trials'")
    store.close()
    return folder


def caller(monkeypatch):
    """Return such a function for the present folder."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["schedd", *arguments])
        out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with pytest.raises(SystemExit) as left:
                main()
            out.flush()
        printed = out.buffer.getvalue().decode("utf-8", "surrogateescape")
        return left.value.code or 0, printed, err.getvalue()

    return call


@pytest.fixture
def json_of(schedd):
    def call(*arguments: str):
        status, out, err = schedd(*arguments, "--json")
        assert (status, err) == (0, ""), (status, err)

        def refuse(word: str):
            raise AssertionError(f"{word} is not JSON")

        return json.loads(out, parse_constant=refuse)

    return call
