"""A definition that comes again: the same, with another budget, or with more than that."""

from pathlib import Path

import pytest
from places import url

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Changes, ExperimentStatus
from scheduler.model.redefine import DefinitionChanged, differences
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.storage.errors import Held
from scheduler.storage.store import Store
from scheduler.submit import submit, trials_dir

__all__ = ["url"]


def definition(**changes) -> ExperimentDefinition:
    return ExperimentDefinition.model_validate(
        {
            "name": "e",
            "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
            "objective": "-loss",
            "runner": {"command": ["true"]},
            **changes,
        }
    )


@pytest.fixture
def store(url: str):
    made = Store.open(url, create=True)
    yield made
    made.close()


def test_a_new_experiment_has_its_trials_beside_the_database(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # beside a server there is nothing: the next test
    assert submit(store, definition(), 1.0).trials_dir == tmp_path / "e.trials"


def test_beside_a_server_trials_lie_where_commands_start_if_that_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = {"command": ["true"], "workdir": "/app"}
    local = definition(runner=runner)
    away = definition(runner={**runner, "type": "kubernetes", "kubernetes": {"image": "i"}})
    server = "postgresql://db/schedd"
    assert trials_dir(server, local) == Path("/app/e.trials")
    assert trials_dir(server, away) == tmp_path / "e.trials"


def test_the_same_definition_changes_nothing(store):
    first = submit(store, definition(), 1.0)
    assert submit(store, definition(description="in other words"), 2.0) == first


def test_a_greater_budget_is_taken_and_lets_it_go_on(store):
    submit(store, definition(), 1.0)
    raised = submit(store, definition(trials={"total_trials": 500}), 2.0)
    assert raised.definition.trials.total_trials == 500
    assert raised.status is ExperimentStatus.RUNNING


def test_a_budget_is_asked_of_whoever_drives(store):
    experiment = submit(store, definition(), 1.0)
    lease = store.acquire(experiment, 1.0)
    told = []
    submit(store, definition(trials={"total_trials": 500, "ttl": "1h"}), 2.0, told.append)
    lease.release()
    (command,) = store.commands(experiment.id)
    wanted = {"trials.total_trials": 500, "trials.ttl": 3600.0}
    assert (command.verb, command.payload) == ("set", wanted)
    assert told == ["trials.total_trials: 100 -> 500", "trials.ttl: null -> 3600.0"]


def test_a_file_may_forbid_any_change(store):
    submit(store, definition(), 1.0)
    rule = {"config_change": "reject"}
    assert submit(store, definition(on_resume=rule), 2.0)
    with pytest.raises(DefinitionChanged, match=r"another trials.ttl, and on_resume says"):
        submit(store, definition(on_resume=rule, trials={"ttl": 5}), 2.0)


def test_a_file_may_allow_another_runner_while_no_job_is_pending(store):
    experiment = submit(store, definition(), 1.0)
    rule = {"config_change": "allow"}
    runner = {"command": ["false"]}
    assert submit(store, definition(on_resume=rule, runner=runner), 2.0).definition.runner.command
    lease = store.acquire(experiment, 1.0)
    with pytest.raises(Held, match="e is driven by process"):
        submit(store, definition(on_resume=rule), 2.0)
    staged = Trial(0, (Arm("0_0", {"x": 0.5}),), TrialStatus.STAGED)
    store.commit(lease, store.peek(experiment), Changes(trials=(staged,)), "")
    lease.release()
    with pytest.raises(DefinitionChanged, match="while 1 of its trials are pending"):
        submit(store, definition(on_resume=rule), 2.0)
    changed = [{"name": "x", "type": "range", "bounds": [0, 2]}]
    with pytest.raises(DefinitionChanged, match="has another parameters"):
        submit(store, definition(on_resume=rule, parameters=changed), 2.0)


def test_another_search_space_needs_another_name(store):
    submit(store, definition(), 1.0)
    changed = [{"name": "x", "type": "range", "bounds": [0, 2]}]
    with pytest.raises(DefinitionChanged, match=r"'e' has another parameters; give the new one"):
        submit(store, definition(parameters=changed), 2.0)


def test_differences_name_each_key():
    after = definition(trials={"ttl": 5}, runner={"command": ["false"], "env": {"A": "1"}})
    assert differences(definition(), after) == ["trials.ttl", "runner.command", "runner.env.A"]
