"""Item rank stage: the exact rank of one item for each of several queries, over all items.

Shapes: V queries of P parts each, d dimensions, n items of a block.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.stages.retrieve import Retrieval
from groundswell.retrieval.neighbours import Sparse
from groundswell.retrieval.query import Query

_BLOCK = 65_536


class ItemRank(NamedTuple):
    """Where one item stands for one query."""

    rank: int
    """From 1; of equal scores the lower id is first."""
    score: float
    part_scores: list[float]
    """[P] whose sum the score is."""


class ItemRanks(NamedTuple):
    """Where one item stands among all that a user may be given, and itself."""

    short: ItemRank | None
    """By the short-term vector alone; None without it."""
    long: ItemRank | None
    fused: ItemRank | None
    """None without any vector."""
    num_items: int


def ranks_of(
    retrieval: Retrieval, queries: Sequence[Query], item: int
) -> tuple[list[ItemRank], int]:
    """Return the rank of an item that the index has for each query, and the number of items.

    All queries have the same limits, which the item itself need not pass. It scores every item.
    """
    if not queries:
        return [], 0
    passing = retrieval.passing_ids(queries[0].exclude, queries[0].allowed)
    ids = np.sort(np.append(passing[passing != item], item))
    own = _part_scores(retrieval, queries, np.array([item], np.int64))[0]
    of_item = own.sum(1).astype(np.float32)
    num_above = np.zeros(len(queries), np.int64)
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        scores = _part_scores(retrieval, queries, block).sum(2).astype(np.float32)
        first = (scores == of_item) & (block < item)[:, None]
        num_above += ((scores > of_item) | first).sum(0)
    ranks = zip(num_above.tolist(), of_item.tolist(), own.tolist(), strict=True)
    return [ItemRank(1 + above, *more) for above, *more in ranks], len(ids)


def _part_scores(
    retrieval: Retrieval, queries: Sequence[Query], block: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return [n, V, P] the scores of items, whose ids ascend."""
    parts = np.concatenate([query.parts for query in queries]).astype(np.float64)
    products = retrieval.known_vectors(block).astype(np.float64) @ parts.T
    scores = products.reshape(len(block), len(queries), -1)
    for v, query in enumerate(queries):
        for part, added in enumerate(query.added):
            _add(scores[:, v, part], block, added)
    return scores


def _add(scores: NDArray[np.float64], block: NDArray[np.int64], added: Sparse) -> None:
    places = np.minimum(np.searchsorted(block, added.rows), len(block) - 1)
    there = block[places] == added.rows
    scores[places[there]] += added.scores[there]
