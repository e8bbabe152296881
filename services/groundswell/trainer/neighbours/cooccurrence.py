"""Counts the neighbours of each item in a training log, and scores items by them before events.

N items, K neighbours of each, n events.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from groundswell.features.actions import DISLIKE
from groundswell.features.neighbours import history_weights, window_weights
from groundswell.trainer.dataset.prepared import TRAIN, Prepared
from groundswell.trainer.inputs.histories import history_items, ranges

NUM_NEIGHBOURS = 100
"""Kept for each item."""
WINDOW_LENGTH = 20
"""The newest events of a window that are read at most."""
DECAYS = (0.5, 0.65, 0.8)
"""How much of the next newer one each older one of them may weigh; validation chooses."""
HISTORY_DECAYS = (1.0, 0.97, 0.7)
"""The same of a history's items."""
# By the validation parts of MovieLens-1M, Amazon Beauty and Online Retail, where a decay from .7, a
# share from .1 to .5, a shrinkage from 50 to 400 and a power up to .3 cost a few percent at most.
_COUNTING_DECAY = 0.9
_BACKWARD = 0.3
_SHRINKAGE = 150.0
_UNPOPULARITY = 0.2
_NUM_NEAR = 5
_MOST_PAIRS = 50_000_000
_FEWEST_DISTANCES = 3


class Reading(NamedTuple):
    """How a window is read; of `artifacts.manifest.NeighbourSpec`."""

    length: int
    decay: float


class NeighbourScores(NamedTuple):
    """The neighbour scores of all items before n events, by window and by history."""

    short: sp.csr_array
    """[n, N]"""
    long: sp.csr_array
    """[n, N]"""

    def take(self, rows: NDArray[np.int64]) -> "NeighbourScores":
        """Return those of some of the events."""
        return NeighbourScores(self.short[rows], self.long[rows])

    def weighed(self, short_weight: float, long_weight: float) -> "NeighbourScores":
        """Return both multiplied by their weights."""
        return NeighbourScores(self.short * short_weight, self.long * long_weight)


class NeighbourTable(NamedTuple):
    """The neighbours as a bundle holds them; see `retrieval.neighbours`."""

    rows: NDArray[np.int32]
    """[N, K], -1 where an item has fewer."""
    similarities: NDArray[np.float16]
    """[N, K]"""


def following(prepared: Prepared, is_target: NDArray[np.bool_]) -> sp.csr_array:
    """Return [N, N] how strongly each item says that each other one follows; most are 0.

    Each target of training [E] counts for the items of the window before it, the less the older
    they are; and a part as much the other way round, since a few events cannot tell which of two
    items comes first. An item's counts are divided by all of its own, and somewhat by the other's
    popularity. After Choi et al. 2021 (session-aware linear models), whose regression they
    approximate: as good on the validation parts of MovieLens-1M, Amazon Beauty and Online Retail,
    without a matrix to invert. An item's strongest is 1 on average.
    """
    forward = _followed(prepared, is_target)
    both = (forward + _BACKWARD * forward.T).tocsr()
    said_N, of_N = both.sum(1), both.sum(0)
    item = np.repeat(np.arange(both.shape[0]), np.diff(both.indptr))
    both.data /= (said_N[item] + _SHRINKAGE) * np.maximum(of_N[both.indices], 1) ** _UNPOPULARITY
    kept = strongest(both)
    tops = kept.max(1).toarray()
    kept.data /= tops[tops > 0].mean() if len(kept.data) else 1
    return kept


def with_text_neighbours(
    similarities: sp.csr_array, vectors_Nd: NDArray[np.float32]
) -> sp.csr_array:
    """Return similarities [N, N] in which items without any have those of the items near them.

    An item that nothing follows and that follows nothing would rank below every item with
    neighbours. It takes the mean of the `_NUM_NEAR` items with neighbours whose texts' vectors, of
    `vectors_Nd`, have the highest cosine with its own.
    """
    has_any_N = (np.diff(similarities.indptr) > 0) | (similarities.sum(0) > 0)
    new, known = np.flatnonzero(~has_any_N), np.flatnonzero(has_any_N)
    if len(new) == 0 or len(known) < _NUM_NEAR:
        return similarities
    norms_N1 = np.linalg.norm(vectors_Nd, axis=1, keepdims=True)
    units_Nd = vectors_Nd / np.maximum(norms_N1, 1e-9)
    near = np.argpartition(-units_Nd[new] @ units_Nd[known].T, _NUM_NEAR - 1)[:, :_NUM_NEAR]
    shares = np.full(near.size, 1 / _NUM_NEAR, np.float32)
    of_new = (np.repeat(new, _NUM_NEAR), known[near].ravel())
    nearest = sp.csr_array((shares, of_new), shape=similarities.shape)
    followed = (similarities + nearest @ similarities).tocsr()
    return strongest((followed + followed @ nearest.T).tocsr())


