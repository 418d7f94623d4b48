"""A simulated day: hundreds of trials, a driver killed every ten minutes, faults all along."""

import random

from simulation.faults import FAULTS
from simulation.history import History

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import ExperimentStatus
from scheduler.model.trial import TrialStatus

DAY = 24 * 3600.0
CRASH_EVERY = 600.0
ENDS_IT = {"command_stop", "command_drain", "command_pause", "command_set", "budget", "crash"}
"""Faults and people that would leave less than a day to look at; crashes come by the clock."""


def definition() -> ExperimentDefinition:
    return ExperimentDefinition.model_validate(
        {
            "name": "day",
            "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
            "objective": "-loss",
            "generation_strategy": {"nodes": [{"generator": "sobol"}]},
            "missing_metrics": {"retry_for": 60},
            "trials": {"total_trials": 100_000, "max_pending_trials": 8, "ttl": 400},
            "failures": {
                "tolerated_trial_failure_rate": 1.0,
                "retries": {"infra": 20, "preempted": 20, "error": 1},
            },
            "runner": {"type": "simulated", "command": ["train", "{params.x}"]},
        }
    )


def test_a_day_with_a_crash_every_ten_minutes():
    day = History(11, definition=definition(), without=frozenset(ENDS_IT))
    rng = random.Random(11)
    faults = [f for f in FAULTS if f not in ENDS_IT]
    day.chance.rates.update(dict.fromkeys(faults, 0.01))
    began = crashed = day.chance.now
    crashes = 0
    while day.chance.now < began + DAY:
        if day.chance.now - crashed >= CRASH_EVERY:
            # Not between two ticks: at one of the next places where a process may die.
            day.chance.crash_at = frozenset({day.chance.points + rng.randint(1, 6)})
            crashed, crashes = day.chance.now, crashes + 1
        day._people()
        day._processes()
        day._step()
    # The invariants were checked at every commit and every tick: no body ran twice, no slot was
    # taken twice, nothing that had ended changed.
    assert crashes >= 120  # a tick may take minutes, and the clock is looked at between two
    trials = list(day.store.trials.values())
    statuses = [t.status for t in trials]
    assert statuses.count(TrialStatus.COMPLETED) > 200
    assert len(day.drivers) <= 3
    assert sum(not s.is_final for s in statuses) <= 8 + 8
    day.store.command("drain")
    day.chance.quiet = True
    for _ in range(2000):
        if day.store.status is not ExperimentStatus.RUNNING:
            break
        day._step()
    assert day.store.status is ExperimentStatus.COMPLETED
    assert all(t.status.is_final for t in day.store.trials.values())
