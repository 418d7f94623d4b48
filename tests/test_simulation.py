"""The real core in a simulated world: thousands of histories, and bugs put in on purpose.

A failure names its seed. To see it again: ``SCHEDD_SIM_SEED=123 pytest tests/test_simulation.py``;
for more histories: ``SCHEDD_SIM_HISTORIES=20000``.
"""

import os
import random
from collections import Counter
from functools import cache

import pytest
from simulation import mutations
from simulation.faults import FAULTS, Violation
from simulation.history import History, Parts

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.trial import TrialStatus

HISTORIES = int(os.environ.get("SCHEDD_SIM_HISTORIES", "2000"))
CHUNK = 200
SEEDS = [int(seed) for seed in os.environ.get("SCHEDD_SIM_SEED", "").split()]
CHUNKS = [SEEDS] if SEEDS else [range(s, s + CHUNK) for s in range(0, HISTORIES, CHUNK)]
BOUND = 1000
"""Seeds within which a mutation must be found."""


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"from-{seeds[0]}")
def test_no_history_breaks_a_promise(seeds):
    for seed in seeds:
        History(seed).play()


def test_every_fault_strikes():
    struck = Counter()
    for seed in range(100):
        struck.update(History(seed).play().chance.struck)
    assert set(FAULTS) == struck.keys()


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_is_a_history(seed):
    first, second = History(seed).play(), History(seed).play()
    assert first.store.log == second.store.log
    assert first.chance.struck == second.chance.struck


@pytest.mark.parametrize("seed", range(20))
def test_a_history_without_faults_ends_by_itself(seed):
    history = History(seed, without=frozenset(FAULTS)).play()
    assert {t.attempt for t in history.store.trials.values()} <= {1, 2, 3, 4}
    assert history.chance.struck == {}


SCENARIOS = {
    "one by one": {"trials": {"total_trials": 4, "max_pending_trials": 1}},
    "side by side": {"trials": {"total_trials": 5, "max_pending_trials": 3}},
    "in two phases": {"trials": {"total_trials": 4, "max_pending_trials": 2}},
    "in batches": {
        "trials": {"total_trials": 3, "batch_size": 2, "replicates": 2},
        "status_quo": {"parameters": {"x": 0.0}},
    },
}
"""What is done while nothing goes wrong but that the process dies."""


@cache
def scenario(name, *crash_at):
    definition = {
        "name": "simulated",
        "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
        "objective": "-loss",
        "generation_strategy": {"nodes": [{"generator": "sobol"}]},
        "runner": {"command": ["train", "{params.x}"]},
        **SCENARIOS[name],
    }
    made = ExperimentDefinition.model_validate(definition)
    without = frozenset(FAULTS)
    history = History(7, without=without, crash_at=frozenset(crash_at), definition=made)
    history.backend.two_phases = history.backend.names_ids = name == "in two phases"
    return history.play()


def crashed(name, *points):
    """Play a scenario in which the process dies at ``points``; nothing else may differ."""
    plain, history = scenario(name), scenario(name, *points)
    assert [t.arms for t in history.store.trials.values()] == [
        t.arms for t in plain.store.trials.values()
    ]
    ends = {(t.status, t.attempt) for t in history.store.trials.values()}
    assert ends == {(TrialStatus.COMPLETED, 1)}
    assert set(history.backend.bodies.values()) == {1}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_before_or_after_any_call_costs_nothing(name):
    points = scenario(name).chance.points
    assert points > 50
    for point in range(1, points + 1):
        crashed(name, point)


@pytest.mark.parametrize("name", SCENARIOS)
def test_nor_do_two_or_three(name):
    rng = random.Random(1)
    points = range(1, scenario(name).chance.points + 50)
    for _ in range(HISTORIES // 20):
        crashed(name, *rng.sample(points, rng.choice((2, 3))))


def found_at(parts: Parts) -> int | None:
    """Return the first seed that breaks a promise with a mutation.

    A mutation that no longer fits the code breaks in another way, which finds nothing.
    """
    for seed in range(BOUND):
        try:
            History(seed, parts).play()
        except Violation as error:
            if isinstance(error.__cause__, (TypeError, AttributeError, NameError)):
                raise
            return seed
    return None


@pytest.mark.parametrize("name", mutations.PARTS)
def test_a_bug_put_in_on_purpose_is_found(name):
    assert found_at(mutations.PARTS[name]) is not None


@pytest.mark.parametrize("name", mutations.PATCHES)
def test_a_bug_patched_in_on_purpose_is_found(name, monkeypatch):
    mutations.PATCHES[name](monkeypatch)
    assert found_at(Parts()) is not None
