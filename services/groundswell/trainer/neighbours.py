"""A training log → each item's nearest neighbours, and what they say before given events.

N items, K neighbours of each, n events.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from groundswell.trainer.data import TRAIN, Prepared
from groundswell.trainer.loss import is_large

NUM_NEIGHBOURS = 100
"""Similar items kept for each item."""
WINDOW_LENGTH = 20
"""The newest events of a window that are read."""
DECAY = 0.5
"""How much less each older one of them weighs: best, or within 1 % of the best, on the validation
parts of MovieLens-1M, Amazon Beauty and Online Retail among .3 to .98."""
_LONGEST_HISTORY = 500
_BLOCK_CELLS = 2**24


class Sources(NamedTuple):
    """What neighbours add to the scores of each view at n events."""

    short: sp.csr_array
    """[n, N]"""
    long: sp.csr_array
    """[n, N]"""

    def take(self, rows: NDArray[np.int64]) -> "Sources":
        """Return some of the events' rows."""
        return Sources(self.short[rows], self.long[rows])

    def weighed(self, short_weight: float, long_weight: float) -> "Sources":
        """Return both with a weight of their own."""
        return Sources(self.short * short_weight, self.long * long_weight)


class NeighbourTable(NamedTuple):
    """The neighbours as a bundle holds them; see `artifacts.neighbours`."""

    rows: NDArray[np.int32]
    """[N, K], -1 where an item has fewer."""
    similarities: NDArray[np.float16]
    """[N, K]"""


def item_similarities(prepared: Prepared) -> sp.csr_array:
    """Return [N, N] the cosine of each item to its nearest ones, by the users who had both.

    Item-based neighbours after Sarwar et al. 2001, from the training part alone; 0 to the rest and
    to itself.
    """
    had = _histories(prepared)
    by_user = had.tocsr()
    parts = []
    for start, end in pairwise(_bounds(had, by_user)):
        cosines = (had[:, start:end].T.tocsr() @ by_user).tocoo()
        rows, columns = cosines.coords
        other = rows + start != columns
        rows, columns, values = rows[other], columns[other], cosines.data[other]
        # A cosine lies in (0, 1]: rows in turn, and in each the nearest first.
        order = np.argsort(rows + 0.5 * (1.0 - values))
        rows, columns, values = rows[order], columns[order], values[order]
        counts = np.bincount(rows, minlength=cosines.shape[0])
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = place < NUM_NEIGHBOURS
        found = (values[kept], (rows[kept], columns[kept]))
        parts.append(sp.csr_array(found, shape=cosines.shape))
    return sp.vstack(parts, format="csr")


def _bounds(had: sp.csc_array, by_user: sp.csr_array) -> list[int]:
    """Return where blocks of items begin and end, whose products are no more than fit.

    Few items may all meet all others; of many, each meets those of its own users.
    """
    num_items = had.shape[1]
    if not is_large(num_items):
        return [*range(0, num_items, max(_BLOCK_CELLS // max(num_items, 1), 1)), num_items]
    lengths = np.diff(by_user.indptr).astype(np.int64)
    until = np.concatenate([[0], np.cumsum(lengths[had.indices])])[had.indptr]
    bounds = [0]
    while bounds[-1] < num_items:
        most = until[bounds[-1]] + _BLOCK_CELLS
        end = int(np.searchsorted(until, most, side="right")) - 1
        bounds.append(min(max(end, bounds[-1] + 1), num_items))
    return bounds


def neighbour_table(similarities: sp.csr_array) -> NeighbourTable:
    """Lay the similarities out as a bundle holds them."""
    num_items = similarities.shape[0]
    counts = np.diff(similarities.indptr)
    width = max(int(counts.max(initial=0)), 1)
    rows = np.full((num_items, width), -1, np.int32)
    values = np.zeros((num_items, width), np.float16)
    item = np.repeat(np.arange(num_items), counts)
    place = np.arange(len(item)) - np.repeat(similarities.indptr[:-1], counts)
    rows[item, place] = similarities.indices
    values[item, place] = similarities.data
    return NeighbourTable(rows, values)


def sources_before(
    prepared: Prepared,
    similarities: sp.csr_array,
    events: NDArray[np.int64],
    begin: NDArray[np.int64] | None = None,
) -> Sources:
    """Return what the neighbours say before each event, both views' with a weight of 1.

    `similarities` are [N, any columns]. With `begin` [n] the windows start there or later.
    """
    return Sources(
        (_window_weights(prepared, events, begin) @ similarities).tocsr(),
        (_history_weights(prepared, events) @ similarities).tocsr(),
    )


def _window_weights(
    prepared: Prepared, events: NDArray[np.int64], begin: NDArray[np.int64] | None
) -> sp.csr_array:
    """Return [n, N]: how much each item of the newest events before each event weighs."""
    if begin is None:
        begin = prepared.offsets[prepared.users[events]]
    first = np.maximum(begin, events - WINDOW_LENGTH)
    row, read = _ranges(first, events)
    weights = (DECAY ** (events[row] - 1 - read)).astype(np.float32)
    return _matrix(prepared, len(events), row, read, weights)


def _history_weights(prepared: Prepared, events: NDArray[np.int64]) -> sp.csr_array:
    """Return [n, N]: 1 / √m for each of the m items that the profile knows before each event."""
    begin = prepared.offsets[prepared.users[events]]
    row, read = _ranges(begin, prepared.profile_until(events))
    weights = _matrix(prepared, len(events), row, read, np.ones(len(row), np.float32))
    counts = np.diff(weights.indptr)
    weights.data = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    return weights


def _ranges(
    first: NDArray[np.int64], until: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all numbers of the ranges [first, until), with the place of their range."""
    lengths = until - first
    row = np.repeat(np.arange(len(first)), lengths)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return row, first[row] + offset


def _matrix(
    prepared: Prepared,
    num_events: int,
    row: NDArray[np.int64],
    read: NDArray[np.int64],
    weights: NDArray[np.float32],
) -> sp.csr_array:
    shape = (num_events, prepared.num_items)
    matrix = sp.csr_array((weights, (row, prepared.items[read])), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _histories(prepared: Prepared) -> sp.csc_array:
    """Return [U, N] which user had which item in training, each column of length 1."""
    events = np.flatnonzero((prepared.split_of == TRAIN) & ~prepared.cold[prepared.items])
    events = events[prepared.weights[events] > 0]
    users, items = prepared.users[events], prepared.items[events]
    end = np.cumsum(np.bincount(users, minlength=prepared.num_users))[users]
    # Pairs grow with the square of a history: one of a bot would cost more than all others.
    kept = end - np.arange(len(events)) <= _LONGEST_HISTORY
    had = sp.csc_array(
        (np.ones(int(kept.sum()), np.float32), (users[kept], items[kept])),
        shape=(prepared.num_users, prepared.num_items),
    )
    had.sum_duplicates()
    num_users = np.diff(had.indptr)
    had.data = np.repeat(1 / np.sqrt(np.maximum(num_users, 1)), num_users).astype(np.float32)
    return had
