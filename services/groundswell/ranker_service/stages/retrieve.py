"""Retrieve stage: finds the items with the largest scores, or popular ones without any vector."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.query import NO_IDS, Hits, Query

_NUM_FIRST = 8_192
"""So many of the most popular items are kept apart: more than a page and what one user has seen."""
NO_HITS = Hits(NO_IDS, np.empty(0, np.float32), np.empty((0, 2), np.float32))


class Retrieval(Protocol):
    """Finds items; `retrieval.item_index.ItemIndex` is the one that serves."""

    @property
    def dimension(self) -> int:
        """d."""

    def search(self, queries: Sequence[Query]) -> list[Hits]:
        """Find the items with the largest score for each query."""

    def known_vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [k, d] the vectors of items [k]; zeros for those that it does not have."""

    def passing_ids(
        self,
        exclude: NDArray[np.int64],
        allowed: IdSet | None,
        among: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Return the ids that a search with these limits chooses from; of `among` alone, if given.

        In no order.
        """


class PopularItems:
    """How popular items are, and the most popular of them: for users of whom nothing is known.

    Thread-safe. When values change, another object has to take its place.
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        """`values` are indexed by id, 0 or more; an id past their end has 0."""
        self._values = values
        self._first: NDArray[np.int64] | None = None

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the popularity of items [n]."""
        found = np.zeros(len(ids))
        counted = ids < len(self._values)
        found[counted] = self._values[ids[counted]]
        return found

    def best(
        self, retrieval: Retrieval, k: int, exclude: NDArray[np.int64], allowed: IdSet | None
    ) -> Hits:
        """Return the k most popular items that pass. Both parts of the scores are 0."""
        ids = self._candidates(retrieval, k, exclude, allowed)
        scores = self.of(ids)
        order = _largest(scores, ids, k)
        parts = np.zeros((len(order), 2), np.float32)
        return Hits(ids[order], scores[order].astype(np.float32), parts)

    def _candidates(
        self, retrieval: Retrieval, k: int, exclude: NDArray[np.int64], allowed: IdSet | None
    ) -> NDArray[np.int64]:
        """Return the first items that pass when they are k or more, else all that pass."""
        if self._first is None:
            # The first call pays for it, with what a look at all items takes.
            ids = np.arange(len(self._values))
            self._first = _largest(self._values, ids, _NUM_FIRST)
        first = self._first
        for num in (k + len(exclude), _NUM_FIRST):
            ids = retrieval.passing_ids(exclude, allowed, first[:num])
            if len(ids) >= k:
                return ids
        return retrieval.passing_ids(exclude, allowed)


def _largest(scores: NDArray[np.float64], ids: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the places of the k largest scores [n], the largest first; of equals the lower id."""
    places = np.arange(len(scores))
    if k < len(scores):
        # Sorting a whole catalogue for one page would take longer than any search.
        last = len(scores) - max(k, 1)
        places = np.flatnonzero(scores >= np.partition(scores, last)[last])
    return places[np.lexsort((ids[places], -scores[places]))[:k]]
