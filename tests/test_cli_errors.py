"""What becomes of mistakes: one sentence, an exit status, no traceback; doctor finds them."""

import json
import os
import subprocess

import pytest
from cli_bench import ENTRY, FILE, finished, json_of, on_both, schedd
from places import urls

from scheduler.config.load import load_text
from scheduler.storage.store import Store

__all__ = ["finished", "json_of", "on_both", "schedd", "urls"]


# -- mistakes


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ("stauts", 2, "there is no verb 'stauts'; did you mean 'status'?"),
        ("run", 2, "Missing argument 'FILE'"),
        ("run nowhere.yaml", 2, "nowhere.yaml: there is no such file"),
        ("validate .", 2, ".: "),
        ("init notes.txt", 2, "notes.txt should end in .yaml"),
        ("init nowhere/e.yaml", 2, "cannot be written: No such file"),
        ("trials smal", 2, "there is no experiment 'smal'; did you mean 'small'?"),
        ("trials --last 1 --limit 1", 2, "--last goes with neither --limit nor --offset"),
        ("trials --status LOST", 2, "'LOST' is not one of"),
        ("trial 6", 2, "small has no trial 6; its trials are 0 to 5"),
        ("trial 99999999999999999999999", 2, "is not in the range"),
        ("logs 1 --arm 7_0", 2, "trial 1 has no arm '7_0'; it has 1_0"),
        ("logs 1 --attempt 2", 2, "trial 1 is in attempt 1; there is no 2"),
        ("abandon 1", 2, "trial 1 has ended already: it is COMPLETED"),
        ("retry 1", 2, "only a trial that is FAILED or ABANDONED can be retried"),
        ("stop", 2, "small has ended already: it is COMPLETED"),
        ("plan small 0", 2, "0 is not in the range"),
        ("record loss=1", 2, "SCHEDD_TRIAL_DIR is not set here"),
        ("status --storage sqlite:///none.db", 78, "there is no database"),
        ("status --storage nonsense", 78, "'nonsense' is not a database URL"),
        ("status --storage sqlite:///e.yaml", 78, "file is not a database"),
    ],
)
def test_a_mistake_gets_one_sentence(arguments, status, sentence, schedd, on_both, monkeypatch):
    monkeypatch.delenv("SCHEDD_TRIAL_DIR", raising=False)
    code, out, err = schedd(*arguments.split())
    assert (code, out) == (status, "")
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("loss", "'loss' is not METRIC=VALUE"),
        ("=1", "'=1' is not METRIC=VALUE"),
        ("loss=much", "'much' in 'loss=much' is not a number"),
        ("loss=nan", "not finite"),
        ("loss=1 loss=2", "'loss' is given twice"),
        ("step=1", "'step' is no possible name"),
        ("loss=1 --step nan", "the step is nan"),
    ],
)
def test_a_wrong_record_records_nothing(arguments, sentence, schedd, tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDD_TRIAL_DIR", str(tmp_path))
    code, _, err = schedd("record", *arguments.split())
    assert code == 2
    assert sentence in err
    assert list(tmp_path.iterdir()) == []


def test_records_are_lines(schedd, tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDD_TRIAL_DIR", str(tmp_path))
    assert schedd("record", "loss=0.5", "acc=-1e-3", "--step", "3") == (0, "", "")
    monkeypatch.setenv("SCHEDD_TRIAL_DIR", str(tmp_path / "nowhere"))
    assert schedd("record", "loss=1")[0] == 2
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert list(map(json.loads, lines)) == [{"step": 3, "loss": 0.5, "acc": -0.001}]


def test_a_reader_that_has_seen_enough_gets_no_traceback(finished, on_both):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        done = subprocess.run(
            [*ENTRY, "trials"], cwd=finished, stdout=out, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_several_experiments_need_a_name(tmp_path, schedd, urls, monkeypatch):
    store = Store.open(urls("two"), create=True)
    for name in ("one", "two"):
        definition = load_text(FILE.replace("name: small", f"name: {name}"))
        store.create(definition, tmp_path, 0.0)
    store.close()
    monkeypatch.setenv("SCHEDD_STORAGE", urls("two"))
    code, _, err = schedd("trials")
    assert (code, "name an experiment" in err, "one, two" in err) == (2, True, True)
    code, _, err = schedd("logs", "0")
    assert (code, "name an experiment" in err) == (2, True)
    assert schedd("trial", "0", "-e", "two")[0] == 0
    _, out, _ = schedd("status", "--json")
    assert [e["name"] for e in json.loads(out)] == ["one", "two"]
    lines = schedd("status")[1].splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        [name, "RUNNING", "1", "of"] for name in ("one", "two")
    ]
    assert all("nobody drives it" in line for line in lines[1:])
    _, out, _ = schedd("status", "--last", "1", "--json")
    assert [e["name"] for e in json.loads(out)] == ["two"]
    assert schedd("status", "one", "--limit", "1")[0] == 2
    assert "nobody drives it" in schedd("status", "one")[1]
    assert "no trial has completed" in schedd("best", "one")[1]


# -- doctor


def test_doctor(schedd, json_of, on_both):
    findings = json_of("doctor", "e.yaml")
    assert [f["check"] for f in findings if not f["ok"]] == []
    assert {"python", "packages", "import path", "runner local", "storage"} <= {
        f["check"] for f in findings
    }
    code, out, _ = schedd("doctor", "--storage", "sqlite:////nowhere/at/all.db")
    assert code == 1
    assert "✗ storage: the folder /nowhere/at of the database does not exist" in out
