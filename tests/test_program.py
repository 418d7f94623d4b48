"""A program's own Runner and Metrics in other processes: handed over, or named in a file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_bench import caller, process
from places import either, urls

from scheduler import (
    Experiment,
    Metric,
    Objective,
    OptimizationConfig,
    RangeParameter,
    Runner,
    Scheduler,
    SchedulerOptions,
    SearchSpace,
    SyntheticRunner,
    UserInputError,
)
from scheduler.gauges import Gauges
from scheduler.python.plugs import plug
from scheduler.python.program import section_of
from scheduler.service import Service
from scheduler.storage import read
from scheduler.storage.store import Store

__all__ = ["either", "urls"]

FURNACE = """\
import os
from pathlib import Path

from scheduler import Metric, Runner, TrialStatus


class Furnace(Runner):
    '''Ovens are folders: a trial burns until its folder holds "done".'''

    def __init__(self, place, degrees=20):
        self.place, self._heat = place, degrees
        self.degrees = degrees

    def run(self, trial):
        with open(f"{self.place}/starts", "a") as out:
            print(trial.index, os.getpid(), file=out)
        oven = Path(self.place, str(trial.index))
        oven.mkdir()
        if not Path(self.place, "slow").exists():
            (oven / "done").touch()
        return {"oven": str(oven)}

    def poll_trial_status(self, trials):
        found = {TrialStatus.RUNNING: set(), TrialStatus.COMPLETED: set()}
        for trial in trials:
            done = Path(trial.run_metadata["oven"], "done").exists()
            found[TrialStatus.COMPLETED if done else TrialStatus.RUNNING].add(trial.index)
        return found


class Loss(Metric):
    def __init__(self, name, offset):
        super().__init__(name, lower_is_better=True)
        self.offset = offset

    def fetch_trial_data(self, trial):
        return trial.arm.parameters["x"] ** 2 + self.offset, 0.0
"""
PROGRAM = """\
import sys
from contextlib import suppress

from furnace import Furnace, Loss
from scheduler import *

experiment = Experiment(
    SearchSpace([RangeParameter("x", lower=-5.0, upper=10.0)]),
    "baked",
    OptimizationConfig(Objective(Loss("loss", offset=3.0), minimize=True)),
    runner=Furnace(sys.argv[1], degrees=900),
    storage=sys.argv[2],
)
strategy = GenerationStrategy(steps=[GenerationStep(Models.SOBOL)])
options = SchedulerOptions(
    total_trials=5, max_pending_trials=2, init_seconds_between_polls=0.2
)
scheduler = Scheduler(experiment, strategy, options)
scheduler.run_n_trials(2)
with open(sys.argv[1] + "/slow", "w"):
    pass


def leave(_):
    if experiment.trials_by_status()[TrialStatus.RUNNING]:
        raise KeyboardInterrupt


with suppress(KeyboardInterrupt):
    scheduler.run_n_trials(1, idle_callback=leave)
if sys.argv[3:] == ["hand"]:
    scheduler.hand_over()
"""
FILE = """\
schema: schedd/v1
name: baked
parameters:
  - {name: x, type: range, bounds: [-5.0, 10.0]}
objective: -loss
generation_strategy: {nodes: [{generator: sobol}]}
trials: {total_trials: 3, max_pending_trials: 2}
polling: {interval: 0.2s}
runner:
  type: python
  python:
    class: ./furnace.py:Furnace
    arguments: {place: ovens}
    metrics:
      loss: {class: "furnace:Loss", arguments: {name: loss, offset: 3.0}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "furnace.py").write_text(FURNACE)
    (tmp_path / "ovens").mkdir()
    return tmp_path


def starts(folder) -> list[list[str]]:
    return [line.split() for line in (folder / "ovens/starts").read_text().splitlines()]


def begun(folder, url: str, *words: str) -> None:
    """Run the program: two trials complete, a third burns when it ends."""
    (folder / "program.py").write_text(PROGRAM)
    line = [sys.executable, "program.py", str(folder / "ovens"), url, *words]
    subprocess.run(line, cwd=folder, check=True)


def ovens(folder) -> list[str]:
    return sorted(path.name for path in (folder / "ovens").iterdir() if path.is_dir())


def finish(folder) -> None:
    (folder / "ovens/slow").unlink()
    for oven in ovens(folder):
        (folder / "ovens" / oven / "done").touch()


@pytest.fixture
def schedd(folder, monkeypatch):
    return caller(monkeypatch)


def statuses(schedd, url: str) -> list[str]:
    status, out, err = schedd("trials", "baked", "--json", "--storage", url)
    assert (status, err) == (0, "")
    return [row["status"] for row in json.loads(out)]


def test_what_a_program_began_another_process_ends(folder, schedd, either):
    begun(folder, either, "hand")
    assert statuses(schedd, either) == ["COMPLETED", "COMPLETED", "RUNNING"]
    finish(folder)
    done = process(folder, "resume", "baked", "--storage", either)
    assert (done.returncode, statuses(schedd, either)) == (0, ["COMPLETED"] * 5), done.stderr
    indexes, processes = zip(*starts(folder), strict=True)
    assert indexes == ("0", "1", "2", "3", "4")
    assert len(set(processes)) == 2
    store = Store.open(either)
    for record in read.trials(store, store.find("baked").id):
        (arm,) = record.trial.arms
        assert record.metrics[arm.name]["loss"].mean == arm.parameters["x"] ** 2 + 3.0
    store.close()


