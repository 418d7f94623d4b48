"""From a file to trials: validate, plan, init, run, Ctrl-C, resume, abandon, retry."""

import json
import re
import signal
import subprocess
from pathlib import Path

from cli_bench import (
    ENTRY,
    FILE,
    GATED,
    TRIAL,
    finished,
    json_of,
    on_both,
    process,
    schedd,
    written,
)
from places import storage, urls

__all__ = ["finished", "json_of", "on_both", "schedd", "storage", "urls"]


# -- defining


def test_validate(schedd, json_of, on_both, tmp_path):
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


def test_plan_is_what_run_then_does_and_leaves_no_trace(
    tmp_path, json_of, finished, storage, monkeypatch
):
    folder = written(tmp_path, TRIAL)
    monkeypatch.chdir(folder)
    planned = json_of("plan", "e.yaml", "9")
    assert sorted(p.name for p in folder.iterdir()) == ["e.yaml", "trial.py"]
    if storage.startswith("postgresql"):  # of SQLite there is no file: see the line above
        assert json_of("status") == []
    done = json_of("trials", "--storage", f"sqlite:///{finished}/schedd.db")
    assert [p["index"] for p in planned] == [t["index"] for t in done]
    for before, after in zip(planned, done, strict=True):
        assert before["arms"][0]["parameters"] == after["arms"][0]["parameters"]
        assert "trial.py" in before["rendered"]


def test_plan_and_validate_say_which_generators_take_turns(tmp_path, schedd, storage, monkeypatch):
    folder = written(tmp_path, TRIAL)
    nodes = "[{generator: grid, num_trials: 2, options: {levels: 3}}, {generator: random}]"
    text = "\n".join(
        f"generation_strategy: {{nodes: {nodes}}}" if "generation_strategy" in line else line
        for line in (folder / "e.yaml").read_text().splitlines()
    )
    (folder / "e.yaml").write_text(text)
    monkeypatch.chdir(folder)
    words = "grid until 2 trials are made, then random"
    assert schedd("validate", "e.yaml")[1].endswith(f"{words}\n")
    status, out, _ = schedd("plan", "e.yaml", "3")
    assert (status, out.splitlines()[0]) == (0, f"# generation: {words}")
    assert out.count("# trial ") == 3


def test_plan_of_what_has_ended_says_so(schedd, on_both):
    status, out, err = schedd("plan", "small")
    assert (status, out) == (0, "")
    assert err == "nothing would be deployed for small: it has stopped\n"


def test_init_writes_what_runs_and_overwrites_nothing(tmp_path, schedd, storage, monkeypatch):
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


def test_ctrl_c_leaves_trials_alone_and_resume_repeats_none(
    tmp_path, schedd, storage, monkeypatch
):
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
    status, _, err = schedd("resume")
    assert (status, "nothing to do" in err) == (0, True)
    assert schedd("tick")[0] == 0
    assert f"driven by {me}" in schedd("status")[1]
    status, _, err = schedd("abandon", "2", "1")
    assert (status, "trial 1 has ended already" in err) == (2, True)
    assert "asked and not done yet" not in schedd("status")[1], "of all of them, or of none"
    assert f"at the next tick of {me}" in schedd("abandon", "2", "--reason", "too slow")[1]


def check_retry(folder: Path, schedd) -> None:
    said = schedd("retry", "2", "2")[1]
    assert said.count("nobody drives it; takes effect with: schedd resume small") == 1
    assert "asked and not done yet: retry 2" in schedd("status")[1]
    assert process(folder, "resume").returncode == 0
    again = json.loads(schedd("trial", "2", "--json")[1])
    assert (again["status"], again["attempt"]) == ("COMPLETED", 2)
