"""Which curves are so far behind that their trials may be ended."""

import pytest
from places import either, urls

from scheduler import Client, PercentileEarlyStoppingStrategy, UserInputError
from scheduler.stopping.percentile import Percentile, at, quantile

__all__ = ["either", "urls"]

RULE = Percentile(min_progression=2, min_curves=3)
OTHERS = [[(1.0, v), (3.0, v)] for v in (1.0, 2.0, 3.0)]


@pytest.mark.parametrize(
    ("curve", "minimize", "stops"),
    [
        ([(1.0, 9.0), (2.0, 2.5)], True, True),
        ([(2.0, 2.0)], True, False),
        ([(2.0, 1.5)], True, False),
        ([(2.0, 1.5)], False, True),
        ([(2.0, 2.0)], False, False),
        ([(1.0, 9.0)], True, False),  # too early
        ([(4.0, 9.0)], True, False),  # no other one has come so far
        ([], True, False),
    ],
)
def test_what_is_worse_than_the_median_at_its_last_step_is_ended(curve, minimize, stops):
    assert bool(RULE.verdict(curve, OTHERS, minimize)) is stops


def test_the_reason_is_a_sentence():
    assert RULE.verdict([(2.0, 2.5)], OTHERS, True) == (
        "at step 2 its value is 2.5, worse than 2, the 50th percentile of 3 others"
    )


def test_the_share_and_the_limits_are_options():
    lenient = Percentile(percentile_threshold=0, min_progression=2, min_curves=3)
    assert not lenient.verdict([(2.0, 3.0)], OTHERS, True)
    assert lenient.verdict([(2.0, 3.1)], OTHERS, True)
    assert not lenient.verdict([(2.0, 1.0)], OTHERS, False)
    assert lenient.verdict([(2.0, 0.9)], OTHERS, False)
    assert not Percentile(50, 2, min_curves=4).verdict([(2.0, 9.0)], OTHERS, True)
    assert not Percentile(50, 1, 1.5, 3).verdict([(2.0, 9.0)], OTHERS, True)


def test_between_two_points_a_curve_is_a_line():
    assert [at([(0.0, 1.0), (2.0, 5.0)], step) for step in (-1, 0, 1, 2, 3)] == [
        None,
        1.0,
        3.0,
        5.0,
        None,
    ]
    shares = {0: 1.0, 0.5: 2.0, 0.75: 3.0, 1: 4.0}
    assert {share: quantile([1.0, 2.0, 4.0], share) for share in shares} == shares


def test_a_client_says_which_trials_are_hopeless(either):
    with Client(either, generation_strategy={"nodes": [{"generator": "sobol"}]}) as client:
        space = [{"name": "x", "type": "range", "bounds": [0.0, 1.0]}]
        client.create_experiment(space, objective_name="loss", minimize=True)
        for index in client.get_next_trials(5):
            client.attach_data(index, float(index), progression=3)
        assert client.should_stop_trials_early(range(5)) == {}
        client.mark_trial_failed(4)
        client.set_early_stopping_strategy(
            PercentileEarlyStoppingStrategy(min_progression=2, min_curves=3)
        )
        assert list(client.should_stop_trials_early(range(5))) == [2, 3]
        assert client.should_stop_trial_early(3)
        client.mark_trial_early_stopped(3, client.should_stop_trials_early([3])[3])
        assert "worse than 1" in client.session.record(3).trial.message
        several = Client()
        several.configure_experiment(space)
        several.configure_optimization("-a, b")
        with pytest.raises(UserInputError, match="by one objective"):
            several.should_stop_trial_early(0)
        several.close()