def strongest(values: sp.csr_array) -> sp.csr_array:
    """Keep the `NUM_NEIGHBOURS` highest of each row, all of which are above 0."""
    item = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
    order = np.lexsort((-values.data, item))
    place = np.arange(len(item)) - values.indptr[item]
    kept = order[place < NUM_NEIGHBOURS]
    counts = np.bincount(item[kept], minlength=values.shape[0])
    begins = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((values.data[kept], values.indices[kept], begins), shape=values.shape)


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


def window_scores(
    prepared: Prepared,
    similarities: sp.csr_array,
    events: NDArray[np.int64],
    reading: Reading,
) -> sp.csr_array:
    """Return the neighbour scores [n, C] of each event's window before it, with a weight of 1.

    `similarities` are [N, C], of all items or of some columns. A disliked item gives no scores; it
    only takes its place in the window.
    """
    return (_window_weights(prepared, events, reading) @ similarities).tocsr()


def history_scores(
    prepared: Prepared, similarities: sp.csr_array, events: NDArray[np.int64], decay: float
) -> sp.csr_array:
    """Return the same of each event's history, as the profile knows it then.

    What was only disliked is no part of it.
    """
    return (_history_weights(prepared, events, decay) @ similarities).tocsr()


def _window_weights(
    prepared: Prepared,
    events: NDArray[np.int64],
    reading: Reading,
) -> sp.csr_array:
    """Return [n, N]: how much each item of the newest events before each event weighs."""
    begin = prepared.offsets[prepared.users[events]]
    first = np.maximum(begin, events - reading.length)
    row, read = ranges(first, events)
    by_age = window_weights(events[row] - 1 - read, reading.decay)
    weights = np.where(_counts(prepared, read), by_age, 0).astype(np.float32)
    return _matrix(prepared, len(events), row, read, weights)


def _history_weights(prepared: Prepared, events: NDArray[np.int64], decay: float) -> sp.csr_array:
    """Return [n, N] rows of norm 1: how much each item of each history weighs, by its newest
    event."""
    row, read = history_items(prepared, events)
    ends = np.cumsum(np.bincount(row, minlength=len(events)))
    weights = history_weights(row, ends[row] - 1 - np.arange(len(row)), decay)
    return _matrix(prepared, len(events), row, read, weights.astype(np.float32))


def _counts(prepared: Prepared, events: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[n] True for events whose items' neighbours get scores: all but dislikes."""
    counts: NDArray[np.bool_] = prepared.actions[events] != DISLIKE
    return counts


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


def _followed(prepared: Prepared, is_target: NDArray[np.bool_]) -> sp.csr_array:
    """Return [N, N] how often an item was followed by another, the farther apart the less."""
    targets = np.flatnonzero(is_target & (prepared.split_of == TRAIN))
    begin = prepared.offsets[prepared.users[targets]]
    distances = np.clip(_MOST_PAIRS // max(len(targets), 1), _FEWEST_DISTANCES, WINDOW_LENGTH)
    shape = (prepared.num_items, prepared.num_items)
    total = sp.csr_array(shape, dtype=np.float32)
    for distance in range(1, int(distances) + 1):
        later = targets[targets - distance >= begin]
        earlier = later - distance
        real = _counts(prepared, earlier) & (prepared.items[earlier] != prepared.items[later])
        rows, columns = prepared.items[earlier[real]], prepared.items[later[real]]
        weights = np.full(len(rows), _COUNTING_DECAY ** (distance - 1), np.float32)
        total = total + sp.csr_array((weights, (rows, columns)), shape=shape)
    return total
