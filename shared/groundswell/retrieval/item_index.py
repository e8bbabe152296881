"""Finds the items of largest score: filters within the search, follows changes of the catalogue."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from threading import Lock, Thread

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.candidates import IndexState, candidates, near, rounding
from groundswell.retrieval.engine import Engine
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_rows import ItemRows
from groundswell.retrieval.item_scores import AddedScores, contenders, part_scores
from groundswell.retrieval.query import NO_IDS, Hits, Query
from groundswell.retrieval.scan import scan

_log = logging.getLogger(__name__)
_BLOCK_ROWS = 65_536
_BLOCK = 256
"""So many queries are searched for at once."""
_MERGED_ABOVE, _MERGED_SHARE = 1_024, 1 / 64
"""The delta is merged when it is longer than this, and than this share of the main index."""
_MOST_DEAD = 0.5
"""With a larger share of positions that have no item, all is built again without them."""


class ItemIndex:
    """A read-only main index, the vectors that came since (the delta), and what was removed.

    The delta is compared whole; when it has grown, a thread of its own merges both into a new main
    index. One thread changes the index; any number may search meanwhile (see `ItemRows`).
    """

    def __init__(
        self, engine: Engine, ids: NDArray[np.int64] | None = None, *, scanned_up_to: int = 0
    ) -> None:
        """Search with an engine. `ids` [n] names the item of each row that it was built of, −1: no
        item (yet); without it, row i is item i. Of at most `scanned_up_to` positions all are
        scored, and the engine is not asked.

        Raises BundleError (BUNDLE_CORRUPT) when a vector is not finite.
        """
        rows = engine.rows
        ids = np.arange(len(rows)) if ids is None else ids
        if len(ids) != len(rows):
            raise ValueError(f"{len(ids)} ids for {len(rows)} rows")
        places = np.empty(len(rows), np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)
        self._state = IndexState(engine, ItemRows.over(engine.vectors, ids[rows], places))
        self._scanned_up_to = scanned_up_to
        self._changing = Lock()
        self._merging: Thread | None = None
        self._merged_above = _MERGED_ABOVE
        self._changed: list[NDArray[np.int64]] = []
        """What changed since a merge began."""

    @property
    def num_items(self) -> int:
        """How many items can be found."""
        return self._state.rows.num_items

    @property
    def dimension(self) -> int:
        """d of its vectors."""
        return int(self._state.rows.main.shape[1])

    @property
    def num_fallbacks(self) -> int | None:
        """See `engine.Engine.num_fallbacks`."""
        return self._state.engine.num_fallbacks

    def holds(self, vectors: NDArray[np.float32]) -> bool:
        """Say whether the main index was built of exactly `vectors`."""
        engine = self._state.engine
        if vectors.shape != engine.vectors.shape:
            return False
        blocks = [slice(i, i + _BLOCK_ROWS) for i in range(0, len(vectors), _BLOCK_ROWS)]
        return all(np.array_equal(engine.vectors[b], vectors[engine.rows[b]]) for b in blocks)

    def put(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        bundle_rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Insert or replace items; see `ItemRows.put`."""
        of_bundle = np.full(len(ids), -1, np.int64) if bundle_rows is None else bundle_rows
        with self._changing:
            self._change(self._state.rows.put(ids, vectors, of_bundle), ids)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Take items out; ids that are not there are ignored."""
        with self._changing:
            self._change(self._state.rows.remove(ids), ids)

    def hide(self, ids: NDArray[np.int64], hidden: NDArray[np.bool_]) -> None:
        """Hide items [k] from searches where `hidden` [k] is True, show them where it is not.

        An item may be hidden before its vector comes.
        """
        with self._changing:
            self._change(self._state.rows.hide(ids, hidden), ids)

    def finish_merge(self) -> None:
        """Wait until no merge runs."""
        merging = self._merging
        if merging is not None:
            merging.join()

    def vector(self, item: int) -> NDArray[np.float32] | None:
        """Return one item's vector [d], also of a hidden item; None when the index has none."""
        rows = self._state.rows
        places = rows.held(np.array([item], np.int64))
        return rows.vectors(places)[0] if places[0] >= 0 else None

    def vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [k, d] the vectors of items [k] that the index has."""
        rows = self._state.rows
        return rows.vectors(rows.held(items))

    def known_vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [k, d] the vectors of items [k]; zeros for those that the index does not have."""
        rows = self._state.rows
        found = rows.held(items)
        vectors = np.zeros((len(items), rows.main.shape[1]), np.float32)
        vectors[found >= 0] = rows.vectors(found[found >= 0])
        return vectors

    def passing_ids(
        self,
        exclude: NDArray[np.int64] = NO_IDS,
        allowed: IdSet | None = None,
        among: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Return the ids that a search with these limits would choose from, in no order.

        With `among` [n] the ids are of those alone, and it costs no more than n.
        """
        rows = self._state.rows
        if among is None:
            places = rows.all_passing(exclude, allowed)
        else:
            places = rows.find(among)
            places = places[rows.passing(places, exclude, allowed) & (places >= 0)]
        ids = rows.ids[places]
        return ids[ids >= 0]

    def search(self, queries: Sequence[Query]) -> list[Hits]:
        """Find the items with the largest score for each query.

        Excluded items do not shorten an answer: k items are found when k pass. Exact with an
        exact engine, under a narrow filter, and for k of more than a thousand.
        Raises ValueError for parts that are not finite or of another dimension.
        """
        state = self._state
        hits: list[Hits] = []
        for start in range(0, len(queries), _BLOCK):
            block = queries[start : start + _BLOCK]
            vectors = _vectors_of(block, self.dimension)
            if state.rows.num_positions <= self._scanned_up_to:
                hits += scan(state.rows, block, vectors)
            else:
                hits += _search_block(state, block, vectors)
        return hits

    def similar(
        self,
        vector: NDArray[np.float32],
        k: int,
        exclude: NDArray[np.int64] = NO_IDS,
        allowed: IdSet | None = None,
    ) -> Hits:
        """Find the items of largest cosine with [d] `vector`, the popularity dimension left out.

        As exact as the engine. A vector of length 0 is at cosine 0 to all.
        """
        state = self._state
        _vectors_of([Query(vector[None], k)], self.dimension)
        direction = vector[:-1].astype(np.float64)
        length = float(np.linalg.norm(direction))
        places = near(state, vector, k, exclude, allowed)
        content = state.rows.vectors(places)[:, :-1].astype(np.float64)
        lengths = np.linalg.norm(content, axis=1) * length
        dots = content @ direction
        cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
        return _best(state.rows, places, np.clip(cosines, -1.0, 1.0)[:, None], k)

    def _change(self, rows: ItemRows, ids: NDArray[np.int64]) -> None:
        self._state = self._state._replace(rows=rows)
        if self._merging is not None:
            self._changed.append(ids)
        elif len(rows.delta) > max(self._merged_above, _MERGED_SHARE * rows.num_indexed):
            if rows.num_dead + len(rows.delta) <= _MOST_DEAD * rows.num_positions:
                merge = partial(self._extend, rows.delta)
            else:
                merge = partial(self._rebuild, *rows.items())
            self._merging = Thread(target=self._try, args=(merge,), daemon=True)
            self._merging.start()

    def _try(self, merge: Callable[[], None]) -> None:
        """Merge; after a failure, as of memory, it is tried again with a delta twice as long."""
        try:
            merge()
            self._merged_above = _MERGED_ABOVE
        except Exception as error:  # noqa: BLE001 - the delta is searched on, however it failed
            _log.warning("the index could not be merged: %s", type(error).__name__)
            with self._changing:
                self._changed, self._merging = [], None
                self._merged_above = 2 * len(self._state.rows.delta)

    def _extend(self, delta: NDArray[np.float32]) -> None:
        """Make an engine that has the delta, too; what came since stays in the delta."""
        engine, rows = self._state
        extended = engine.extended(delta)
        with self._changing:
            if extended is not None:
                num_indexed = rows.num_indexed + len(delta)
                self._state = IndexState(extended, self._state.rows.indexed(num_indexed))
                self._changed, self._merging = [], None
                return
            items = self._state.rows.items()
        self._rebuild(*items)

    def _rebuild(self, ids: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Build a main index of items `ids` [k] at `places` [k]; then take what changed since."""
        engine, rows = self._state
        rebuilt = engine.rebuilt(rows.vectors(places))
        no_rows = np.empty(0, np.int32)
        merged = ItemRows.over(rebuilt.vectors, ids[rebuilt.rows], no_rows)
        with self._changing:
            rows = self._state.rows
            changed = np.unique(np.concatenate([NO_IDS, *self._changed]))
            held = rows.held(changed)
            there = held >= 0
            merged = merged.remove(changed[~there])
            none = np.full(np.count_nonzero(there), -1, np.int64)
            merged = merged.put(changed[there], rows.vectors(held[there]), none)
            hidden = np.flatnonzero(rows.hidden)
            merged = merged.hide(hidden, np.ones(len(hidden), bool))
            merged = replace(merged, num_revived=rows.num_revived + 1)
            self._state = IndexState(rebuilt, merged)
            self._changed, self._merging = [], None


def _vectors_of(queries: Sequence[Query], dimension: int) -> NDArray[np.float32]:
    """Return [B, d] the vectors of queries, B ≥ 1. Raises ValueError for queries that are wrong."""
    for query in queries:
        query.check(dimension)
    parts = np.concatenate([query.parts for query in queries])
    # The sum first, which takes half the time.
    if not isfinite(parts.sum()) and not np.isfinite(parts).all():
        raise ValueError("a query is not finite")
    if len(parts) == len(queries):
        return parts
    starts = np.cumsum([0, *(len(query.parts) for query in queries[:-1])])
    vectors: NDArray[np.float32] = np.add.reduceat(parts, starts)
    return vectors


def _search_block(
    state: IndexState, queries: Sequence[Query], vectors: NDArray[np.float32]
) -> list[Hits]:
    rows, hits = state.rows, []
    found = candidates(state, queries, vectors)
    for query, vector, places in zip(queries, vectors, found, strict=True):
        added = AddedScores.of(rows, query) if query.added else None
        if added is not None and len(added.places) and len(places) >= query.k:
            slack = float(rounding(rows, vector))
            places = contenders(rows, vector, query.k, places, added, slack)
        scores = part_scores(rows, query.parts, places)
        if added is not None:
            scores += added.of_places(places)
        hits.append(_best(rows, places, scores, query.k))
    return hits


def _best(
    rows: ItemRows, places: NDArray[np.int64], part_scores: NDArray[np.float64], k: int
) -> Hits:
    # All ids are read at once, and last: see `ItemRows`.
    ids = rows.ids[places]
    scores = part_scores.sum(1).astype(np.float32)
    order = np.lexsort((ids, -scores))
    if ids.min(initial=0) < 0:
        order = order[ids[order] >= 0]
    order = order[:k]
    return Hits(ids[order], scores[order], part_scores[order].astype(np.float32))
