"""Item-to-item neighbours: what follows what was in a history, remembered pair by pair.

A vector of d numbers says what kind of things go together; that these two very items do, it must
forget. So each view of a user has a second source: the neighbours of what it read. Both are sums
over events, so they add to the scores of the views, and are weighed as those are:
score = α·(u_s·v + short source) + (1 − α)·(u_l·v + long source).

After Sarwar et al. 2001 (item-based collaborative filtering) and Choi et al. 2021 (session-aware
linear models); the decay over the window after Ludewig and Jannach 2018.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.manifest import NeighbourSpec


class Sparse(NamedTuple):
    """Scores of some rows, or of some ids; those of all others are 0."""

    rows: NDArray[np.int64]
    """[m] each once; ascending where `Neighbours` or `summed` made them."""
    scores: NDArray[np.float32]
    """[m]"""


NOTHING = Sparse(np.empty(0, np.int64), np.empty(0, np.float32))


class Neighbours:
    """What follows each item of a bundle most.

    `rows` [N, K] of the neighbours, -1 where there are fewer; `similarities` [N, K] say how
    strongly each follows, at least 0, the strongest of an item 1 on average.
    """

    def __init__(
        self, rows: NDArray[np.int32], similarities: NDArray[np.float16], spec: NeighbourSpec
    ) -> None:
        self.rows = rows
        self.similarities = similarities
        self._spec = spec

    @classmethod
    def of(cls, bundle: Bundle) -> "Neighbours | None":
        """Open a bundle's neighbours; None when it has none."""
        spec = bundle.manifest.neighbours
        if spec is None:
            return None
        return cls(bundle.neighbour_rows, bundle.neighbour_similarities, spec)

    def short(self, window: NDArray[np.int64]) -> Sparse:
        """Return the short-term source of a window: rows [n] of its events, oldest first.

        A row of -1 is an item that the bundle does not know; it has no neighbours.
        """
        spec = self._spec
        newest = window[-spec.window_length :]
        ages = np.arange(len(newest) - 1, -1, -1)
        weights = (spec.short_weight * spec.decay**ages).astype(np.float32)
        return self._sum(newest, weights)

    def long(self, history: NDArray[np.int64]) -> Sparse:
        """Return the long-term source of a history: rows [n] of its items, each once, the one of
        the oldest newest event first."""
        weights = self._spec.history_decay ** np.arange(len(history) - 1, -1, -1)
        norm = np.sqrt(max(np.square(weights).sum(), 1.0))
        return self._sum(history, (self._spec.long_weight / norm * weights).astype(np.float32))

    def _sum(self, items: NDArray[np.int64], weights: NDArray[np.float32]) -> Sparse:
        known = (items >= 0) & (weights != 0)
        items, weights = items[known], weights[known]
        if len(items) == 0:
            return NOTHING
        rows = self.rows[items]
        scores = self.similarities[items] * weights[:, None]
        real = rows >= 0
        return summed(rows[real], scores[real])


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
