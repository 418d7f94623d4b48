"""schedd import on files of other tools: what it writes is checked, planned and run."""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cli_bench import ENTRY, caller
from places import postgres_url, storage, urls
from translated import GOLDEN, make_optuna

__all__ = ["postgres_url", "storage", "urls"]

TRAIN = """\
import os, sys, json
given = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
arm = json.load(open(os.environ["SCHEDD_TRIAL_DIR"] + "/parameters.json"))
assert sorted(given) == sorted([*arm, "out"]), (given, arm)
assert float(given["lr"]) == arm["lr"] and given["out"] == "{dir}", given
with open(os.environ["SCHEDD_TRIAL_DIR"] + "/metrics.jsonl", "a") as out:
    print(json.dumps({"val/loss": 0.5 + arm["lr"]}), file=out)
"""


@pytest.fixture
def schedd(monkeypatch):
    return caller(monkeypatch)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder of its own, which is where verbs are called."""
    shutil.copytree(GOLDEN, tmp_path / "theirs")
    make_optuna(tmp_path / "theirs/optuna.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "study", "placeholder"),
    [
        ("ax.json", None, True),
        ("optuna.db", "My Net", True),
        ("katib.yaml", None, False),
        ("nni/config.yml", None, False),
    ],
)
def test_what_is_imported_is_valid_and_can_be_planned(
    folder, schedd, file, study, placeholder
) -> None:
    options = ["--study", study] if study else []
    status, out, err = schedd("import", f"theirs/{file}", *options)
    assert (status, err) == (0, "")
    assert out.startswith("wrote ")
    assert "\ndid not carry over:\n" in out
    status, out, err = schedd("validate", "experiment.yaml")
    assert status == 0, err
    assert ("still holds REPLACE-ME" in err) is placeholder
    assert ("measured arms taken" in err) is Path("experiment.history.csv").exists()
    status, out, err = schedd("plan", "experiment.yaml", "--json")
    assert status == 0, err
    planned = json.loads(out)[0]
    assert planned["arms"][0]["parameters"]
    assert planned["rendered"]


def test_a_sweep_of_wandb_runs_as_it_is(folder, storage) -> None:
    (folder / "theirs/train.py").write_text(TRAIN)
    text = (folder / "theirs/wandb.yaml").read_text()
    text = text.replace("run_cap: 40", "run_cap: 3").replace("method: bayes", "method: random")
    (folder / "theirs/wandb.yaml").write_text(text.replace('"${interpreter}"', sys.executable))

    def call(*arguments: str):
        return subprocess.run(
            [*ENTRY, *arguments], capture_output=True, text=True, check=False, cwd=folder
        )

    for verb in (("import", "theirs/wandb.yaml"), ("validate", "experiment.yaml")):
        done = call(*verb)
        assert done.returncode == 0, done.stderr
    done = call("run", "experiment.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "my-sweep: 3 trials (3 completed)" in done.stdout
    (logged,) = folder.glob("**/my-sweep.trials/0/a1/stderr.log")  # beside a server: in theirs
    assert logged.read_text() == ""


def test_a_command_that_is_not_known_is_not_run(folder, schedd) -> None:
    schedd("import", "theirs/ax.json")
    for verb in ("run", "submit"):
        status, _, err = schedd(verb, "experiment.yaml")
        assert status == 2
        assert "runner.command[0] still holds REPLACE-ME; write there what starts a trial" in err
    assert not Path("schedd.db").exists()


def test_a_database_is_read_by_its_url_and_left_as_it_is(folder, schedd) -> None:
    database = folder / "theirs/optuna.db"
    before = database.read_bytes()
    status, out, err = schedd("import", f"sqlite:///{database}", "--study", "front")
    assert (status, err) == (0, "")
    assert "wrote Optuna's study 'front' to experiment.yaml, and 3 measured arms to" in out
    assert database.read_bytes() == before
    assert [p.name for p in database.parent.glob("optuna.db*")] == ["optuna.db"]


def test_nothing_that_exists_is_overwritten(folder, schedd) -> None:
    Path("mine.history.csv").write_text("x")
    status, _, err = schedd("import", "theirs/ax.json", "-o", "mine.yaml")
    assert (status, err) == (2, "schedd: mine.history.csv exists already; nothing was written\n")
    assert not Path("mine.yaml").exists()
    assert Path("mine.history.csv").read_text() == "x"


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


WANDB = "method: random\nmetric: {name: loss}\n"
KATIB = """\
apiVersion: kubeflow.org/v1beta1
kind: Experiment
spec:
  objective: {type: minimize, objectiveMetricName: loss}
  parameters:
  - name: lr
    parameterType: double
    feasibleSpace: {min: "low", max: "1"}
