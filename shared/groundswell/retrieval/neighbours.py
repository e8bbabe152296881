"""Item-to-item neighbours: the items that follow each item most, and the scores they get by it.

A vector of d numbers holds which kinds of items go together, but not each pair of them. So items
also get neighbour scores: sums, over the items of a window or of a history, of how strongly an item
follows those. `features.fusion` has how they add to the scores of the vectors.

After Sarwar et al. 2001 (item-based collaborative filtering) and Choi et al. 2021 (session-aware
linear models).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.manifest import NeighbourSpec
from groundswell.features.neighbours import history_weights, window_weights


class Sparse(NamedTuple):
    """Scores of some rows, or of some ids; those of all others are 0."""

    rows: NDArray[np.int64]
    """[m] each once; ascending where `Neighbours` or `summed` made them."""
    scores: NDArray[np.float32]
    """[m]"""


_LEAST_WEIGHT = 1e-8
_DENSE_UP_TO = 4
"""Up to so many rows for each neighbour, adding up all rows is faster than sorting neighbours."""
_KEPT_UP_TO = 500
NOTHING = Sparse(np.empty(0, np.int64), np.empty(0, np.float32))


class Neighbours:
    """The neighbours of each item of a bundle.

    `rows` [N, K] of the neighbours, -1 where there are fewer; `similarities` [N, K] say how
    strongly each follows, at least 0, the strongest of an item 1 on average.
    """

    def __init__(
        self, rows: NDArray[np.int32], similarities: NDArray[np.float16], spec: NeighbourSpec
    ) -> None:
        self.rows = rows
        self.similarities = similarities
        self._spec = spec
        self._short_weights = _kept(self._weights_of_window)
        self._long_weights = _kept(self._weights_of_history)

    @classmethod
    def of(cls, bundle: Bundle) -> "Neighbours | None":
        """Open a bundle's neighbours; None when it has none."""
        spec = bundle.manifest.neighbours
        if spec is None:
            return None
        return cls(bundle.neighbour_rows, bundle.neighbour_similarities, spec)

    def short(self, window: NDArray[np.int64]) -> Sparse:
        """Return the neighbour scores of a window: rows [n] of its items, oldest event first.

        A row of -1 is an item that the bundle does not know; it has no neighbours.
        """
        return self._sum(window, self._short_weights(len(window)))

    def long(self, history: NDArray[np.int64]) -> Sparse:
        """Return the neighbour scores of a history: rows [n] of its items, each once, ordered by
        most recent interaction, oldest first."""
        return self._sum(history, self._long_weights(len(history)))

    def short_shares(self, window: NDArray[np.int64], row: int) -> NDArray[np.float32]:
        """Return [n] what each event of a window adds to the neighbour score of a row."""
        return self._shares(window, self._short_weights(len(window)), row)

    def long_shares(self, history: NDArray[np.int64], row: int) -> NDArray[np.float32]:
        """Return [n] what each item of a history adds to the neighbour score of a row."""
        return self._shares(history, self._long_weights(len(history)), row)

    def _weights_of_window(self, n: int) -> NDArray[np.float32]:
        """Return the weights of a window's events, oldest first; 0 for those past its length."""
        spec, ages = self._spec, _ages(n)
        weights = spec.short_weight * window_weights(ages, spec.decay)
        return np.where(ages < spec.window_length, weights, 0).astype(np.float32)

    def _weights_of_history(self, n: int) -> NDArray[np.float32]:
        """Return the weights of a history's items, oldest first."""
        spec, one = self._spec, np.zeros(n, np.int64)
        weights = spec.long_weight * history_weights(one, _ages(n), spec.history_decay)
        return weights.astype(np.float32)

    def _shares(
        self, items: NDArray[np.int64], weights: NDArray[np.float32], row: int
    ) -> NDArray[np.float32]:
        near = np.where(self.rows[items] == row, self.similarities[items], 0).sum(1) * weights
        return np.where((items >= 0) & (row >= 0), near, 0).astype(np.float32)

    def _sum(self, items: NDArray[np.int64], weights: NDArray[np.float32]) -> Sparse:
        # What weighs less does not change a sum of 32 bits; most of a long history does.
        counts = (items >= 0) & (weights > _LEAST_WEIGHT * weights.max(initial=0))
        items, weights = items[counts], weights[counts]
        if len(items) == 0:
            return NOTHING
        rows = self.rows[items].ravel()
        scores = (self.similarities[items] * weights[:, None]).ravel()
        if len(self.rows) <= _DENSE_UP_TO * len(rows):
            # Place 0 takes what is no row: -1.
            sums = np.bincount(rows + 1, scores, len(self.rows) + 1)[1:].astype(np.float32)
            found = np.flatnonzero(sums)
            return Sparse(found, sums[found])
        real = rows >= 0
        return summed(rows[real], scores[real])


def _kept(
    weights_of: Callable[[int], NDArray[np.float32]],
) -> Callable[[int], NDArray[np.float32]]:
    """Keep the weights of short lists: to weigh their items takes as long as to add them up."""
    kept = lru_cache(maxsize=_KEPT_UP_TO)(weights_of)
    return lambda n: kept(n) if n <= _KEPT_UP_TO else weights_of(n)


def _ages(n: int) -> NDArray[np.int64]:
    """Return the ages of n items that are ordered oldest first: the last has age 0."""
    return np.arange(n - 1, -1, -1)


def summed(rows: NDArray[np.integer], scores: NDArray[np.float32]) -> Sparse:
    """Add up the scores [n] of equal rows [n], each within [0, 2^31)."""
    if len(rows) == 0:
        return NOTHING
    order, starts = grouped(rows)
    return Sparse(rows[order[starts]].astype(np.int64), np.add.reduceat(scores[order], starts))


def grouped(keys: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order that sorts keys [n], n ≥ 1, each within [0, 2^31), and each group's start.

    Equal keys keep their order.
    """
    # Key and place in one number: numpy sorts numbers many times faster than places by a key.
    both = keys.astype(np.int64) << 32
    both |= np.arange(len(keys))
    both.sort()
    ordered = both >> 32
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    both &= 0xFFFF_FFFF
    return both, starts
