"""Finds the items of largest score: filters within the search, follows changes of the catalogue."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.engine import Engine
from groundswell.retrieval.item_rows import ItemRows
from groundswell.retrieval.item_scores import AddedScores, contenders, part_scores
from groundswell.retrieval.neighbours import Sparse

_NUM_SPARE = 16
"""Items that a search finds beyond those asked for."""
_LARGEST_SEARCH = 1_024
"""Of more items at once every one that passes is scored."""
_EPSILON = float(np.finfo(np.float32).eps)
_BLOCK_SCORES = 2**24
NO_IDS: NDArray[np.int64] = np.empty(0, np.int64)


class Query(NamedTuple):
    """What one search asks for."""

    parts: NDArray[np.float32]
    """[P, d] vectors whose sum is searched with; the score is given for each alone, too."""
    k: int
    """How many items at most."""
    exclude: NDArray[np.int64] = NO_IDS
    """Ids never to return; unknown ones are ignored."""
    allowed: NDArray[np.bool_] | None = None
    """Indexed by id: True where an item may be returned; ids past its end may not. None: all."""
    added: Sequence[Sparse] = ()
    """One per part, or none at all: what is added to that part's score of some ids, at least 0."""


class Hits(NamedTuple):
    """The items found, best first; of equal scores the lower id first."""

    ids: NDArray[np.int64]
    """[k'] with k' = min(k, items that pass)."""
    scores: NDArray[np.float32]
    """[k'] inner products with the sum of the parts, and what is added to them."""
    part_scores: NDArray[np.float32]
    """[k', P] inner products with each part, and what is added to each."""


