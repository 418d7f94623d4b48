"""Several observations of one arm as one; the baseline as the mean of all of the status quo."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation.stores import EVERY, RUN, commit, definition, stored, trial

from scheduler.model.experiment import STATUS_QUO, ExperimentState
from scheduler.model.observation import Observation, Outcome
from scheduler.model.pooling import average, pool, pooled
from scheduler.model.trial import Arm, TrialStatus

POOLED = {
    "one observation is left alone": ([(3.0, 0.5)], (3.0, 0.5)),
    "equal standard errors": ([(1.0, 2.0), (3.0, 2.0)], (2.0, math.sqrt(2.0))),
    "the surer one counts more": ([(0.0, 1.0), (5.0, 2.0)], (1.0, math.sqrt(0.8))),
    "unknown standard errors": ([(1.0, None), (2.0, None), (6.0, None)], (3.0, None)),
    "one is unknown": ([(1.0, 1e-9), (3.0, None)], (2.0, None)),
    "an exact one": ([(1.0, 0.0), (9.0, 1.0)], (1.0, 0.0)),
    "two exact ones": ([(1.0, 0.0), (2.0, 0.0)], (1.5, 0.0)),
    "huge": ([(1.5e308, None), (1.5e308, None)], (1.5e308, None)),
    "hugely different": ([(1.0, 1e-200), (1e300, 1e200)], (1.0, 1e-200)),
    "tiny": ([(1e-300, 1e-300), (3e-300, 1e-300)], (2e-300, 1e-300 / math.sqrt(2))),
}


@pytest.mark.parametrize("case", POOLED)
def test_observations_of_a_metric_become_one(case):
    found, (mean, sem) = POOLED[case]
    assert pool(found) == (pytest.approx(mean, rel=1e-12), sem and pytest.approx(sem, rel=1e-12))


number = st.floats(-1e300, 1e300)
positive = st.floats(1e-150, 1e150)


@given(st.lists(st.tuples(number, positive), min_size=1, max_size=9))
def test_what_is_pooled_lies_between_and_is_surer_than_any(found):
    mean, sem = pool(found)
    means = [m for m, _ in found]
    slack = 1e-12 * max(map(abs, means))
    assert min(means) - slack <= mean <= max(means) + slack
    assert 0 < sem <= min(s for _, s in found)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_the_order_does_not_change_an_average(values):
    assert average(values) == average(values[::-1])
    assert math.isfinite(average(values))


def test_each_arm_stands_once_where_it_was_first():
    a, b = {"x": 0.5, "k": "a"}, {"x": 0.5, "k": "b"}
    measured = (
        (a, {"loss": (1.0, None)}),
        (b, {"loss": (2.0, 0.1)}),
        (dict(a), {"loss": (3.0, None), "size": (7.0, 0.5)}),
    )
    assert pooled(measured) == (
        (a, {"loss": (2.0, None), "size": (7.0, 0.5)}),
        (b, {"loss": (2.0, 0.1)}),
    )
    assert pooled(pooled(measured)) == pooled(measured)


def test_the_baseline_is_the_mean_of_all_of_the_status_quo():
    found = [(0, STATUS_QUO, 1.0), (1, "1_0", 50.0), (1, STATUS_QUO, 2.0), (2, STATUS_QUO, 6.0)]
    outcomes = [Outcome(index, arm, {"loss": value}) for index, arm, value in found]
    assert ExperimentState(definition(), outcomes=outcomes).baseline == {"loss": 3.0}
    assert ExperimentState(definition(), outcomes=outcomes[1:2]).baseline is None
    without = definition(status_quo=None)
    assert ExperimentState(without, outcomes=outcomes).baseline is None


@pytest.mark.parametrize("kind", EVERY)
def test_a_model_is_given_the_status_quo_of_all_batches_once(kind, tmp_path):
    with stored(kind, tmp_path, definition(trials={"batch_size": 2})) as driven:
        for index, value in ((2, 1.0), (3, 4.0)):
            batch = trial(index, TrialStatus.COMPLETED, arms=2, completed_at=float(index))
            again = Arm(STATUS_QUO, {"x": 0.5})
            batch = replace(batch, arms=(*batch.arms, again))
            seen = [Observation(index, 1, arm.name, "loss", value, 0.5) for arm in batch.arms]
            after = commit(
                driven,
                trials=(batch,),
                observations=tuple(seen),
                generator_runs=(replace(RUN, index=index),),
            )
        found = driven.journal.measured()
    assert after.baseline == {"loss": 2.5}
    assert [p["x"] for p, _ in found] == [0.02, 0.0201, 0.5, 0.03, 0.0301]
    assert found[2][1]["loss"] == (2.5, pytest.approx(0.5 / math.sqrt(2)))
