"""The verbs that change a living experiment, over a store, with and without a driver."""

import pytest
from cli_bench import FILE, copied, finished, json_of, schedd, written
from places import url, urls

from scheduler.storage.store import Store
from scheduler.submit import submit

__all__ = ["copied", "finished", "json_of", "schedd", "url", "urls"]


@pytest.fixture
def small(tmp_path, monkeypatch, schedd, url):
    """A stored experiment that nobody drives."""
    from scheduler.cli import common

    monkeypatch.chdir(written(tmp_path, ""))
    monkeypatch.setenv("SCHEDD_STORAGE", url)
    store = Store.open(url, create=True)
    experiment = submit(store, common.load("e.yaml"), 1.0)
    yield store, experiment
    store.close()


def test_what_is_asked_is_noted_until_somebody_drives(small, schedd):
    store, experiment = small
    assert "takes effect with: schedd resume small" in schedd("pause", "--reason", "later")[1]
    assert "asked and not done yet: pause" in schedd("status")[1]
    assert schedd("unpause")[0] == 0
    assert schedd("drain")[0] == 0
    assert schedd("add-arm", '{"x": 0.5, "kind": "b"}', "--name", "mine")[0] == 0
    verbs = [(c.verb, c.reason, c.payload) for c in store.commands(experiment.id)]
    assert verbs == [
        ("pause", "later", {}),
        ("unpause", "", {}),
        ("drain", "", {}),
        ("add-arm", "", {"name": "mine", "parameters": {"kind": "b", "x": 0.5}}),
    ]


def test_a_budget_is_set_at_once_where_nobody_drives(small, schedd):
    store, _ = small
    status, out, _ = schedd("set", "trials.total_trials=9", "failures.retries.infra=1e0")
    assert (status, out.splitlines()[:2]) == (
        0,
        ["trials.total_trials: 6 -> 9", "failures.retries.infra: 5 -> 1"],
    )
    assert store.find("small").definition.trials.total_trials == 9
    assert "nothing differs" in schedd("set", "trials.total_trials=9")[1]


def test_a_budget_is_asked_for_where_somebody_drives(small, schedd):
    store, experiment = small
    lease = store.acquire(experiment, 1.0)
    assert "takes effect at the next tick of process" in schedd("set", "trials.ttl=1h")[1]
    lease.release()
    (command,) = store.commands(experiment.id)
    assert (command.verb, command.payload) == ("set", {"trials.ttl": "1h"})
    assert store.find("small").definition.trials.ttl is None


def test_an_ended_experiment_goes_on_with_a_greater_budget(copied, urls, schedd, monkeypatch):
    url = urls("copy/schedd")
    monkeypatch.delenv("SCHEDD_STORAGE")
    status, out, _ = schedd("set", "trials.total_trials=7", "--storage", url)
    assert (status, f"go on with: schedd resume small --storage {url}" in out) == (0, True)
    assert "RUNNING" in schedd("status", "small", "--storage", url)[1]


def test_a_file_is_compared_with_what_is_stored(small, schedd, tmp_path):
    assert schedd("diff", "e.yaml")[:2] == (0, "nothing differs\n")
    text = FILE.replace("@python", "python").replace("total_trials: 6", "total_trials: 8")
    (tmp_path / "more.yaml").write_text(text)
    status, out, err = schedd("diff", "more.yaml")
    assert "trials.total_trials: 6 -> 8" in out
    assert "runner.command" in out
    assert (status, "has another runner.command" in err) == (2, True)
    (tmp_path / "new.yaml").write_text(text.replace("name: small", "name: other"))
    assert "other is new" in schedd("diff", "new.yaml")[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["unpause"], "small is not paused"),
        (["set", "trials"], "'trials' is not KEY=VALUE"),
        (["set", "name=other"], "name cannot be changed; what can: trials"),
        (["set", "trials.total_trials=x"], "trials.total_trials: "),
        (["set", "trials.total_trials=[1"], "is neither JSON nor YAML"),
        (["add-arm", "7"], "'7' is not a mapping of parameters"),
        (["add-arm", "{x: 7, kind: a}"], "this is not an arm of small: "),
        (["add-arm", "{x: 0.1, kind: a}", "--name", "status_quo"], "called 'status_quo' already"),
        (["release", "0"], "the trials of small are not held"),
        (["diff", "nowhere.yaml"], "there is no such file"),
    ],
)
def test_a_mistake_gets_one_sentence(arguments, sentence, small, schedd):
    status, out, err = schedd(*arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_a_budget_below_what_is_proposed_says_so(copied, schedd):
    status, out, _ = schedd("set", "trials.total_trials=3")
    assert status == 0
    assert "6 trials are proposed already: they are carried out all the same\n" in out
