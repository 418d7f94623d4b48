"""A metric in the model's units: whatever its size, nothing overflows, nothing blinds."""

import math

import numpy as np
import pytest

from scheduler.generation.botorch.column import NOISE_FLOOR, standardized

PLAIN = np.random.default_rng(0).random(9)


def column(values, sem=None, objective=True, bounds=()):
    measured = [(float(v), sem) for v in values]
    return standardized("m", np.zeros((len(measured), 1)), measured, objective, 1.0, bounds)


@pytest.mark.parametrize("size", [1e-290, 1e-160, 1e-12, 1e12, 1e154, 1e300])
def test_the_unit_of_a_metric_changes_nothing(size):
    scaled, plain = column(PLAIN * size, 1e-3 * size), column(PLAIN, 1e-3)
    np.testing.assert_allclose(scaled.values, plain.values, atol=1e-12)
    np.testing.assert_allclose(scaled.variances, plain.variances, rtol=1e-9)
    assert scaled.natural(1.0, 2.0)["mean"] == pytest.approx(
        size * plain.natural(1.0, 2.0)["mean"]
    )
    assert scaled.standard(0.3 * size) == pytest.approx(plain.standard(0.3))


@pytest.mark.parametrize("offset", [1e9, 1e15, -1e15])
def test_an_offset_costs_only_what_was_lost_before(offset):
    steps = np.array([1.0, 2.0, 5.0, 3.0, 8.0])
    np.testing.assert_allclose(column(offset + steps).values, column(steps).values, atol=1e-12)
    exact = column(offset + steps, 0.0).variances
    assert (exact >= NOISE_FLOOR).all()
    assert (exact > 1e-3).all() == (abs(offset) > 1e14)


@pytest.mark.parametrize("values", [[1.0] * 3, [0.1 + 0.2, 0.3], [5e-324, 0.0], [1e300, 1.7e308]])
def test_what_differs_by_rounding_alone_is_equal(values):
    assert column(values).flat
    assert np.isfinite(column(values, 0.0).variances).all()
    assert math.isfinite(column(values).standard(1e308))


@pytest.mark.parametrize("sem", [0.0, 5e-324, 1.0, 1e300, 1.7e308])
@pytest.mark.parametrize("size", [1e-290, 1.0, 1.7e308])
def test_no_standard_error_is_beyond_numbers(size, sem):
    found = column([size, -size, size / 3, 0.0], sem)
    assert np.isfinite(found.values).all()
    assert (found.variances >= NOISE_FLOOR).all()
    assert np.isfinite(found.variances).all()


@pytest.mark.parametrize("outlier", [-1e30, -1e300, -1.7e308])
@pytest.mark.parametrize("bad", [1, 4])
def test_outliers_however_many_leave_the_others_apart(outlier, bad):
    spoilt = column([*PLAIN[: 9 - bad], *(outlier * (k + 1) / bad for k in range(bad))])
    assert np.ptp(spoilt.values[: 9 - bad]) > 0.3
    assert spoilt.values[9 - bad :].max() < spoilt.values[: 9 - bad].min()


@pytest.mark.parametrize("count", [3, 4])
def test_an_outlier_is_cut_off_among_three_or_four(count):
    assert np.ptp(column([*PLAIN[: count - 1], -1e30]).values[:-1]) > 0.1


def test_an_outlier_is_cut_off_where_most_are_equal():
    assert np.ptp(column([1.0] * 10 + [1.1, 1.2, -1e30]).values[:-1]) > 0.3


def test_values_that_converge_are_no_reason_to_cut_off_the_rest():
    found = column([*PLAIN, *(1.0 + 1e-6 * PLAIN)])
    assert np.ptp(found.values[:9]) > 1.0


def test_what_breaks_a_far_bound_stays_beyond_it():
    values = [1e-3, 2e-3, 3e-3, 1e-3, 4e-3, 1e6]
    found = column(values, objective=False, bounds=[100.0])
    assert found.values[-1] > found.standard(100.0) > found.values[:-1].max()
    assert column(values, objective=False).values[-1] > 1.0
