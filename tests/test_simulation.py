"""The real core in a simulated world: thousands of histories, and bugs put in on purpose.

A failure names its seed. To see it again: ``SCHEDD_SIM_SEED=123 pytest tests/test_simulation.py``;
for more histories: ``SCHEDD_SIM_HISTORIES=20000``.
"""

import os
from collections import Counter

import pytest
from simulation import mutations
from simulation.faults import FAULTS, Violation
from simulation.history import History, Parts

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
    for seed in range(200):
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


def found_at(parts: Parts) -> int | None:
    """Return the first seed that breaks a promise with a mutation."""
    for seed in range(BOUND):
        try:
            History(seed, parts).play()
        except Violation:
            return seed
    return None


@pytest.mark.parametrize("name", mutations.PARTS)
def test_a_bug_put_in_on_purpose_is_found(name):
    assert found_at(mutations.PARTS[name]) is not None


@pytest.mark.parametrize("name", mutations.PATCHES)
def test_a_bug_patched_in_on_purpose_is_found(name, monkeypatch):
    mutations.PATCHES[name](monkeypatch)
    assert found_at(Parts()) is not None
