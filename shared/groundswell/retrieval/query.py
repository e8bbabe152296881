"""The question and the answer of a search of the item index."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.id_set import IdSet, among
from groundswell.retrieval.neighbours import Sparse

NO_IDS: NDArray[np.int64] = np.empty(0, np.int64)


class Query(NamedTuple):
    """What one search asks for."""

    parts: NDArray[np.float32]
    """[P, d] vectors whose sum is searched with; the score is given for each alone, too."""
    k: int
    """How many items at most."""
    exclude: NDArray[np.int64] = NO_IDS
    """Ids never to return; unknown ones are ignored."""
    allowed: IdSet | None = None
    """The ids that may be returned; None: all."""
    added: Sequence[Sparse] = ()
    """One per part, or none at all: what is added to that part's score of some ids, at least 0."""

    @property
    def vector(self) -> NDArray[np.float32]:
        """[d] what is searched with."""
        vector: NDArray[np.float32] = self.parts.sum(0)
        return vector

    def check(self, dimension: int) -> None:
        """Raise ValueError for values that no search can have, but for parts that are not finite.

        Whoever searches checks those of all queries at once.
        """
        if self.parts.ndim != 2 or self.parts.shape[1] != dimension or not len(self.parts):
            raise ValueError(f"a query of shape {self.parts.shape}, not [P, {dimension}]")
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")
        if len(self.added) not in (0, len(self.parts)):
            raise ValueError(f"{len(self.added)} added scores for {len(self.parts)} parts")
        for one in self.added:
            if not (one.scores.min(initial=0) >= 0 and one.scores.max(initial=0) < np.inf):
                raise ValueError("an added score is negative or not finite")


class Hits(NamedTuple):
    """The items found, best first; of equal scores the lower id first."""

    ids: NDArray[np.int64]
    """[k'] with k' = min(k, items that pass)."""
    scores: NDArray[np.float32]
    """[k'] inner products with the sum of the parts, and what is added to them."""
    part_scores: NDArray[np.float32]
    """[k', P] inner products with each part, and what is added to each."""


def excluded(ids: NDArray[np.int64], queries: Sequence[Query]) -> NDArray[np.bool_]:
    """Return [B, K] True where one of `ids` [B, K], each below 2^31, is excluded by its query."""
    sizes = [len(one.exclude) for one in queries]
    every = np.concatenate([one.exclude for one in queries])
    # Query and id in one number: numpy sorts numbers many times faster than it handles B arrays.
    of_query = np.arange(len(queries)) << 32
    pairs = (np.repeat(of_query, sizes) + every)[every >> 31 == 0]
    return among(of_query[:, None] + ids, pairs)
