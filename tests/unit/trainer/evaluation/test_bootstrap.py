"""Intervals hold the truth as often as they say, draw users whole, and compare in pairs."""

import numpy as np
import pytest

from groundswell.trainer.evaluation.bootstrap import (
    RESAMPLES,
    clustered_means,
    difference,
    interval,
)


def whole(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.ones((1, n), bool)


def test_the_observed_means_are_those_of_the_slices() -> None:
    values = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    slices = np.array([[True, True, True], [False, True, True], [False, False, False]])
    means = clustered_means(values, np.array([7, 7, 9]), slices)
    assert means.observed[0].tolist() == [3.0, 30.0]
    assert means.observed[1].tolist() == [4.0, 40.0]
    assert np.isnan(means.observed[2]).all()
    assert means.resampled.shape == (RESAMPLES, 3, 2)


def test_the_interval_of_a_mean_is_the_one_of_its_standard_error() -> None:
    values = np.random.default_rng(3).normal(size=(2_000, 1))
    means = clustered_means(values, np.arange(2_000), whole(2_000))
    low, high = interval(means.resampled[:, 0, 0])
    error = values.std() / np.sqrt(2_000)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=error / 5)


def test_targets_of_one_user_are_drawn_together() -> None:
    """Ten copies of each value say no more than one."""
    of_user = np.random.default_rng(4).normal(size=(300, 1))
    once = clustered_means(of_user, np.arange(300), whole(300))
    users = np.repeat(np.arange(300), 10)
    copied = clustered_means(np.repeat(of_user, 10, axis=0), users, whole(3_000))
    np.testing.assert_allclose(copied.resampled, once.resampled, atol=1e-12)
    apart = clustered_means(np.repeat(of_user, 10, axis=0), np.arange(3_000), whole(3_000))
    assert apart.resampled.std() < copied.resampled.std() / 2.5


def test_the_same_figures_come_out_every_time() -> None:
    values = np.random.default_rng(5).random((50, 3))
    first, second = (clustered_means(values, np.arange(50) % 9, whole(50)) for _ in range(2))
    np.testing.assert_array_equal(first.resampled, second.resampled)


def test_a_small_but_steady_difference_is_found_where_the_two_intervals_overlap() -> None:
    rng = np.random.default_rng(6)
    base = rng.random(400)
    better = base + 0.01 + 0.02 * rng.normal(size=400)
    means = clustered_means(np.stack([better, base], axis=1), np.arange(400), whole(400))
    assert interval(means.resampled[:, 0, 0])[0] < interval(means.resampled[:, 0, 1])[1]
    found = difference(means, 0, 0, 1)
    assert 0 < found.low < found.diff < found.high
    assert found.p < 0.01
    turned = difference(means, 0, 1, 0)
    due = (-found.diff, -found.high, found.p)
    assert (turned.diff, turned.low, turned.p) == pytest.approx(due)


def test_a_relative_difference_is_to_the_second_one() -> None:
    values = np.tile([[0.3, 0.2]], (40, 1))
    found = difference(clustered_means(values, np.arange(40), whole(40)), 0, 0, 1)
    assert found.relative is not None
    assert found.relative == pytest.approx(0.5)
    assert (found.relative_low, found.relative_high) == pytest.approx((0.5, 0.5))
    nothing = np.zeros((40, 2))
    empty = difference(clustered_means(nothing, np.arange(40), whole(40)), 0, 0, 1)
    assert (empty.relative, empty.relative_low, empty.relative_high) == (None, None, None)
    assert (empty.diff, empty.p) == (0.0, 1.0)


def test_where_nothing_differs_p_is_below_a_tenth_one_time_in_ten() -> None:
    rng = np.random.default_rng(8)
    below = 0
    for _ in range(60):
        values = rng.normal(size=(80, 2))
        means = clustered_means(values, np.arange(80), whole(80))
        below += difference(means, 0, 0, 1).p < 0.1
    assert 1 <= below <= 13


def test_a_slice_whose_users_were_not_drawn_is_left_out_of_its_interval() -> None:
    inside = np.array([[True, False, False, False]])
    means = clustered_means(np.array([[2.0], [0.0], [0.0], [0.0]]), np.arange(4), inside)
    assert np.isnan(means.resampled).any()
    assert interval(means.resampled[:, 0, 0]) == [2.0, 2.0]
