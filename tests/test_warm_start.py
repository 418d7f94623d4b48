"""An experiment that begins with what was measured elsewhere."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from places import another, storage, url, urls
from simulation import stores
from simulation.stores import commit, trial

from scheduler.clock import Clock
from scheduler.config.errors import ConfigError
from scheduler.config.load import load_text
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.observation import Observation
from scheduler.model.redefine import DefinitionChanged
from scheduler.model.trial import Arm, TrialStatus
from scheduler.storage import read
from scheduler.storage.errors import StorageError
from scheduler.storage.journal import ExperimentJournal
from scheduler.storage.store import Store
from scheduler.submit import submit
from scheduler.warm_start import NoSource, gather

__all__ = ["storage", "url", "urls"]

SPACE = [
    {"name": "x", "type": "range", "bounds": [0, 1]},
    {"name": "n", "type": "range", "parameter_type": "int", "bounds": [1, 9]},
    {"name": "kind", "type": "choice", "values": ["a", "b"]},
    {"name": "fast", "type": "choice", "values": [True, False]},
    {"name": "data", "type": "fixed", "value": 10},
]
HEADER = "x,n,kind,fast,loss,loss_sem,size\n"


def definition(name="new", parameters=SPACE, **changes):
    return ExperimentDefinition.model_validate(
        {
            "name": name,
            "parameters": parameters,
            "objective": "-loss",
            "metrics": {"loss": {}, "size": {}},
            "runner": {"command": ["true"]},
            **changes,
        }
    )


def arm(x, n=3, kind="a", fast=True, **more):
    return {"x": x, "n": n, "kind": kind, "fast": fast, "data": 10, **more}


@pytest.fixture
def store(url):
    made = Store.open(url, create=True)
    yield made
    made.close()


def measure(store, made, arms):
    """Store an experiment of trials with one arm each: parameters, metrics and status."""
    experiment = submit(store, made, 0.0)
    lease = store.acquire(experiment, 0.0)
    journal = ExperimentJournal(store, experiment, lease, Clock())
    driven = stores.Driven(journal, None, store, experiment, (lease,))
    for k, (parameters, metrics, status) in enumerate(arms):
        done = replace(trial(k, status, completed_at=float(k)), arms=(Arm(f"{k}_0", parameters),))
        found = [Observation(k, 1, f"{k}_0", name, *value) for name, value in metrics.items()]
        if status is not TrialStatus.COMPLETED:
            found = []
        done = replace(done, generator_run=None, node=None)
        commit(driven, trials=(done,), observations=tuple(found))
    lease.release()
    return experiment


DONE = TrialStatus.COMPLETED
OLD = [
    (arm(0.25), {"loss": (1.0, 0.5), "size": (7.0, None)}, DONE),
    (arm(0.75), {"loss": (2.0, None)}, DONE),
    (arm(0.5), {"loss": (3.0, None)}, TrialStatus.FAILED),
]


def test_what_another_experiment_has_measured_comes_first(store):
    measure(store, definition("old"), OLD)
    told = []
    made = definition(warm_start=[{"experiment": "old", "only": "completed"}])
    experiment = submit(store, made, 5.0, told.append)
    assert told == ["warm start: old: 2 measured arms taken"]
    assert store.measured(experiment.id) == (
        (arm(0.25), {"loss": (1.0, 0.5), "size": (7.0, None)}),
        (arm(0.75), {"loss": (2.0, None)}),
    )
    state = store.peek(experiment)
    assert (state.transferred, state.observed, state.outcomes) == (2, 2, ())
    assert (state.tally.created, state.active) == (0, {})
    assert store.arms(experiment.id) == store.measured_here(experiment.id) == ()
    kinds = [(e.kind, e.message) for e in read.events(store, experiment.id)]
    assert kinds[1] == ("warm_start", "old: 2 measured arms taken")


def test_the_source_is_read_once(store, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(HEADER + "0.5,2,a,true,1.0,,\n")
    made = definition(warm_start=[{"csv": str(table)}])
    before = store.measured(submit(store, made, 0.0).id)
    table.unlink()
    assert store.measured(submit(store, made, 1.0).id) == before
    assert len(before) == 1
    with pytest.raises(DefinitionChanged, match="another warm_start; give the new one a name"):
        submit(store, definition(), 2.0)


def test_one_arm_of_two_sources_and_of_a_trial_is_told_once(store, tmp_path):
    measure(store, definition("old"), OLD[:1])
    table = tmp_path / "t.csv"
    table.write_text(HEADER + "0.25,3,a,true,3.0,0.5,\n")
    sources = [{"csv": str(table)}, {"experiment": "old"}]
    experiment = measure(
        store, definition(warm_start=sources), [(*OLD[0][:1], {"loss": (5.0, 0.5)}, DONE)]
    )
    ((parameters, metrics),) = store.measured(experiment.id)
    assert parameters == arm(0.25)
    assert metrics["loss"] == (3.0, pytest.approx(0.5 / 3**0.5))
    # A source hands on what it has measured itself, not what it was given.
    again = definition("third", warm_start=[{"experiment": "new"}])
    (taken,) = gather(again, lambda: store).arms
    assert taken.metrics["loss"] == (5.0, 0.5)


def changed(name, **fields):
    return [{**p, **fields} if p["name"] == name else p for p in SPACE]


LEFT_OUT = {
    "out of bounds": (changed("x", bounds=[0, 0.5]), {}, 1, "x = 0.75 is outside [0, 0.5]"),
    "a value that is gone": (changed("kind", values=["b", "c"]), {}, 0, "'a' is not one of"),
    "another fixed value": (changed("data", value=11), {}, 0, "data is fixed at 11, not 10"),
    "a parameter that is gone": (SPACE[1:], {}, 0, "'x' is not a parameter"),
    "a new parameter": ([*SPACE, {**SPACE[0], "name": "y"}], {}, 0, "the arm has no value for y"),
    "a new parameter with a default": ([*SPACE, {**SPACE[0], "name": "y"}], {"y": 0.5}, 2, ""),
    "a new fixed parameter": ([*SPACE, {**SPACE[4], "name": "z"}], {}, 2, ""),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_the_search_space_does_not_admit_is_left_out_and_counted(case, store):
    parameters, defaults, taken, why = LEFT_OUT[case]
    measure(store, definition("old"), OLD)
    sources = [{"experiment": "old", "defaults": defaults}]
    gathered = gather(definition(parameters=parameters, warm_start=sources), lambda: store)
    assert len(gathered.arms) == taken
    assert f"old: {taken} measured arms taken" in gathered.messages[0]
    assert (f", {2 - taken} left out (" in gathered.messages[0]) is (taken < 2)
    assert why in gathered.messages[0]
    for each in gathered.arms:
        assert each.parameters == definition(parameters=parameters).admit(each.parameters)


def test_an_arm_without_a_metric_of_ours_is_left_out(store):
    measure(store, definition("old", objective="-other", metrics={"other": {}}), [])
    made = [(arm(0.5), {"size": (1.0, None)}, DONE), *OLD[:1]]
    measure(store, definition("older"), made)
    gathered = gather(definition(warm_start=[{"experiment": "older"}]), lambda: store)
    assert [a.parameters["x"] for a in gathered.arms] == [0.25]
    assert "1 left out (nothing was measured that is wanted here)" in gathered.messages[0]


def test_arms_without_a_constrained_metric_teach_but_are_no_full_observation(store):
    measure(store, definition("old"), OLD)
    made = definition(outcome_constraints=["size <= 9"], warm_start=[{"experiment": "old"}])
    experiment = submit(store, made, 0.0)
    assert len(store.measured(experiment.id)) == 2
    assert store.peek(experiment).transferred == 1


def test_another_store_may_be_the_source(store, tmp_path):
    measure(store, definition("old"), OLD)
    source = {"experiment": "old", "storage": store.url}
    with another(store.url, tmp_path) as url:
        other = Store.open(url, create=True)
        experiment = submit(other, definition("old", warm_start=[source]), 0.0)
        assert other.peek(experiment).transferred == 2
        other.close()


def test_a_source_that_is_not_there_is_a_sentence_and_nothing_is_stored(store, tmp_path):
    measure(store, definition("older"), OLD)
    with pytest.raises(NoSource, match=r"no experiment 'olde' in .*did you mean 'older'"):
        submit(store, definition(warm_start=[{"experiment": "olde"}]), 0.0)
    gone = {"experiment": "old", "storage": f"sqlite:///{tmp_path}/gone.db"}
    with pytest.raises(StorageError, match="there is no database"):
        submit(store, definition(warm_start=[gone]), 0.0)
    assert store.names() == ["older"]


# -- tables


def test_a_table_brings_values_in_the_types_of_their_parameters(tmp_path):
    table = tmp_path / "t.csv"
    table.write_bytes(
        b"\xef\xbb\xbfloss, when ,fast,x,loss_sem,n,kind,size\r\n"
        b"1e-3,now,True,.5,,3.0,a,\r\n"
        b"\r\n"
        b"-2,then,FALSE,1,0.25,9,b,4\r\n"
    )
    found = gather(definition(warm_start=[{"csv": str(table)}]), None)
    assert [(a.parameters, a.metrics) for a in found.arms] == [
        (arm(0.5), {"loss": (0.001, None)}),
        (arm(1.0, 9, "b", False), {"loss": (-2.0, 0.25), "size": (4.0, None)}),
    ]
    assert [type(v) for v in found.arms[0].parameters.values()] == [float, int, str, bool, int]
    assert found.arms[0].source == str(table)


def test_a_row_without_a_finite_value_is_left_out(tmp_path):
    table = tmp_path / "t.csv"
    rows = ["0.5,2,a,true,nan,,", "0.5,2,a,true,inf,,", "0.5,2,a,true,,,3", ",2,a,true,1,,"]
    table.write_text(HEADER + "\n".join([*rows, "0.5,2,a,true,1e300,0,"]))
    found = gather(definition(warm_start=[{"csv": str(table)}]), None)
    assert [a.metrics for a in found.arms] == [{"loss": (1e300, 0.0)}]
    assert "1 measured arms taken, 4 left out (nothing was measured" in found.messages[0]


WRONG = {
    "empty": ("", ": it is empty; the first line names parameters and metrics"),
    "no parameter": ("a,loss\n", ":1:1: no column is named as a parameter; there is 'a', 'loss'"),
    "no metric": ("x,n\n", ":1:1: no column is named loss; there is 'x', 'n'"),
    "a column twice": ("x,x,loss\n", ":1:1: there are two columns called 'x'"),
    "a short row": (HEADER + "1,2\n", ":2:1: there are 2 cells where the header has 7"),
    "no number": (HEADER + "0.5,2,a,true,1,,\nabc,2,a,true,1,,\n", ":3:1: x = 'abc' is not a num"),
    "a metric in words": (HEADER + "0.5,2,a,true,low,,\n", ":2:1: loss = 'low' is not a number"),
    "neither true nor false": (HEADER + "0.5,2,a,1,1,,\n", ":2:1: fast = '1' is neither true nor"),
    "a negative sem": (HEADER + "0.5,2,a,true,1,-1,\n", ":2:1: loss_sem = '-1' is not a standard"),
    "an open quote": (HEADER + '"0.5,2', ": it is not a table of comma-separated values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_in_a_table_is_told_with_its_line(case, tmp_path):
    content, message = WRONG[case]
    table = tmp_path / "t.csv"
    table.write_text(content)
    with pytest.raises(ConfigError) as error:
        gather(definition(warm_start=[{"csv": str(table)}]), None)
    assert str(error.value).startswith(f"{table}{message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8")]
)
def test_a_file_that_is_no_table_is_a_sentence(content, why, tmp_path):
    table = tmp_path / "t.csv"
    if content:
        table.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        gather(definition(warm_start=[{"csv": str(table)}]), None)


# -- the file


FILE = """\
schema: schedd/v1
name: new
parameters: [{name: x, type: range, bounds: [0, 1]}]
objective: "-loss"
runner: {command: [sh, -c, 'schedd record loss=$SCHEDD_PARAM_X']}
trials: {total_trials: 2, max_pending_trials: 1}
"""

MISTAKES = {
    "[{experiment: new}]": "7:27: new cannot begin with its own arms",
    "[{csv: t.csv, defaults: {y: 1}}]": "7:41: 'y' is not a parameter",
    "[{csv: t.csv, defaults: {x: 5}}]": "7:41: x = 5 is outside [0, 1]",
    "[{csv: t.csv, experiment: old}]": "7:14: give either experiment: NAME or csv: FILE",
    "[{only: completed}]": "7:14: give either experiment: NAME or csv: FILE",
    "[{csv: t.csv, storage: 'sqlite:///x'}]": "7:14: storage goes with experiment, not with csv",
    "[{experiment: old, only: all}]": "7:38: warm_start[0].only must be completed, not 'all'",
}


@pytest.mark.parametrize("source", MISTAKES)
def test_a_mistake_in_the_file_is_told_with_its_place(source):
    with pytest.raises(ConfigError) as error:
        load_text(f"{FILE}warm_start: {source}\n", "f")
    assert str(error.value).startswith(f"f:{MISTAKES[source]}")


def test_a_table_lies_beside_the_file(tmp_path):
    made = load_text(f"{FILE}warm_start: [{{csv: t.csv}}]\n", "f", folder=tmp_path)
    assert made.warm_start[0].csv == f"{tmp_path}/t.csv"


def schedd(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-c", "from scheduler.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_model_proposes_the_first_arm_of_one_that_begins_with_enough(storage, tmp_path):
    (tmp_path / "e.yaml").write_text(
        f"{FILE}warm_start: [{{csv: t.csv}}]\n"
        "generation_strategy: {nodes: [{generator: botorch}]}\n"
    )
    rows = [f"{x},{(x - 0.3) ** 2}" for x in (0.0, 0.2, 0.5, 0.8, 1.0, 2.0)]
    (tmp_path / "t.csv").write_text("\n".join(["x,loss", *rows]))
    told = "t.csv: 5 measured arms taken, 1 left out (x = 2.0 is outside [0, 1])"
    for verb in ("validate", "plan"):
        done = schedd(tmp_path, verb, "e.yaml")
        assert done.returncode == 0, done.stderr
        assert told in done.stderr
    assert not (tmp_path / "schedd.db").exists()
    done = schedd(tmp_path, "tick", "e.yaml")
    assert done.returncode == (78 if "sqlite" in storage else 2)  # where there is no experiment
    done = schedd(tmp_path, "run", "e.yaml")
    assert told in done.stderr
    (tmp_path / "t.csv").unlink()
    assert schedd(tmp_path, "validate", "e.yaml").returncode == 0
    trials = json.loads(schedd(tmp_path, "trials", "--json").stdout)
    assert [t["generator"] for t in trials] == ["botorch"] * 2


def test_a_missing_source_is_one_line_and_exit_status_2(tmp_path):
    (tmp_path / "e.yaml").write_text(f"{FILE}warm_start: [{{csv: t.csv}}]\n")
    for verb in ("validate", "plan", "run"):
        done = schedd(tmp_path, verb, "e.yaml")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"{tmp_path}/t.csv: it cannot be read: No such file or directory\n"
    shown = json.loads(schedd(tmp_path, "validate", "e.yaml", "--json").stdout)
    assert shown[0]["message"].startswith("it cannot be read")
