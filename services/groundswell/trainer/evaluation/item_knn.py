"""The item-kNN baseline: items similar to those of a history, by the users who had both.

U users, N items, N' candidates, B events.
"""

from copy import copy
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import TRAIN, Prepared
from groundswell.trainer.evaluation.baselines import training_counts
from groundswell.trainer.evaluation.bundle_items import Candidates
from groundswell.trainer.neighbours.cooccurrence import (
    WINDOW_LENGTH,
    Reading,
    strongest,
    window_scores,
)

DECAY = 0.5
"""How much less each older event of a window weighs: best, or within 1 % of the best, on the
validation parts of MovieLens-1M, Amazon Beauty and Online Retail among .3 to .98."""
_READING = Reading(WINDOW_LENGTH, DECAY)
_LONGEST_HISTORY = 500
_BLOCK_CELLS = 2**24


class ItemKnn:
    """Item-based neighbours (Sarwar et al. 2001): cosine of two items' users.

    An item scores by its similarity to the user's newest events, of which the last weighs most.
    Where nothing is similar, popularity decides.
    """

    def __init__(self, prepared: Prepared, candidates: Candidates) -> None:
        self._prepared, self._reading = prepared, _READING
        self._similarities = _cosines(prepared)[:, candidates.items]
        popularity = training_counts(prepared, candidates)
        # Below every similarity that counts, and the same for all users.
        self._popularity = (1e-6 * popularity / max(popularity.max(), 1)).astype(np.float32)

    def reading(self, length: int, decay: float) -> "ItemKnn":
        """Return the same that reads more or fewer events, of other weights."""
        other = copy(self)
        other._reading = Reading(length, decay)
        return other

    def scores(self, events: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score the candidates before each event: [B, N']."""
        found = window_scores(self._prepared, self._similarities, events, self._reading)
        scores: NDArray[np.float32] = found.toarray()
        scores += self._popularity
        return scores


def _cosines(prepared: Prepared) -> sp.csr_array:
    """Return [N, N] the cosine of each item to its nearest ones, by the users who had both.

    From the training part alone; 0 to the rest and to itself.
    """
    had = _histories(prepared)
    by_user = had.tocsr()
    parts = []
    for start, end in pairwise(_bounds(had, by_user)):
        cosines = (had[:, start:end].T.tocsr() @ by_user).tocoo()
        rows, columns = cosines.coords
        other = rows + start != columns
        rows, columns, values = rows[other], columns[other], cosines.data[other]
        found = (values, (rows, columns))
        parts.append(strongest(sp.csr_array(found, shape=cosines.shape)))
    return sp.vstack(parts, format="csr")


def _bounds(had: sp.csc_array, by_user: sp.csr_array) -> list[int]:
    """Return where blocks of items begin and end, each with as many cosines as memory may hold."""
    num_items = had.shape[1]
    # An item meets no more others than its users had, and no more than there are.
    met = np.concatenate([[0], np.cumsum(np.diff(by_user.indptr)[had.indices], dtype=np.int64)])
    most = np.minimum(np.diff(met[had.indptr]), num_items)
    until = np.concatenate([[0], np.cumsum(most)])
    bounds = [0]
    while bounds[-1] < num_items:
        end = np.searchsorted(until, until[bounds[-1]] + _BLOCK_CELLS, side="right") - 1
        bounds.append(max(int(end), bounds[-1] + 1))
    return bounds


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
