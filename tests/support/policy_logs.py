"""Simulated logs of lists with random fusion weights, and how often estimates cover the truth.

The users differ in how often they click and in which fusion weight suits them, and some have many
lists; so lists of one user depend on each other.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.features.fusion_policy import CutNormal, FusionPolicy, Grid
from groundswell.profile_service.outcomes.off_policy import (
    Interval,
    PolicyEstimate,
    PolicyLog,
)

POINTS = np.linspace(0.0, 1.0, 2_001)


class Case(NamedTuple):
    """What the log was drawn by, and what is estimated."""

    logged: FusionPolicy
    target: FusionPolicy


CASES = {
    "one weight of a grid": Case(
        Grid.uniform(tuple(n / 10 for n in range(11))), Grid.uniform((0.7,))
    ),
    "other odds of a grid": Case(
        Grid.uniform(tuple(n / 10 for n in range(11))), Grid((0.2, 0.6, 0.9), (0.2, 0.5, 0.3))
    ),
    "a narrower normal": Case(CutNormal(0.5, 0.2), CutNormal(0.6, 0.1)),
}
_BASE = 0.25
"""The share of lists that are clicked under the fusion weight that suits best."""


class Tally(NamedTuple):
    """Of each estimator: how often its interval holds the truth, and how wide it is."""

    covered: NDArray[np.int64]
    """[2] by inverse propensity, and self-normalised."""
    half_width: NDArray[np.float64]
    """[2] the largest half-width, as a share of the true value."""


def estimate(
    weights: NDArray[np.float64], rewards: NDArray[np.float64], users: NDArray[np.int64]
) -> PolicyEstimate:
    """Estimate from a whole log [n] at once, its lists in any order."""
    order = np.argsort(users, kind="stable")
    log = PolicyLog()
    log.add(weights[order], rewards[order], users[order])
    return log.estimate()


def simulate(case: Case, *, num_logs: int, num_lists: int, seed: int) -> Tally:
    """Estimate from many logs."""
    rng = np.random.default_rng(seed)
    true = _true_value(case.target)
    covered, half = np.zeros(2, np.int64), np.zeros(2)
    for _ in range(num_logs):
        found = _estimates(case, num_lists, rng)
        for place, one in enumerate(found):
            covered[place] += one.low <= true <= one.high
            half[place] = max(half[place], (one.high - one.low) / 2 / true)
    return Tally(covered, half)


def _rate(weights: NDArray[np.float64], best: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of clicks of a mean user by the weight, and by the weight that suits the user."""
    return _BASE * (1 - 0.8 * (weights - best) ** 2)


def _true_value(policy: FusionPolicy) -> float:
    """The expected share of clicks under a policy, over all users."""
    if isinstance(policy, Grid):
        weights, shares = np.array(policy.weights), np.array(policy.probabilities)
    else:
        weights, shares = POINTS, policy.propensities(POINTS)
        shares = shares / shares.sum()
    # A user's best weight is uniform over [0.3, 0.9], and the factor's mean is 1.
    best = np.linspace(0.3, 0.9, 601)
    return float(shares @ _rate(weights[:, None], best).mean(1))


def _estimates(case: Case, n: int, rng: np.random.Generator) -> tuple[Interval, Interval]:
    num_users = n // 5
    users = rng.integers(0, num_users, n)
    factor = 2 * rng.beta(4, 4, num_users)
    best = rng.uniform(0.3, 0.9, num_users)
    weights = _drawn(case.logged, n, rng)
    clicked = rng.random(n) < factor[users] * _rate(weights, best[users])
    importance = case.target.propensities(weights) / case.logged.propensities(weights)
    found = estimate(importance, clicked.astype(np.float64), users)
    return found.inverse_propensity, found.self_normalised


def _drawn(policy: FusionPolicy, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """As `policy.draw`, at once."""
    if isinstance(policy, Grid):
        return rng.choice(np.array(policy.weights), n, p=policy.probabilities)
    drawn = rng.normal(policy.mean, policy.deviation, 2 * n)
    return drawn[(drawn >= 0) & (drawn <= 1)][:n]
