"""Estimates from a log with random fusion weights hold the true value as often as they say."""

import numpy as np
import pytest

from groundswell.profile_service.outcomes.off_policy import PolicyLog
from tests.support.policy_logs import CASES, estimate, simulate


@pytest.mark.parametrize("name", CASES)
def test_the_interval_covers_the_true_value_in_95_of_100_logs(name: str) -> None:
    tally = simulate(CASES[name], num_logs=200, num_lists=4_000, seed=3)
    # 190 of 200 ± 3.2 standard deviations.
    assert ((tally.covered >= 180) & (tally.covered <= 200)).all(), tally


def test_the_estimates_are_the_textbooks() -> None:
    weights, rewards = np.array([2.0, 0.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0, 1.0])
    found = estimate(weights, rewards, np.arange(4))
    assert found.inverse_propensity.value == 0.75
    assert found.self_normalised.value == 0.75
    assert found.logged.value == 0.75
    assert (found.num_lists, found.mean_weight) == (4, 1.0)
    assert found.num_effective == pytest.approx(16 / 6)
    spread = np.std(weights * rewards, ddof=1) / 2
    assert found.inverse_propensity.high == pytest.approx(0.75 + 1.959964 * spread)


def test_lists_of_one_user_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(50), 20)
    rewards = (rng.random(50)[users] < 0.5).astype(np.float64)
    alone = estimate(np.ones(1_000), rewards, np.arange(1_000)).logged
    together = estimate(np.ones(1_000), rewards, users).logged
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_parts_of_a_log_give_what_the_whole_gives() -> None:
    rng = np.random.default_rng(1)
    users = np.sort(rng.integers(0, 40, 500))
    weights, rewards = rng.random(500), (rng.random(500) < 0.3).astype(np.float64)
    parts = PolicyLog()
    for part in np.split(np.arange(500), [1, 2, 30, 31, 200]):
        parts.add(weights[part], rewards[part], users[part])
    found, due = parts.estimate(), estimate(weights, rewards, users)
    for name in ("inverse_propensity", "self_normalised", "logged"):
        one, other = getattr(found, name), getattr(due, name)
        assert (one.low, one.value, one.high) == pytest.approx((other.low, other.value, other.high))
    assert found.num_lists == 500
    assert found.num_effective == pytest.approx(due.num_effective)


def test_a_log_without_what_the_policy_chooses_gives_no_estimate() -> None:
    with pytest.raises(ValueError, match="no list"):
        estimate(np.zeros(3), np.ones(3), np.arange(3))
