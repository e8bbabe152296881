"""Estimates the value of a policy from a log that another one made: inverse propensity scores.

Shapes: n lists of the log.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PolicyEstimate:
    """The estimated value of a policy, and how far the log supports it."""

    inverse_propensity: Interval
    """Unbiased (Horvitz and Thompson 1952)."""
    self_normalised: Interval
    """Slightly biased, mostly narrower (Swaminathan and Joachims 2015)."""
    logged: Interval
    """The mean reward of the log itself."""
    num_lists: int
    num_effective: float
    """(Σw)² / Σw²."""
    mean_weight: float
    """About 1 where the log has all that the policy would choose."""


def estimate(
    weights: NDArray[np.float64], rewards: NDArray[np.float64], clusters: NDArray[np.int64]
) -> PolicyEstimate:
    """Estimate the mean reward under a policy.

    `weights` [n] are the probabilities of what was chosen under the policy, divided by those with
    which it was chosen; `rewards` [n]. `clusters` [n], from 0: lists with the same number may
    depend on each other, as those of one user do. Raises ValueError when no weight is above 0.
    """
    total = weights.sum()
    if not total > 0:
        raise ValueError("no list has what the policy would choose")
    weighted = weights * rewards
    value, normalised = float(weighted.mean()), float(weighted.sum() / total)
    plain = float(rewards.mean())
    n = len(weights)
    return PolicyEstimate(
        _interval(value, (weighted - value) / n, clusters),
        _interval(normalised, weights * (rewards - normalised) / total, clusters),
        _interval(plain, (rewards - plain) / n, clusters),
        n,
        float(total**2 / (weights**2).sum()),
        float(total / n),
    )


def _interval(
    value: float, influences: NDArray[np.float64], clusters: NDArray[np.int64]
) -> Interval:
    """Return the interval of an estimate from what each list adds to its error, [n].

    The variance is that of sums over clusters (Liang and Zeger 1986), a normal distribution is
    taken for the estimate.
    """
    sums = np.bincount(clusters, influences)
    num = len(sums)
    variance = float((sums**2).sum()) * num / max(num - 1, 1)
    half = _Z95 * variance**0.5
    return Interval(value, value - half, value + half)
