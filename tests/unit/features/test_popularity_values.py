"""Values in logarithms order items as the decayed sums do, at any time."""

import numpy as np

from groundswell.features.popularity_values import (
    NEVER,
    NUM_STRONGEST,
    event_values,
    item_values,
    relative,
    strongest,
)

DAY_US = 86_400_000_000
NOW_US = 1_780_000_000_000_000


def test_values_are_the_logarithms_of_decayed_sums() -> None:
    rng = np.random.default_rng(0)
    items = rng.integers(0, 30, 2_000) * 7
    times_us = NOW_US - rng.integers(0, 40 * DAY_US, 2_000)
    found, values = item_values(items, event_values(times_us, 7 * 86_400.0))
    decayed = np.exp2((times_us - NOW_US) / (7 * DAY_US))
    due = np.array([decayed[items == item].sum() for item in found])
    assert found.tolist() == sorted(set(items.tolist()))
    np.testing.assert_allclose(relative(values, values.max()), due / due.max(), rtol=1e-9)


def test_parts_add_up_to_the_whole_and_old_logs_neither_vanish_nor_overflow() -> None:
    items = np.array([1, 2, 1, 2])
    times_us = np.array([0, 10, 20 * 365, -70 * 365]) * DAY_US
    whole = item_values(items, event_values(times_us, 60.0))
    first, second = (
        item_values(items[part], event_values(times_us[part], 60.0))
        for part in (slice(2), slice(2, None))
    )
    joined = item_values(
        np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
    )
    np.testing.assert_allclose(joined, whole)
    assert np.isfinite(whole[1]).all()
    assert relative(np.array([NEVER, whole[1][0]]), whole[1].max()).tolist() == [0.0, 1.0]


def test_scores_are_logarithms_over_the_last_of_the_strongest() -> None:
    values = np.array([NEVER, 5.0, 3.0, NEVER, 4.0])
    places, scores = strongest(values)
    assert places.tolist() == [1, 2, 4]
    np.testing.assert_allclose(scores, np.log(2) * np.array([2.0, 0.0, 1.0]))
    assert [len(part) for part in strongest(np.full(3, NEVER))] == [0, 0]
    many = np.random.default_rng(0).permutation(np.arange(3.0 * NUM_STRONGEST))
    places, scores = strongest(many)
    assert sorted(many[places]) == sorted(many)[-NUM_STRONGEST:]
    assert scores.min() == 0
    np.testing.assert_allclose(scores / np.log(2), many[places] - many[places].min())
