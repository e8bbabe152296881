"""Retrieve stage: finds the items with the largest scores, or popular ones without any vector."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import NO_IDS, Hits, Query

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

    def passing_ids(self, exclude: NDArray[np.int64], allowed: IdSet | None) -> NDArray[np.int64]:
        """Return the ids that a search with these limits chooses from, in no order."""


def popular(
    retrieval: Retrieval,
    popularity: NDArray[np.float64],
    k: int,
    exclude: NDArray[np.int64],
    allowed: IdSet | None,
) -> Hits:
    """Return the k most popular items that pass: for a user of whom nothing is known.

    `popularity` is as in `popularity_of`. Both parts of the scores are 0.
    """
    ids = retrieval.passing_ids(exclude, allowed)
    scores = popularity_of(popularity, ids)
    if k < len(ids):
        # Sorting a whole catalogue for one page would take longer than any search.
        last = len(ids) - max(k, 1)
        threshold = np.partition(scores, last)[last]
        ids, scores = ids[scores >= threshold], scores[scores >= threshold]
    order = np.lexsort((ids, -scores))[:k]
    parts = np.zeros((len(order), 2), np.float32)
    return Hits(ids[order], scores[order].astype(np.float32), parts)


def popularity_of(popularity: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return that of items [n]; `popularity` is indexed by id, an id past its end has 0."""
    found = np.zeros(len(ids))
    counted = ids < len(popularity)
    found[counted] = popularity[ids[counted]]
    return found
