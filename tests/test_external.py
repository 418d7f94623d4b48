"""Trials that people carry out: each is handed out once, and its result is what they say."""

import json
from pathlib import Path

import pytest
from cli_bench import finished, json_of, schedd
from places import url

from runners.base import Job, JobRef, JobState, Task
from runners.external import ExternalRunner
from scheduler.cli import common
from scheduler.storage.store import Store
from scheduler.submit import submit

__all__ = ["finished", "json_of", "schedd", "url"]

FILE = """\
schema: schedd/v1
name: ab
parameters:
  - {name: x, type: range, bounds: [0, 1]}
objective: "-loss"
outcome_constraints: ["size <= 10"]
generation_strategy: {nodes: [{generator: sobol}]}
trials: {total_trials: 3, max_pending_trials: 2}
runner: {type: external}
"""


@pytest.fixture
def ab(tmp_path, monkeypatch, schedd, url):
    """A folder with an experiment in it that nobody drives; a function that writes another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDD_STORAGE", url)

    def write(**changes: str) -> tuple[Store, object]:
        text = FILE
        for old, new in changes.items():
            text = text.replace(f"{old}: ", f"{new}, {old}: ")
        Path("ab.yaml").write_text(text)
        store = Store.open(url, create=True)
        return store, submit(store, common.load("ab.yaml"), 1.0)

    return write


def test_people_carry_out_a_whole_experiment(ab, schedd, json_of):
    ab()
    seen = []
    while (answer := schedd("next", "--json"))[0] == 0:
        taken = json.loads(answer[1])
        seen.append(taken["index"])
        folder = Path(taken["folders"][0])
        (arm,) = taken["arms"]
        assert json.loads((folder / "parameters.json").read_text()) == arm["parameters"]
        assert json_of("trial", str(taken["index"]))["status"] == "RUNNING"
        options = ("--metric", f"loss={arm['parameters']['x']}", "--metric", "size=3")
        status, out, _ = schedd("complete", str(taken["index"]), *options, "--sem", "loss=0.1")
        assert (status, out) == (0, f"trial {taken['index']} of ab: COMPLETED\n")
    assert answer == (3, "", "ab has stopped, total_trials: all 3 trials have ended\n")
    assert seen == [0, 1, 2]
    assert json_of("status", "ab")["status"] == "COMPLETED"
    trial = json_of("trial", "1")
    (arm,) = trial["arms"]
    assert arm["metrics"]["loss"] == {"mean": arm["parameters"]["x"], "sem": 0.1}


def test_no_trial_is_handed_out_twice_and_no_more_than_may_be_pending(ab, schedd):
    ab()
    assert [schedd("next")[1].splitlines()[0] for _ in range(2)] == [
        "trial 0 of ab",
        "trial 1 of ab",
    ]
    status, _, err = schedd("next")
    assert (status, "2 trials of ab are pending, as many as max_pending_trials" in err) == (
        3,
        True,
    )
    assert schedd("fail", "0", "--reason", "it broke")[1] == "trial 0 of ab: FAILED\n"
    assert "REPORTED: it broke" in schedd("trial", "0")[1]
    assert schedd("next")[1].startswith("trial 2 of ab")


def test_an_experiment_that_is_paused_says_so(ab, schedd):
    ab()
    schedd("pause")
    assert schedd("next") == (3, "", "ab is paused\n")


def test_while_somebody_drives_results_wait_for_the_next_tick(ab, schedd):
    store, experiment = ab()
    schedd("next")
    schedd("tick")  # as a driver does, it fills every slot
    lease = store.acquire(experiment, 1.0)
    assert schedd("next", "--wait", "0")[1].startswith("trial 1 of ab")
    status, out, _ = schedd("complete", "0", "--metric", "loss=1", "--metric", "size=1")
    assert (status, "takes effect at the next tick of process" in out) == (0, True)
    status, _, err = schedd("next", "--wait", "0")
    assert (status, "2 trials of ab are pending" in err) == (3, True)
    lease.release()


def test_a_result_may_lie_in_the_folder(ab, schedd, json_of):
    ab()
    (folder,) = json.loads(schedd("next", "--json")[1])["folders"]
    (Path(folder) / "metrics.jsonl").write_text('{"loss": 0.5, "size": 2}\n')
    schedd("complete", "0")
    assert schedd("tick")[0] == 0
    assert json_of("trial", "0")["arms"][0]["metrics"]["loss"]["mean"] == 0.5


def test_a_trial_given_up_is_cancelled_and_takes_no_result(ab, schedd, json_of):
    ab()
    schedd("next")
    schedd("abandon", "0")
    for _ in range(2):
        assert schedd("tick")[0] == 0
    assert json_of("trial", "0")["status"] == "ABANDONED"
    status, _, err = schedd("complete", "0", "--metric", "loss=1", "--metric", "size=1")
    assert (status, "trial 0 is ABANDONED; it awaits no result" in err) == (2, True)


def test_a_result_of_an_attempt_that_is_over_is_refused(ab, schedd, json_of):
    store, experiment = ab()
    schedd("next")
    lease = store.acquire(experiment, 1.0)
    schedd("fail", "0", "--reason", "no")
    schedd("complete", "0", "--metric", "loss=1", "--metric", "size=1")
    lease.release()
    assert schedd("tick")[0] == 0
    assert json_of("trial", "0")["status"] == "FAILED"
    assert "complete: attempt 1 of trial 0 is not pending any more" in schedd("events")[1]


def test_several_arms_are_reported_together(ab, schedd, json_of):
    ab(max_pending_trials="batch_size: 2")
    arms = [a["name"] for a in json.loads(schedd("next", "--json")[1])["arms"]]
    status, _, err = schedd("complete", "0", "--metric", "loss=1")
    assert (status, "has several arms, 0_0, 0_1: give --data" in err) == (2, True)
    data = {arm: {"loss": [0.5, 0.1], "size": 1} for arm in arms}
    assert "COMPLETED" in schedd("complete", "0", "--data", json.dumps(data))[1]
    assert [a["metrics"]["loss"]["sem"] for a in json_of("trial", "0")["arms"]] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--metric", "loss"], "'loss' is not NAME=VALUE"),
        (["--metric", "loss=nan"], "'nan' in 'loss=nan' is not a finite number"),
        (["--metric", "loss=much"], "'much' in 'loss=much' is not a number"),
        (["--metric", "loss=1"], "arm 0_0 needs size as well"),
        (["--metric", "los=1"], "ab has no metric 'los'; did you mean 'loss'?"),
        (["--sem", "1"], "--sem needs --metric"),
        (["--metric", "loss=1", "--sem", "size=1"], "--sem size has no --metric size"),
        (["--metric", "loss=1", "--metric", "size=1", "--sem", "loss=-1"], "cannot be negative"),
        (["--data", '{"1_0": {"loss": 1}}'], "trial 0 has no arm '1_0'; it has 0_0"),
        (["--data", '{"0_0": 1}'], "'0_0' needs a mapping of metrics, not 1"),
        (["--data", "{}", "--metric", "loss=1"], "--data goes with neither"),
    ],
)
def test_a_mistake_gets_one_sentence_and_changes_nothing(ab, arguments, sentence, schedd):
    store, experiment = ab()
    schedd("next")
    status, out, err = schedd("complete", "0", *arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert store.commands(experiment.id) == ()


def test_the_trials_of_another_runner_are_not_handed_out(schedd):
    status, _, err = schedd("next", "small")
    assert (status, "carried out by its runner, 'local'" in err) == (2, True)


# -- the runner


@pytest.fixture
def job(tmp_path):
    tasks = tuple(Task(f"0_{i}", (), tmp_path / str(i), files={"p.json": "{}"}) for i in range(2))
    return Job("schedd-1-t0-a1", tasks)


def reports(job, job_id=None):
    ref = JobRef(job.name, job_id, tuple(task.directory for task in job.tasks))
    runner = ExternalRunner(ExternalRunner.Options(), lambda: None)
    return runner, ref, runner.poll([ref]).get(job.name)


def test_a_submission_whose_answer_was_lost_is_found_again(job, tmp_path):
    runner, _, report = reports(job)
    assert (report.state, report.may_have_run) == (JobState.LOST, False)
    (tmp_path / "0" / ".schedd").mkdir(parents=True)
    assert reports(job)[2].state is JobState.LOST
    assert runner.submit([job]) == {job.name: job.name}
    assert (tmp_path / "1" / "p.json").read_text() == "{}"
    assert reports(job)[2].state is JobState.QUEUED


def test_of_what_is_in_somebodys_hands_nothing_is_known_until_it_is_cancelled(job):
    runner, ref, _ = reports(job, "id")
    runner.submit([job])
    assert reports(job, "id")[2] is None
    runner.cancel([ref])
    assert reports(job, "id")[2].state is JobState.CANCELLED
    assert reports(job)[2].state is JobState.CANCELLED


def test_what_it_renders_says_who_does_what(job):
    runner, _, _ = reports(job)
    assert "schedd complete N" in runner.render(job)
    assert "p.json" in runner.render(job)