class ItemIndex:
    """A read-only main index, the vectors that came since (the delta), and what was removed.

    The delta is compared whole. One thread changes the index; any number may search meanwhile,
    each over one state of it.
    """

    def __init__(self, engine: Engine, ids: NDArray[np.int64] | None = None) -> None:
        """Search with an engine. `ids` [n] names the item of each of its rows, −1: no item (yet);
        without it, row i is item i.

        Raises BundleError (BUNDLE_CORRUPT) when a vector is not finite.
        """
        self._engine = engine
        vectors = engine.vectors
        rows = np.arange(len(vectors), dtype=np.int64) if ids is None else ids
        self._rows = ItemRows.over(vectors, rows)

    @property
    def num_items(self) -> int:
        """How many items can be found."""
        return self._rows.num_items

    @property
    def dimension(self) -> int:
        """d of its vectors."""
        return int(self._rows.main.shape[1])

    def holds(self, vectors: NDArray[np.float32]) -> bool:
        """Say whether the rows of the main index are exactly `vectors`."""
        return np.array_equal(self._rows.main, vectors)

    def put(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        main_rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Insert or replace items; see `ItemRows.put`. Searches that run see the old state."""
        rows = np.full(len(ids), -1, np.int64) if main_rows is None else main_rows
        self._rows = self._rows.put(ids, vectors, rows)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Take items out; ids that are not there are ignored."""
        self._rows = self._rows.remove(ids)

    def vector(self, item: int) -> NDArray[np.float32] | None:
        """Return one item's vector [d]; None when the index has none."""
        rows = self._rows
        places = rows.places(np.array([item], np.int64))
        return rows.vectors(places)[0] if len(places) else None

    def vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [k, d] the vectors of items [k] that the index has."""
        rows = self._rows
        return rows.vectors(rows.places(items))

    def known_vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [k, d] the vectors of items [k]; zeros for those that the index does not have."""
        rows = self._rows
        found = rows.find(items)
        vectors = np.zeros((len(items), rows.main.shape[1]), np.float32)
        vectors[found >= 0] = rows.vectors(found[found >= 0])
        return vectors

    def passing_ids(
        self, exclude: NDArray[np.int64] = NO_IDS, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Return the ids that a search with these limits would choose from, in no order."""
        rows = self._rows
        return rows.ids[rows.passing(exclude, allowed)]

    def search(self, queries: Sequence[Query]) -> list[Hits]:
        """Find the items with the largest score for each query.

        Excluded items do not shorten an answer: k items are found when k pass. Exact with an
        exact engine, under a narrow filter, and for k of more than a thousand.
        Raises ValueError for parts that are not finite or of another dimension.
        """
        rows = self._rows
        checked = [_checked(rows, query) for query in queries]
        num_parts = max((len(query.parts) for query in queries), default=1)
        block = max(_BLOCK_SCORES // (max(len(rows.ids), 1) * num_parts), 1)
        hits: list[Hits] = []
        for start in range(0, len(checked), block):
            hits += self._search_block(rows, checked[start : start + block])
        return hits

    def similar(
        self,
        vector: NDArray[np.float32],
        k: int,
        exclude: NDArray[np.int64] = NO_IDS,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Hits:
        """Find the items of largest cosine with [d] `vector`, the popularity dimension left out.

        Exact: every item that passes is compared. A vector of length 0 is at cosine 0 to all.
        """
        rows = self._rows
        direction = vector.astype(np.float64)
        direction[-1] = 0.0
        length = float(np.linalg.norm(direction))
        _checked(rows, Query(vector[None], k))
        places = np.flatnonzero(rows.passing(exclude, allowed))
        [dots] = part_scores(rows, [direction[None]], [places])
        lengths = rows.norms[places].astype(np.float64)[:, None] * length
        cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
        return _best(rows.ids[places], np.clip(cosines, -1.0, 1.0), k)

    def _search_block(self, rows: ItemRows, queries: Sequence[Query]) -> list[Hits]:
        sought = [self._sought(rows, query) for query in queries]
        candidates, added = [one[0] for one in sought], [one[1] for one in sought]
        scores = part_scores(rows, [query.parts for query in queries], candidates)
        return [
            _best(rows.ids[found], more.add_to(parts, found), query.k)
            for query, found, parts, more in zip(queries, candidates, scores, added, strict=True)
        ]

    def _sought(self, rows: ItemRows, query: Query) -> tuple[NDArray[np.int64], AddedScores]:
        """Return positions among which the best k lie, and what is added to the scores of some."""
        passing = rows.passing(query.exclude, query.allowed)
        found = self._candidates(rows, query, passing)
        added = AddedScores.of(rows, query.added, passing)
        if len(added.places) and len(found) >= query.k:
            slack = _rounding(rows, query)
            found = contenders(rows, query.parts.sum(0), query.k, found, added, slack)
        return found, added

    def _candidates(
        self, rows: ItemRows, query: Query, passing: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return positions among which the best k by inner product lie, few more at little cost."""
        places = np.flatnonzero(passing)
        if len(places) <= query.k:
            return places
        n = len(rows.main)
        few = self._engine.scan_share * len(passing) + _NUM_SPARE
        if len(places) <= few or query.k > _LARGEST_SEARCH:
            return _exact(rows, query, places)
        wanted = query.k + _NUM_SPARE
        in_main = passing[:n]
        scores, found = self._engine.search(query.parts.sum(0), wanted, in_main)
        of_main = found[found >= 0]
        due = min(wanted, int(np.count_nonzero(in_main)))
        if len(of_main) < due:  # an approximate search can find too few
            return _exact(rows, query, places)
        of_delta = places[places >= n]
        if len(of_main) == wanted and self._engine.is_exact:
            tied = scores[query.k - 1] - scores[-1] <= _rounding(rows, query)
            if tied:  # which of them belong to the page, only exact scores can tell
                return _exact(rows, query, places)
        return np.concatenate([of_main, _exact(rows, query, of_delta)])


def _checked(rows: ItemRows, query: Query) -> Query:
    if query.parts.ndim != 2 or query.parts.shape[1] != rows.main.shape[1]:
        raise ValueError(f"a query of shape {query.parts.shape}, not [P, {rows.main.shape[1]}]")
    if not np.isfinite(query.parts).all():
        raise ValueError("a query is not finite")
    if query.k < 1:
        raise ValueError(f"k must be at least 1, not {query.k}")
    if len(query.added) not in (0, len(query.parts)):
        raise ValueError(f"{len(query.added)} added scores for {len(query.parts)} parts")
    for one in query.added:
        if not (one.scores.min(initial=0) >= 0 and one.scores.max(initial=0) < np.inf):
            raise ValueError("an added score is negative or not finite")
    return query


def _exact(rows: ItemRows, query: Query, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of `places` whose score may be among the best k: the k best and their ties."""
    if len(places) <= 4 * query.k:
        return places
    scores = rows.vectors(places) @ query.parts.sum(0)
    threshold = np.partition(scores, -query.k)[-query.k]
    best: NDArray[np.int64] = places[scores >= threshold - _rounding(rows, query)]
    return best


def _rounding(rows: ItemRows, query: Query) -> float:
    """Bound how far two float32 inner products may be from the order of the exact ones."""
    d: int = rows.main.shape[1]
    length = float(np.linalg.norm(query.parts.sum(0)))
    return 2.0 * d * _EPSILON * length * rows.longest


def _best(ids: NDArray[np.int64], part_scores: NDArray[np.float64], k: int) -> Hits:
    scores = part_scores.sum(1).astype(np.float32)
    order = np.lexsort((ids, -scores))[:k]
    return Hits(ids[order], scores[order], part_scores[order].astype(np.float32))