def test_before_it_is_handed_over_nobody_else_drives_it(folder, schedd, either):
    begun(folder, either)
    finish(folder)
    status, _, err = schedd("resume", "baked", "--storage", either)
    assert status == 2
    assert err.startswith(
        "schedd: the Runner of baked is its program's own: that program drives it, or"
    )
    store, told = Store.open(either), []
    service = Service(
        store,
        lambda _name, _state, events: told.extend(event.message for event in events),
        generators=1,
        progress=lambda: None,
        max_jobs={},
        gauges=Gauges(),
        plug=plug,
    )
    for _ in range(2):
        service._look()
        service._aside.clear()
    assert [message[:43] for message in told] == ["it cannot be driven: the Runner of baked is"]
    assert statuses(schedd, either) == ["COMPLETED", "COMPLETED", "RUNNING"]
    store.close()


def test_what_no_file_can_drive_is_said_before_it_is_run(folder, schedd):
    (folder / "e.yaml").write_text(FILE.replace("class: ./furnace.py:Furnace", "class: null"))
    status, _, err = schedd("validate", "e.yaml", "--deep")
    assert (status, "its own program alone drives it" in err) == (2, True), err


def test_a_file_names_the_classes(folder, schedd, either):
    (folder / "e.yaml").write_text(FILE)
    assert schedd("validate", "e.yaml", "--deep")[0] == 0
    assert f"{folder}/furnace.py:Furnace deploys it" in schedd("plan", "e.yaml")[1]
    done = process(folder, "run", "e.yaml", "--storage", either)
    assert (done.returncode, statuses(schedd, either)) == (0, ["COMPLETED"] * 3), done.stderr
    assert [index for index, _ in starts(folder)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("old", "new", "verb", "said"),
    [
        (
            "./furnace.py:Furnace",
            "furnace",
            "validate",
            "e.yaml:12:12: class is 'furnace', which is neither",
        ),
        ("    class: ./furnace.py:Furnace\n", "", "validate", "e.yaml:12:5: runner.python lacks "),
        ("furnace.py:F", "oven.py:F", "run", "/oven.py:Furnace does not import: FileNotFound"),
        ("furnace:Loss", "furnace:Gain", "run", "furnace:Gain does not import: AttributeError: "),
        ("furnace:Loss", "furnace:Furnace", "run", "furnace:Furnace is not a subclass of schedu"),
        ("{name: loss,", "{name: gain,", "run", "has 'loss' call itself 'gain': its name and the"),
        (
            "class: ./furnace.py:Furnace",
            "class: null",
            "run",
            "is its program's own: that program",
        ),
        ("{place: ovens}", "{oven: 1}", "run", "cannot be made with {'oven': 1}: TypeError: "),
    ],
)
def test_what_cannot_be_made_is_said_in_one_sentence(folder, schedd, old, new, verb, said):
    (folder / "e.yaml").write_text(FILE.replace(old, new))
    status, _, err = schedd(verb, "e.yaml")
    assert (status, said in err, "Traceback" in err) == (2, True, False), err
    if verb == "run":
        assert schedd("trials", "baked")[1].count("CANDIDATE") == 0


# -- what cannot be handed over


class Kept(Runner):
    def __init__(self, place):
        self.place = place

    def run(self, trial):
        return {}


class Forgets(Kept):
    def __init__(self, place):
        del place


class Loss(Metric):
    def fetch_trial_data(self, trial):
        return 0.0


def handing(runner, tmp_path, metric=None, storage=True, **options) -> str:
    experiment = Experiment(
        SearchSpace([RangeParameter("x", lower=-5.0, upper=10.0)]),
        "handed",
        OptimizationConfig(Objective(metric or Loss("loss"), minimize=True)),
        runner=runner,
        storage=f"sqlite:///{tmp_path}/s.db" if storage else None,
    )
    scheduler = Scheduler(experiment, None, SchedulerOptions(**{"total_trials": 3, **options}))
    with pytest.raises(UserInputError) as refused:
        scheduler.hand_over()
    assert experiment.definition.runner.options == {"class": None}
    experiment.close()
    return str(refused.value)


def test_what_cannot_be_handed_over_is_refused_in_words(tmp_path):
    class Local(Kept):
        pass

    class LocalLoss(Loss):
        pass

    assert handing(Local("here"), tmp_path).endswith(
        "is defined in a function, where no other process finds it: move it to a module"
    )
    assert "LocalLoss is defined in" in handing(Kept("here"), tmp_path, LocalLoss("loss"))
    assert "let __init__ say self.place = place" in handing(Forgets("here"), tmp_path)
    assert "are not all plain JSON values" in handing(Kept(tmp_path), tmp_path)
    assert "give a storage" in handing(Kept("here"), tmp_path, storage=False)
    assert "total_trials" in handing(Kept("here"), tmp_path, total_trials=None)
    main = type("Main", (Kept,), {"__module__": "__main__", "__qualname__": "Main"})
    assert "in the program that runs" in handing(main("here"), tmp_path)


def test_an_installed_class_is_named_by_its_module(tmp_path):
    assert section_of(SyntheticRunner(), {}) == {
        "class": "scheduler.python.metric:SyntheticRunner",
        "arguments": {},
        "metrics": {},
    }
    assert section_of(Kept("here"), {"loss": Loss("loss")}) == {
        "class": f"{__file__}:Kept",
        "arguments": {"place": "here"},
        "metrics": {
            "loss": {
                "class": f"{__file__}:Loss",
                "arguments": {"name": "loss", "lower_is_better": None},
            }
        },
    }
