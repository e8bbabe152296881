"""Scores every item of an index: what a search would find that misses nothing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Hits, Query

_BLOCK_SCORES = 2**22


class ExhaustiveIndex:
    """All items of an index as it is now, scored in blocks of queries.

    Each item gets the score that `ItemIndex.search` gives it. All items that pass are returned,
    whatever the query's k, in the order of their ids.
    """

    def __init__(self, index: ItemIndex) -> None:
        self.dimension = index.dimension
        self._index = index
        self._ids = np.sort(index.passing_ids())
        self._vectors = index.vectors(self._ids).astype(np.float64)

    def passing_ids(
        self,
        exclude: NDArray[np.int64],
        allowed: IdSet | None,
        among: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Return the ids that a search with these limits chooses from; see `ItemIndex`."""
        return self._index.passing_ids(exclude, allowed, among)

    def known_vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [k, d] the vectors of items [k]; zeros for those that the index does not have."""
        return self._index.known_vectors(items)

    def search(self, queries: Sequence[Query]) -> list[Hits]:
        """Score every item that passes, for each query."""
        block = max(_BLOCK_SCORES // max(len(self._ids), 1), 1)
        hits: list[Hits] = []
        for start in range(0, len(queries), block):
            hits += self._scored(queries[start : start + block])
        return hits

    def _scored(self, queries: Sequence[Query]) -> list[Hits]:
        parts_BPN = self._products(np.stack([query.parts for query in queries]))
        for parts_PN, query in zip(parts_BPN, queries, strict=True):
            for scores_N, added in zip(parts_PN, query.added, strict=False):
                places, is_there = self._places(added.rows)
                scores_N[places[is_there]] += added.scores[is_there]
        scores_BN = parts_BPN.sum(1).astype(np.float32)
        singles_BNP = parts_BPN.transpose(0, 2, 1).astype(np.float32)
        return [
            self._limited(Hits(self._ids, *scored), query)
            for *scored, query in zip(scores_BN, singles_BNP, queries, strict=True)
        ]

    def _products(self, parts_BPd: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return inner products [B, P, N]; a part of zeros costs nothing."""
        products = np.zeros((*parts_BPd.shape[:2], len(self._ids)))
        used = parts_BPd.any(-1)
        products[used] = parts_BPd[used].astype(np.float64) @ self._vectors.T
        return products

    def _places(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Find ids among those of the index: [n] places, and [n] True where there is one."""
        places = np.minimum(np.searchsorted(self._ids, ids), max(len(self._ids) - 1, 0))
        return places, self._ids[places] == ids

    def _limited(self, hits: Hits, query: Query) -> Hits:
        if len(query.exclude) == 0 and query.allowed is None:
            return hits
        passing = np.isin(self._ids, self.passing_ids(query.exclude, query.allowed))
        return Hits(hits.ids[passing], hits.scores[passing], hits.part_scores[passing])