"""
NNI = "trialCommand: python train.py\nsearchSpaceFile: gone.json\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            WANDB + "parameters: {lr: {min: 1}}\n",
            "f:3:18: parameters.lr must have value, values, ",
        ),
        (
            WANDB + "parameters: {lr: {min: 2, max: 1}}\n",
            "f:3:18: the bounds of lr must rise, but",
        ),
        (WANDB + "parameters: 3\n", "f:3:13: parameters must be a mapping"),
        (
            WANDB + "parameters: {lr: {distribution: odd}}\n",
            "f:3:33: wandb has no distribution 'odd'",
        ),
        (
            WANDB + "parameters: &a {lr: {value: 1}}\n",
            "f:3:13: anchors are not allowed; remove &a",
        ),
        (KATIB, "f:8:26: spec.parameters.0.feasibleSpace.min must be a number"),
        (NNI, "f:2:18: there is no file gone.json"),
        ('{"__type": "Experiment", }', "f:1:26: this is not JSON:"),
        ('{"a": {"__type": "Experiment"}}', "f: there is no experiment with a search space in"),
        ("schema: schedd/v1\n", "f:1:1: this is an experiment of schedd already: schedd run it"),
        ('{"op_code": 0, "study_name": "a"}\n', "f:1:1: a journal of Optuna's is not read;"),
        ("just: text\n", "f:1:1: it is of no format that is known; name one with --format"),
        (
            "SQLite format 3\0 no",
            "schedd: f cannot be read as a storage of Optuna 3 to 5: file is",
        ),
        ("SQLite format 3\0", "schedd: f cannot be read as a storage of Optuna 3 to 5: "),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(folder, schedd, text, sentence) -> None:
    status, out, err = schedd("import", write("f", text))
    assert (status, out) == (2, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1
    assert not list(folder.glob("experiment*"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["theirs/optuna.db"],
            "theirs/optuna.db holds 2 studies; choose one with --study: My Net, f",
        ),
        (
            ["theirs/optuna.db", "--study", "My Nte"],
            "holds no study 'My Nte'; did you mean 'My Net'?",
        ),
        (["sqlite:///gone.db"], "there is no file "),
        (
            ["postgresql+nodriver://u:secret@h/db"],
            "postgresql+nodriver://u:***@h/db is no database",
        ),
        (["gone.json"], "gone.json: it cannot be read: No such file or directory"),
        (["theirs/ax.json", "--study", "a"], "--study goes with a storage of Optuna's"),
        (
            ["theirs/ax.json", "--storage", "sqlite:///s.db"],
            "--storage goes with what schedd export",
        ),
        (["theirs/ax.json", "-o", "a.json"], "a.json should end in .yaml"),
        (["theirs/ax.json", "--format", "wandb"], "this sweep of wandb has no parameters"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(folder, schedd, arguments, sentence) -> None:
    status, out, err = schedd("import", *arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert "secret" not in err
    assert "Traceback" not in err


def test_the_commands_of_the_document_do_what_it_says(folder, schedd) -> None:
    for name, theirs in {
        "client.json": "ax.json",
        "katib.yaml": "katib.yaml",
        "sweep.yaml": "wandb.yaml",
        "config.yml": "nni/config.yml",
        "search_space.json": "nni/search_space.json",
    }.items():
        shutil.copy(folder / "theirs" / theirs, name)
    make_optuna(folder / "optuna.db")
    with contextlib.closing(sqlite3.connect("optuna.db")) as connection, connection:
        connection.execute("UPDATE studies SET study_name = 'resnet' WHERE study_name = 'front'")
    text = (GOLDEN.parent.parent.parent / "docs/import.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line.partition("#")[0].split() for block in blocks for line in block.splitlines()]
    assert len(commands) == 8
    for command in commands:
        assert schedd(*command[1:])[0] == 0, command
    for made in folder.glob("*.yaml"):
        if made.name not in ("katib.yaml", "sweep.yaml"):
            assert schedd("validate", made.name)[0] == 0, made


ENUMS = {"state": "trialstate", "direction": "direction", "value_type": "valuetype"}


def test_a_storage_on_postgresql_is_read_with_its_enums(folder, schedd, postgres_url) -> None:
    """The rows of the SQLite file, in tables whose columns are of the types that Optuna gives."""
    import psycopg

    other = "postgresql" + postgres_url.removeprefix("postgresql+psycopg")
    with (
        contextlib.closing(sqlite3.connect("theirs/optuna.db")) as here,
        psycopg.connect(other) as there,
    ):
        there.execute("CREATE TYPE trialstate AS ENUM ('RUNNING', 'COMPLETE', 'PRUNED', 'FAIL')")
        there.execute("CREATE TYPE direction AS ENUM ('MINIMIZE', 'MAXIMIZE')")
        there.execute("CREATE TYPE valuetype AS ENUM ('FINITE', 'INF_POS', 'INF_NEG')")
        tables = here.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            columns = [c[1:3] for c in here.execute(f"PRAGMA table_info({table})")]
            kinds = (f'"{n}" {ENUMS.get(n, t).replace("DATETIME", "TEXT")}' for n, t in columns)
            there.execute(f"DROP TABLE IF EXISTS {table}")
            there.execute(f"CREATE TABLE {table} ({', '.join(kinds)})")
            marks = ", ".join(["%s"] * len(columns))
            for row in here.execute(f"SELECT * FROM {table}").fetchall():
                there.execute(f"INSERT INTO {table} VALUES ({marks})", row)
    for source, output in (("theirs/optuna.db", "a.yaml"), (postgres_url, "b.yaml")):
        assert schedd("import", source, "--study", "My Net", "-o", output)[0] == 0
    assert Path("a.history.csv").read_text() == Path("b.history.csv").read_text()
    a, b = (Path(f"{n}.yaml").read_text().partition("schema:")[2] for n in "ab")
    assert a.replace("a.history", "b.history") == b


def test_numbers_that_need_a_tag_in_yaml_1_1_are_numbers(folder, schedd) -> None:
    text = WANDB + "program: t.py\nparameters: {lr: {min: !!float 1e-5, max: !!float 1}}\n"
    assert schedd("import", write("f", text))[0] == 0
    assert "{name: lr, type: range, bounds: [1e-05, 1.0]}" in Path("experiment.yaml").read_text()
