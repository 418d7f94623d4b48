"""The verbs on a small experiment that really ran, and what becomes of mistakes."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from scheduler.cli import VERBS, main
from scheduler.cli.logs import Tail, follow
from scheduler.cli.text import awaits
from scheduler.config.load import load_text
from scheduler.model.experiment import Changes, Event
from scheduler.model.trial import Trial, TrialStatus, Wish
from scheduler.storage.store import Store

STAGED, RUNNING, ABANDONED = TrialStatus.STAGED, TrialStatus.RUNNING, TrialStatus.ABANDONED

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
while int(index) > 1 and not os.path.exists("go"):
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = written(tmp_path_factory.mktemp("small"), TRIAL)
    done = process(folder, "run", "e.yaml")
    assert done.returncode == 0, done.stderr
    assert "small: 6 trials (5 completed, 1 failed)" in done.stdout
    return folder


@pytest.fixture
def schedd(finished, monkeypatch):
    """Return a function that calls a verb in this process: (exit status, stdout, stderr)."""
    monkeypatch.chdir(finished)
    monkeypatch.delenv("SCHEDD_STORAGE", raising=False)

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
        assert (status, err) == (0, "")

        def refuse(word: str):
            raise AssertionError(f"{word} is not JSON")

        return json.loads(out, parse_constant=refuse)

    return call


# -- help


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_help_that_begins_with_the_words_of_the_table(verb, schedd):
    module, text = VERBS[verb]
    command = getattr(import_module(module), verb)
    assert command.help.splitlines()[0] == text
    status, out, _ = schedd(verb, "--help")
    assert status == 0
    assert text in " ".join(out.split())


def test_every_option_has_help():
    commands = [getattr(import_module(module), verb) for verb, (module, _) in VERBS.items()]
    for command in commands:
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.help, parameter.name


def test_help_lists_every_verb(schedd):
    _, out, _ = schedd("--help")
    assert [line.split()[0] for line in out.partition("Verbs:")[2].split("\n") if line] == list(
        VERBS
    )


def imported(folder: Path, *arguments: str) -> set[str]:
    code = (
        "import sys\nfrom scheduler.cli import main\n"
        f"sys.argv = ['schedd', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_help_imports_neither_models_nor_databases(finished):
    assert not imported(finished, "--help") & {"pydantic", "sqlalchemy", "rich", "numpy", "torch"}


@pytest.mark.parametrize("verb", ["status", "trials", "best"])
def test_showing_imports_no_numerics(verb, finished):
    heavy = {"numpy", "scipy", "torch", "rich", "apscheduler"}
    assert not imported(finished, verb) & heavy


def test_record_imports_next_to_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDD_TRIAL_DIR", str(tmp_path))
    found = imported(tmp_path, "record", "loss=0.1")
    assert not found & {"pydantic", "sqlalchemy", "yaml", "rich", "numpy"}
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"loss": 0.1}


# -- showing


def test_trials(json_of):
    trials = json_of("trials", "small")
    assert [t["index"] for t in trials] == list(range(6))
    assert [t["status"] for t in trials].count("COMPLETED") == 5
    first, failed = trials[0], trials[2]
    assert first["arms"] == [
        {
            "name": "status_quo",
            "parameters": {"x": 0.5, "kind": "a"},
            "weight": 1.0,
            "metrics": {"loss": {"mean": 0.2, "sem": None}, "size": {"mean": 10.0, "sem": None}},
        }
    ]
    assert (first["reason"], first["attempt"], first["generator"]) == (None, 1, None)
    assert (failed["status"], failed["reason"], failed["exit_code"]) == ("FAILED", "EXIT_CODE", 1)
    assert failed["arms"][0]["metrics"] == {}
    assert failed["generator"] == "sobol"
    for key in ("created_at", "started_at", "completed_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first[key])


@pytest.mark.parametrize(
    ("options", "indexes"),
    [
        (["--last", "2"], [4, 5]),
        (["--limit", "2"], [0, 1]),
        (["--offset", "4"], [4, 5]),
        (["--offset", "1", "--limit", "2"], [1, 2]),
        (["--status", "failed"], [2]),
        (["--status", "FAILED", "--status", "completed", "--last", "5"], [1, 2, 3, 4, 5]),
        (["--offset", "99"], []),
        (["--limit", "0"], []),
        (["--last", "0"], []),
    ],
)
def test_a_part_of_the_trials(options, indexes, json_of):
    assert [t["index"] for t in json_of("trials", *options)] == indexes


def test_pages_join_without_a_seam(json_of, monkeypatch):
    whole = json_of("trials"), json_of("events")
    monkeypatch.setattr("scheduler.storage.read.PAGE", 2)
    assert (json_of("trials"), json_of("events")) == whole
    assert json_of("trials", "--offset", "1", "--limit", "3") == whole[0][1:4]
    assert json_of("events", "--last", "5") == whole[1][-5:]


def test_the_table_of_trials_has_a_line_for_each_arm_and_cuts_nothing(schedd):
    _, out, _ = schedd("trials", "e.yaml")
    lines = out.splitlines()
    assert lines[0].split()[:6] == ["trial", "status", "attempt", "arm", "loss", "size"]
    assert len(lines) == 7
    assert "…" not in out
    assert "\x1b" not in out
    assert "EXIT_CODE: " in lines[3]


def test_one_trial(json_of, schedd):
    trial = json_of("trial", "3")
    assert (trial["experiment"], trial["index"]) == ("small", 3)
    assert trial["generator_run"]["generator"] == "sobol"
    assert [e["kind"] for e in trial["events"]][-1] == "trial_completed"
    assert Path(trial["directories"][0], "metrics.jsonl").exists()
    status, out, _ = schedd("trial", "3", "-e", "small")
    assert status == 0
    assert f"x = {trial['arms'][0]['parameters']['x']}" in out


def test_status(json_of, schedd):
    (listed,) = json_of("status")
    named = json_of("status", "small")
    assert listed == named
    assert named["status"] == "COMPLETED"
    assert named["stop"]["criterion"] == "total_trials"
    assert (named["driver"], named["trouble"], named["pending"]) == (None, None, [])
    assert (named["trials"]["COMPLETED"], named["trials"]["FAILED"]) == (5, 1)
    _, out, _ = schedd("status")
    assert "small  COMPLETED  6 trials (5 completed, 1 failed)" in out
    assert "stopped by total_trials" in out


def test_best_is_the_best(json_of, schedd):
    (best,) = json_of("best")
    done = [t for t in json_of("trials") if t["status"] == "COMPLETED"]
    losses = {t["index"]: t["arms"][0]["metrics"]["loss"]["mean"] for t in done}
    assert best["trial_index"] == min(losses, key=losses.__getitem__)
    assert best["metrics"]["loss"]["mean"] == min(losses.values())
    _, out, _ = schedd("best")
    assert f"x = {best['parameters']['x']}" in out


def test_events(json_of, schedd):
    events = json_of("events")
    assert events[0]["kind"] == "experiment_created"
    assert events[-1]["kind"] == "experiment_completed"
    of_trial = json_of("events", "--trial", "2")
    assert {e["trial_index"] for e in of_trial} == {2}
    assert of_trial == [e for e in events if e["trial_index"] == 2]
    _, out, _ = schedd("events", "--last", "1")
    assert out.count("\n") == 1


def test_logs_are_printed_byte_for_byte(schedd, json_of):
    assert schedd("logs", "0") == (0, "bytes: \udcff\udcfe\n", "")
    assert schedd("logs", "2", "--stderr", "-f")[1] == "it went wrong\n"
    status, out, err = schedd("logs", "0", "--stderr")
    assert (status, out) == (0, "")
    assert "stderr.log is empty, but stdout.log is not" in err
    (place,) = json_of("logs", "2")
    assert Path(place["stderr"]).read_text() == "it went wrong\n"


def test_following_prints_what_is_added_until_the_trial_is_over(tmp_path, capsysbinary):
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    news = iter([(0, b"one\n"), (1, b"other\n"), (0, b"two\n")])
    over = iter([False, False, False, True])

    def write() -> None:
        index, text = next(news)
        with logs[index].open("ab") as out:
            out.write(text)

    with contextlib.ExitStack() as stack:
        follow(Tail(logs, stack), lambda: next(over), write)
    printed = capsysbinary.readouterr().out.decode()
    assert re.findall(r"^\w+$", printed, re.M) == ["one", "other", "two"]
    assert printed.count("==>") == 3


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (Trial(0, ()), "waits for a free slot"),
        (Trial(0, (), not_before=99.0, message="oom"), r"waits until \S+ \S+: oom"),
        (Trial(0, (), STAGED, staged_at=1.0), r"is handed to the runner since \S+ \S+"),
        (Trial(0, (), STAGED, staged_at=1.0, message="quota"), ".* runner since .*: quota"),
        (Trial(0, (), STAGED, job_id="7", job_state="QUEUED", staged_at=1.0), "queued since .*"),
        (Trial(0, (), RUNNING, started_at=1.0), r"runs since \S+ \S+"),
        (Trial(0, (), RUNNING, ended_at=1.0, message="no a.json"), ".* its metrics: no a.json"),
        (Trial(0, (), RUNNING, wish=Wish(ABANDONED, "USER", "no")), "is being ended, USER: no"),
    ],
)
def test_what_an_unfinished_trial_waits_for(trial, words):
    assert re.fullmatch(words, awaits(trial, 50.0))


def test_status_shows_trouble_until_it_has_passed(tmp_path, json_of):
    url = f"sqlite:///{tmp_path}/t.db"
    store = Store.open(url, create=True)
    store.create(load_text(FILE), tmp_path, 0.0)
    experiment = store.find("small")
    lease = store.acquire(experiment, 0.0)

    def trouble(kind: str) -> dict | None:
        changes = Changes(time=1.0, events=(Event(1.0, kind, "quota\nexceeded"),))
        store.commit(lease, store.peek(experiment), changes, "")
        return json_of("status", "small", "--storage", url)["trouble"]

    assert trouble("generation_failed")["kind"] == "generation_failed"
    assert trouble("runner_unavailable")["message"] == "quota\nexceeded"
    assert trouble("trial_abandoned")["kind"] == "runner_unavailable"
    assert trouble("trial_running") is None
    lease.release()
    store.close()


# -- defining


def test_validate(schedd, json_of, finished, tmp_path):
    assert schedd("validate", "e.yaml")[0] == 0
    assert schedd("validate", "e.yaml", "--deep")[:2] == schedd("validate", "e.yaml")[:2]
    assert json_of("validate", "e.yaml") == []
    bad = tmp_path / "bad.yaml"
    bad.write_text(FILE.replace("total_trials", "total_trails"))
    status, out, err = schedd("validate", str(bad))
    assert (status, out) == (2, "")
    assert re.fullmatch(rf"{bad}:13:10: .*did you mean 'total_trials'.*\n", err)
    status, out, _ = schedd("validate", str(bad), "--json")
    assert (status, json.loads(out)[0]["line"]) == (2, 13)


def test_the_schema_is_one(schedd):
    status, out, _ = schedd("schema")
    assert status == 0
    assert "parameters" in json.loads(out)["properties"]


def test_plan_is_what_run_then_does_and_leaves_no_trace(tmp_path, json_of, finished, monkeypatch):
    folder = written(tmp_path, TRIAL)
    monkeypatch.chdir(folder)
    planned = json_of("plan", "e.yaml", "9")
    assert sorted(p.name for p in folder.iterdir()) == ["e.yaml", "trial.py"]
    monkeypatch.chdir(finished)
    done = json_of("trials")
    assert [p["index"] for p in planned] == [t["index"] for t in done]
    for before, after in zip(planned, done, strict=True):
        assert before["arms"][0]["parameters"] == after["arms"][0]["parameters"]
        assert "trial.py" in before["rendered"]


def test_plan_of_what_has_ended_says_so(schedd):
    status, out, err = schedd("plan", "small")
    assert (status, out) == (0, "")
    assert err == "nothing would be deployed for small: it has stopped\n"


def test_init_writes_what_runs_and_overwrites_nothing(tmp_path, schedd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert schedd("init")[0] == 0
    text = Path("experiment.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=")
    assert schedd("validate", "experiment.yaml")[0] == 0
    assert schedd("init")[0] == 2
    assert schedd("init", "sub.yaml")[0] == 2, "train.py is there already"
    assert not Path("sub.yaml").exists()
    Path("experiment.yaml").write_text(text.replace("total_trials: 15", "total_trials: 2"))
    done = process(tmp_path, "run", "experiment.yaml")
    assert done.returncode == 0
    assert "2 trials (2 completed)" in done.stdout


# -- steering


def test_ctrl_c_leaves_trials_alone_and_resume_repeats_none(tmp_path, schedd, monkeypatch):
    folder = written(tmp_path, GATED)
    monkeypatch.chdir(folder)
    command = [*ENTRY, "run", "e.yaml"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stderr is not None
        for line in driver.stderr:
            if "trial 1 completed" in line:
                break
        me = f"process {driver.pid} on"
        check_while_driven(schedd, me)
        driver.send_signal(signal.SIGINT)
        last = driver.stderr.read()
    assert driver.returncode == 130
    assert "go on with: schedd resume small" in last
    assert "nobody drives it" in schedd("status")[1]
    (folder / "go").touch()
    assert process(folder, "resume").returncode == 0
    trials = json.loads(schedd("trials", "--json")[1])
    ends = {t["index"]: (t["status"], t["message"]) for t in trials}
    assert ends.pop(2) == ("ABANDONED", "too slow")
    assert set(ends.values()) == {("COMPLETED", "")}
    check_retry(folder, schedd)
    starts = (folder / "starts").read_text().split("\n")[:-1]
    assert len(starts) == len(set(starts))


def check_while_driven(schedd, me: str) -> None:
    status, _, err = schedd("run", "e.yaml")
    assert (status, me in err) == (73, True)
    status, _, err = schedd("resume")
    assert (status, "nothing to do" in err) == (0, True)
    assert schedd("tick")[0] == 0
    assert f"driven by {me}" in schedd("status")[1]
    assert schedd("abandon", "1")[0] == 2
    assert f"at the next tick of {me}" in schedd("abandon", "2", "--reason", "too slow")[1]


def check_retry(folder: Path, schedd) -> None:
    assert "nobody drives it; takes effect with: schedd resume small" in schedd("retry", "2")[1]
    assert "asked and not done yet: retry 2" in schedd("status")[1]
    assert process(folder, "resume").returncode == 0
    again = json.loads(schedd("trial", "2", "--json")[1])
    assert (again["status"], again["attempt"]) == ("COMPLETED", 2)


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
def test_a_mistake_gets_one_sentence(arguments, status, sentence, schedd, monkeypatch):
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


def test_a_reader_that_has_seen_enough_gets_no_traceback(finished):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        done = subprocess.run(
            [*ENTRY, "trials"], cwd=finished, stdout=out, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_several_experiments_need_a_name(tmp_path, schedd, monkeypatch):
    store = Store.open(f"sqlite:///{tmp_path}/two.db", create=True)
    for name in ("one", "two"):
        definition = load_text(FILE.replace("name: small", f"name: {name}"))
        store.create(definition, tmp_path, 0.0)
    store.close()
    monkeypatch.setenv("SCHEDD_STORAGE", f"sqlite:///{tmp_path}/two.db")
    code, _, err = schedd("trials")
    assert (code, "name an experiment" in err, "one, two" in err) == (2, True, True)
    code, _, err = schedd("logs", "0")
    assert (code, "name an experiment" in err) == (2, True)
    assert schedd("trial", "0", "-e", "two")[0] == 0
    _, out, _ = schedd("status", "--json")
    assert [e["name"] for e in json.loads(out)] == ["one", "two"]
    assert "nobody drives it" in schedd("status", "one")[1]
    assert "no trial has completed" in schedd("best", "one")[1]


# -- doctor


def test_doctor(schedd, json_of, tmp_path):
    findings = json_of("doctor", "e.yaml")
    assert [f["check"] for f in findings if not f["ok"]] == []
    assert {"python", "packages", "import path", "runner local", "storage"} <= {
        f["check"] for f in findings
    }
    code, out, _ = schedd("doctor", "--storage", "sqlite:////nowhere/at/all.db")
    assert code == 1
    assert "✗ storage: the folder /nowhere/at of the database does not exist" in out
