"""Estimates the value of a policy from a log that another one made: inverse propensity scores.

Shapes: n lists of the log. A cluster is the lists of one user, which may depend on each other.
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


class PolicyLog:
    """Adds up a log, part by part, into what the estimates of one policy need.

    It holds the sums over all lists, and over all pairs of sums of a cluster: its size does not
    grow with the log.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(4)
        """Of weight × reward, of weights, of rewards, and the number of lists."""
        self._products = np.zeros((4, 4))
        """The sum over the clusters of the products of their sums."""
        self._squared_weights = 0.0
        self._num_clusters = 0
        self._open: tuple[int, NDArray[np.float64]] | None = None
        """The last cluster, which may go on, and its sums."""

    def add(
        self,
        weights: NDArray[np.float64],
        rewards: NDArray[np.float64],
        clusters: NDArray[np.int64],
    ) -> None:
        """Add lists, n > 0.

        `weights` [n] are the probabilities of what was chosen under the policy, divided by those
        with which it was chosen; `rewards` [n]; `clusters` [n], those of one cluster one after the
        other, also over the parts.
        """
        starts = np.flatnonzero(np.diff(clusters, prepend=clusters[0] - 1))
        each = np.stack([weights * rewards, weights, rewards, np.ones(len(weights))], axis=1)
        sums = np.add.reduceat(each, starts)
        if self._open is not None:
            if self._open[0] == clusters[0]:
                sums[0] += self._open[1]
            else:
                self._close(self._open[1][None])
        self._close(sums[:-1])
        self._open = int(clusters[-1]), sums[-1]
        self._squared_weights += float((weights**2).sum())

    def estimate(self) -> PolicyEstimate:
        """Estimate the mean reward under the policy. Raises ValueError without a weight above 0."""
        if self._open is not None:
            self._close(self._open[1][None])
            self._open = None
        weighted, total, rewarded, n = self._sums.tolist()
        if not total > 0:
            raise ValueError("no list has what the policy would choose")
        value, normalised, plain = weighted / n, weighted / total, rewarded / n
        return PolicyEstimate(
            self._interval(value, np.array([1, 0, 0, -value]) / n),
            self._interval(normalised, np.array([1, -normalised, 0, 0]) / total),
            self._interval(plain, np.array([0, 0, 1, -plain]) / n),
            int(n),
            total**2 / self._squared_weights,
            total / n,
        )

    def _close(self, sums: NDArray[np.float64]) -> None:
        """Add the sums [m, 4] of whole clusters."""
        self._sums += sums.sum(0)
        self._products += sums.T @ sums
        self._num_clusters += len(sums)

    def _interval(self, value: float, influence: NDArray[np.float64]) -> Interval:
        """Return the interval of an estimate, to whose error a cluster adds its sums · `influence`.

        The variance is that of sums over clusters (Liang and Zeger 1986), a normal distribution is
        taken for the estimate.
        """
        num = self._num_clusters
        variance = float(influence @ self._products @ influence) * num / max(num - 1, 1)
        half = _Z95 * max(variance, 0.0) ** 0.5
        return Interval(value, value - half, value + half)
