"""Means over targets with 95 % intervals, by a bootstrap over users.

Targets of one user are not independent, so users are drawn with replacement and each comes with
all of its targets (a cluster bootstrap: Davison and Hinkley, Bootstrap Methods, 1997, section 3.8).
Every column is measured on the same draws, so the difference of two columns is a paired one.
R resamples, S slices, M columns, n targets, U users.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

RESAMPLES = 3_000
SEED = 20_261_124
_BLOCK_DRAWS = 2**22


class Means(NamedTuple):
    """Means of M columns over S slices."""

    observed: NDArray[np.float64]
    """[S, M]; NaN for an empty slice."""
    resampled: NDArray[np.float64]
    """[R, S, M]; NaN where no user of the slice was drawn."""


class Difference(NamedTuple):
    """How far one column lies above another, with 95 % intervals."""

    diff: float
    low: float
    high: float
    relative: float | None
    """diff / the other; None where the other is 0."""
    relative_low: float | None
    """None, as the upper end, where the other is 0 in a resample."""
    relative_high: float | None
    p: float
    """Two-sided, of the hypothesis that there is no difference."""


def clustered_means(
    values: NDArray[np.float64], users: NDArray[np.integer], slices: NDArray[np.bool_]
) -> Means:
    """Average [n, M] values over each of [S, n] slices, and again over resampled users [n]."""
    _, cluster = np.unique(users, return_inverse=True)
    num_targets, num_columns = values.shape
    num_users = int(cluster.max(initial=-1)) + 1
    of_user = sp.csr_array(
        (np.ones(num_targets), (cluster, np.arange(num_targets))), shape=(num_users, num_targets)
    )
    sums = np.stack([of_user @ (values * inside[:, None]) for inside in slices], axis=1)
    counts = of_user @ slices.T.astype(np.float64)
    flat = sums.reshape(num_users, -1)
    rng = np.random.default_rng(SEED)
    block = max(_BLOCK_DRAWS // max(num_users, 1), 1)
    parts = []
    for start in range(0, RESAMPLES, block):
        drawn = _draw(rng, min(block, RESAMPLES - start), num_users)
        totals = (drawn @ flat).reshape(len(drawn), len(slices), num_columns)
        parts.append(_divided(totals, (drawn @ counts)[..., None]))
    return Means(_divided(sums.sum(axis=0), counts.sum(axis=0)[:, None]), np.concatenate(parts))


def interval(resampled: NDArray[np.float64]) -> list[float]:
    """Return the 95 % percentile interval of [R] resampled means."""
    low, high = np.quantile(resampled[~np.isnan(resampled)], [0.025, 0.975]).tolist()
    return [low, high]


def difference(means: Means, group: int, a: int, b: int) -> Difference:
    """Compare the columns a and b over one slice, which may not be empty."""
    diff = float(means.observed[group, a] - means.observed[group, b])
    first, second = means.resampled[:, group, a], means.resampled[:, group, b]
    drawn = ~np.isnan(first)
    first, second = first[drawn], second[drawn]
    low, high = interval(first - second)
    beyond = min(int((first <= second).sum()), int((first >= second).sum()))
    p = min(2 * (beyond + 1) / (len(first) + 1), 1.0)
    observed = float(means.observed[group, b])
    relative = diff / observed if observed else None
    relative_low = relative_high = None
    if (second > 0).all():
        relative_low, relative_high = interval(first / second - 1)
    return Difference(diff, low, high, relative, relative_low, relative_high, p)


def _draw(rng: np.random.Generator, times: int, num_users: int) -> NDArray[np.float64]:
    """Draw U of U users with replacement, several times: [times, U] how often each came."""
    drawn = rng.integers(num_users, size=(times, num_users))
    drawn += np.arange(times)[:, None] * num_users
    counts = np.bincount(drawn.ravel(), minlength=times * num_users)
    return counts.reshape(times, num_users).astype(np.float64)


def _divided(totals: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    means = np.full(np.broadcast_shapes(totals.shape, counts.shape), np.nan)
    np.divide(totals, counts, out=means, where=np.broadcast_to(counts > 0, means.shape))
    return means
