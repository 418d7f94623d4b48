"""Help, what a verb imports, and the verbs that show, on a small experiment that really ran."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_bench import FILE, finished, json_of, on_both, schedd
from places import urls

from scheduler.cli import VERBS, cli
from scheduler.cli.logs import Tail, follow
from scheduler.cli.text import awaits
from scheduler.config.load import load_text
from scheduler.model.experiment import Changes, Event
from scheduler.model.trial import Trial, TrialStatus, Wish
from scheduler.storage.store import Store

__all__ = ["finished", "json_of", "on_both", "schedd", "urls"]
pytestmark = pytest.mark.usefixtures("on_both")

STAGED, RUNNING, ABANDONED = TrialStatus.STAGED, TrialStatus.RUNNING, TrialStatus.ABANDONED


# -- help


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_help_that_begins_with_the_words_of_the_table(verb, schedd):
    text = VERBS[verb][1]
    command = cli.get_command(click.Context(cli), verb)
    assert command.help.splitlines()[0] == text
    status, out, _ = schedd(verb, "--help")
    assert status == 0
    assert text in " ".join(out.split())


def test_every_option_has_help():
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
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


@pytest.mark.parametrize("verb", ["status", "trials", "best --observed"])
def test_showing_imports_no_numerics(verb, finished):
    heavy = {"numpy", "scipy", "torch", "rich", "apscheduler"}
    assert not imported(finished, *verb.split()) & heavy


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
    assert listed == {key: named[key] for key in listed}
    assert named["status"] == "COMPLETED"
    assert named["stop"]["criterion"] == "total_trials"
    assert (named["driver"], named["trouble"], named["pending"]) == (None, None, [])
    assert (named["trials"]["COMPLETED"], named["trials"]["FAILED"]) == (5, 1)
    _, out, _ = schedd("status")
    assert "small  COMPLETED  6 trials (5 completed, 1 failed)" in out
    assert "stopped by total_trials" in out


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # gpytorch's import
def test_best_is_the_best(json_of, schedd):
    (best,) = json_of("status", "small")["best"]
    done = [t for t in json_of("trials") if t["status"] == "COMPLETED"]
    losses = {t["index"]: t["arms"][0]["metrics"]["loss"]["mean"] for t in done}
    assert best["trial_index"] == min(losses, key=losses.__getitem__)
    assert best["metrics"]["loss"]["mean"] == min(losses.values())
    for options in ((), ("--observed",)):
        found = json_of("best", *options)["best"]
        assert found["metrics"]["loss"]["mean"] == best["metrics"]["loss"]["mean"]
        _, out, _ = schedd("best", *options)
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


def test_status_shows_trouble_until_it_has_passed(tmp_path, urls, json_of):
    url = urls("t")
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
