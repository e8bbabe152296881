"""What needs no training: popularity, recent popularity and item-kNN, from the training part alone.

N' candidates, B events; every score is for the candidates in their order.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from groundswell.trainer.data import TRAIN, Prepared
from groundswell.trainer.evaluation.candidates import Candidates
from groundswell.trainer.evaluation.targets import events_before

RECENT_SHARE = 0.1
"""The share of the training events, the newest, that recent popularity counts. A share of the
events and not of the time span: a log that thins out would leave a last stretch without any."""

NEIGHBOURS = 100
"""Similar items kept for each item."""
KNN_EVENTS = 20
"""The newest events of a user that item-kNN reads."""
KNN_DECAY = 0.5
"""How much less each older one of them weighs: best, or within 1 % of the best, on the validation
parts of MovieLens-1M, Amazon Beauty and Online Retail among .3 to .98."""
_LONGEST_HISTORY = 500
_BLOCK_CELLS = 2**24


def training_counts(prepared: Prepared, candidates: Candidates) -> NDArray[np.float64]:
    """Sum the weights of the training events of each candidate: [N']."""
    return _counts(prepared, _training_events(prepared), candidates)


def recent_counts(prepared: Prepared, candidates: Candidates) -> NDArray[np.float64]:
    """Sum the weights of the newest tenth of the training events of each candidate: [N'].

    In a log whose times are only positions it is the newest tenth of each history, at least one
    event. Ties are broken by all training events.
    """
    events = _training_events(prepared)
    if prepared.order_only:
        users = prepared.users[events]
        lengths = np.bincount(users, minlength=prepared.num_users)
        end = np.cumsum(lengths)[users]
        newest = end - np.arange(len(events)) <= np.ceil(lengths * RECENT_SHARE)[users]
    else:
        times = prepared.times_us[events]
        by_age = np.sort(times)[::-1]
        oldest = by_age[: int(np.ceil(len(times) * RECENT_SHARE))][-1:]  # none without events
        newest = times >= oldest
    everything = training_counts(prepared, candidates)
    recent = _counts(prepared, events[newest], candidates)
    ordered: NDArray[np.float64] = recent + everything / (everything.sum() + 1)
    return ordered


class ItemKnn:
    """Item-based neighbours (Sarwar et al. 2001): cosine of two items' users.

    An item scores by its similarity to the user's newest events, of which the last weighs most.
    Where nothing is similar, popularity decides.
    """

    def __init__(self, prepared: Prepared, candidates: Candidates) -> None:
        self._prepared = prepared
        self._columns = candidates.columns
        self._neighbours = _similarities(_histories(prepared, candidates))
        popularity = training_counts(prepared, candidates)
        # Below every similarity that counts, and the same for all users.
        self._popularity = (1e-6 * popularity / max(popularity.max(), 1)).astype(np.float32)

    def scores(self, events: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score the candidates before each event: [B, N']."""
        before = events_before(self._prepared, events, KNN_EVENTS)
        age = events[before.rows] - 1 - before.columns
        read = sp.csr_array(
            (
                (KNN_DECAY**age).astype(np.float32),
                (before.rows, self._columns[self._prepared.items[before.columns]]),
            ),
            shape=(len(events), len(self._popularity)),
        )
        scores: NDArray[np.float32] = (read @ self._neighbours).toarray()
        scores += self._popularity
        return scores


def _histories(prepared: Prepared, candidates: Candidates) -> sp.csc_array:
    """Return [U, N'] which user had which candidate in training, each column of length 1."""
    events = _training_events(prepared)
    events = events[prepared.weights[events] > 0]
    users, columns = prepared.users[events], candidates.columns[prepared.items[events]]
    end = np.cumsum(np.bincount(users, minlength=prepared.num_users))[users]
    # Pairs grow with the square of a history: one of a bot would cost more than all others.
    kept = end - np.arange(len(events)) <= _LONGEST_HISTORY
    had = sp.csc_array(
        (np.ones(int(kept.sum()), np.float32), (users[kept], columns[kept])),
        shape=(prepared.num_users, len(candidates)),
    )
    had.sum_duplicates()
    num_users = np.diff(had.indptr)
    had.data = np.repeat(1 / np.sqrt(np.maximum(num_users, 1)), num_users).astype(np.float32)
    return had


def _similarities(had: sp.csc_array) -> sp.csr_array:
    """Return [N', N'] the cosine of each item to its nearest ones, 0 to the rest and to itself."""
    num_items = had.shape[1]
    by_user = had.tocsr()
    block = max(_BLOCK_CELLS // max(num_items, 1), 1)
    parts = []
    for start in range(0, num_items, block):
        cosines = (had[:, start : start + block].T.tocsr() @ by_user).tocoo()
        rows, columns = cosines.coords
        other = rows + start != columns
        rows, columns, values = rows[other], columns[other], cosines.data[other]
        # A cosine lies in (0, 1]: rows in turn, and in each the nearest first.
        order = np.argsort(rows + 0.5 * (1.0 - values))
        rows, columns, values = rows[order], columns[order], values[order]
        counts = np.bincount(rows, minlength=cosines.shape[0])
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = place < NEIGHBOURS
        found = (values[kept], (rows[kept], columns[kept]))
        parts.append(sp.csr_array(found, shape=cosines.shape))
    return sp.vstack(parts, format="csr")


def _training_events(prepared: Prepared) -> NDArray[np.int64]:
    """Return the positions in [0, E) of what training may count."""
    return np.flatnonzero((prepared.split_of == TRAIN) & ~prepared.cold[prepared.items])


def _counts(
    prepared: Prepared, events: NDArray[np.int64], candidates: Candidates
) -> NDArray[np.float64]:
    columns = candidates.columns[prepared.items[events]]
    weights = prepared.weights[events]
    counts = np.bincount(columns, weights=weights, minlength=len(candidates))
    return counts.astype(np.float64)
