"""Finds, for each query, few positions of an index among which the best ones lie."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.engine import Engine
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_rows import ItemRows
from groundswell.retrieval.ivf import IvfEngine, PlacesByCell
from groundswell.retrieval.query import Query, excluded

_NUM_SPARE, _NUM_SPARE_CODES = 16, 40
"""Items that a search finds beyond those asked for; more where it compares codes."""
_LARGEST_GATHERED = 0.25
"""Up to this share of passing items, those of the nearest cells are scored one by one."""
_MOST_EXCLUDED = 64
"""Up to so many excluded items are searched for too, and left out of what is found. That is cheaper
than leaving them out of the search."""
_LARGEST_SEARCH = 1_024
"""Of more items at once every one that passes is scored."""
_FEW_DEAD = 0.02
"""Up to this share, positions without an item are left out of what is found in the same way."""
_EPSILON = float(np.finfo(np.float32).eps)


class IndexState(NamedTuple):
    """What one search reads."""

    engine: Engine
    rows: ItemRows


def candidates(
    state: IndexState, queries: Sequence[Query], vectors: NDArray[np.float32]
) -> list[NDArray[np.int64]]:
    """Return for each query some positions, its best k by inner product and mostly few more.

    None of them is excluded, or not allowed. `vectors` [B, d] are those of the queries.
    """
    found: dict[int, NDArray[np.int64]] = {}
    searched: dict[int, list[int]] = defaultdict(list)
    for b, query in enumerate(queries):
        if _is_scanned(state, query):
            places = state.rows.all_passing(query.exclude, query.allowed)
            found[b] = best_of(state.rows, query, places)
        else:
            searched[id(query.allowed)].append(b)
    for group in searched.values():
        if len(group) == len(queries):
            return _searched(state, queries, vectors)
        some = [queries[b] for b in group]
        found.update(zip(group, _searched(state, some, vectors[group]), strict=True))
    return [found[b] for b in range(len(queries))]


def rounding(rows: ItemRows, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Bound how far two float32 inner products with [..., d] `vectors` may be from the exact order.

    Returns a bound for each vector.
    """
    lengths = np.linalg.norm(vectors, axis=-1).astype(np.float64)
    bounds: NDArray[np.float64] = 2.0 * vectors.shape[-1] * _EPSILON * rows.longest * lengths
    return bounds


def best_of(rows: ItemRows, query: Query, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of `places` whose score may be among the best k: the k best and their ties."""
    if len(places) <= 4 * query.k:
        return places
    scores = rows.vectors(places) @ query.vector
    return places[_may_be_best(scores, query.k, rounding(rows, query.vector))]


def near(
    state: IndexState,
    vector: NDArray[np.float32],
    k: int,
    exclude: NDArray[np.int64],
    allowed: IdSet | None,
) -> NDArray[np.int64]:
    """Return positions that hold the best k by cosine with [d] `vector`, without its last value."""
    engine, rows = state
    places = None
    n, share = rows.num_indexed, _share(rows, allowed)
    if share > engine.scan_share:
        places = engine.region(vector, share)
    if places is not None:
        places = np.concatenate([places, np.arange(n, rows.num_positions)])
        places = places[rows.passing(places, exclude, allowed)]
    if places is None or len(places) < k:
        places = rows.all_passing(exclude, allowed)
    if len(places) <= 4 * k:
        return places
    content = rows.vectors(places)[:, :-1]
    lengths = np.sqrt(np.einsum("kd,kd->k", content, content))
    dots = content @ vector[:-1]
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    slack = 4 * content.shape[1] * _EPSILON * float(np.linalg.norm(vector[:-1]))
    return places[_may_be_best(cosines, k, slack)]


def _share(rows: ItemRows, allowed: IdSet | None) -> float:
    """Return about what share of the main index may be returned."""
    return 1.0 if allowed is None else min(allowed.count / max(rows.num_indexed, 1), 1.0)


def _may_be_best(
    scores: NDArray[np.float32], k: int, slack: float | NDArray[np.float64]
) -> NDArray[np.bool_]:
    may_be: NDArray[np.bool_] = scores >= np.partition(scores, -k)[-k] - slack
    return may_be


def _is_scanned(state: IndexState, query: Query) -> bool:
    """Whether to score all that pass: when few do, or when about as many are asked for."""
    n = state.rows.num_positions
    most = n if query.allowed is None else query.allowed.count
    few = query.k if query.allowed is None else state.engine.scan_share * n + query.k + _NUM_SPARE
    return most <= few or query.k > _LARGEST_SEARCH


def _searched(
    state: IndexState, queries: Sequence[Query], vectors: NDArray[np.float32]
) -> list[NDArray[np.int64]]:
    """Search for queries with the same filter."""
    engine, rows = state
    allowed = queries[0].allowed
    share = _share(rows, allowed)
    if allowed is not None and share <= _LARGEST_GATHERED and isinstance(engine, IvfEngine):
        passing = _by_cell(engine, rows, allowed)
        best = [_gathered(state, query, passing) for query in queries]
    else:
        selector = None
        if allowed is not None or rows.num_dead > _FEW_DEAD * rows.num_indexed:
            selector = _selector(rows, allowed)
        wanted = _num_wanted(engine, max(one.k for one in queries))
        wanted += min(max(len(one.exclude) for one in queries), _MOST_EXCLUDED)
        kept = _kept(state, queries, *engine.search(vectors, wanted, selector, share))
        best = [
            _searched_within(state, query, share) if places is None else places
            for query, places in zip(queries, kept, strict=True)
        ]
    if not len(rows.delta):
        return best
    of_delta = _of_delta(rows, queries, vectors)
    return [np.concatenate(each) for each in zip(best, of_delta, strict=True)]


def _num_wanted(engine: Engine, k: int) -> int:
    return k + _NUM_SPARE if engine.is_exact else 2 * k + _NUM_SPARE_CODES


def _by_cell(engine: IvfEngine, rows: ItemRows, allowed: IdSet) -> PlacesByCell:
    """Order the positions of the main index that a filter passes; kept with the filter."""
    key = (id(engine), rows.num_revived)
    if allowed.kept is None or allowed.kept[0] != key:
        places = rows.find(allowed.ids)
        places = places[(places >= 0) & (places < rows.num_indexed)]
        allowed.kept = key, engine.by_cell(places)
    ordered: PlacesByCell = allowed.kept[1]
    return ordered


def _gathered(state: IndexState, query: Query, passing: PlacesByCell) -> NDArray[np.int64]:
    """Score what passes in the nearest cells; all that passes when it is too little."""
    engine, rows = state
    assert isinstance(engine, IvfEngine)
    places = passing.places
    if len(places):
        places = engine.places_near(query.vector, passing)
        # What passes is looked at last, since few of those that passed before do not by now.
        most = query.k + min(len(query.exclude), _MOST_EXCLUDED) + _NUM_SPARE
        places = best_of(rows, query._replace(k=most), places)
        places = places[rows.passing(places, query.exclude, query.allowed)]
    if len(places) < query.k:
        places = rows.all_passing(query.exclude, query.allowed)
        places = best_of(rows, query, places[places < rows.num_indexed])
    return places


def _kept(
    state: IndexState,
    queries: Sequence[Query],
    scores: NDArray[np.float32],
    found: NDArray[np.int64],
) -> list[NDArray[np.int64] | None]:
    """Return what was found and passes, for each query; None when its best k may not be among it.

    `scores` and `found` [B, K] are what an engine found for queries with the same filter.
    """
    engine, rows = state
    ids, allowed = rows.ids[found], queries[0].allowed
    passing = ids >= 0 if allowed is None else allowed.has(ids)
    passing &= found >= 0
    if any(len(one.exclude) for one in queries):
        passing &= ~excluded(ids, queries)
    places = found[passing]
    kept: list[NDArray[np.int64] | None] = []
    start = 0
    for b, (query, size) in enumerate(zip(queries, passing.sum(1).tolist(), strict=True)):
        some = places[start : start + size]
        is_enough = size >= query.k
        if is_enough and engine.is_exact and found[b, -1] >= 0:
            # Which of the equals belong to the page, only exact scores can tell.
            above = scores[b][passing[b]][query.k - 1] - scores[b, -1]
            is_enough = above > rounding(rows, query.vector)
        kept.append(some if is_enough else None)
        start += size
    return kept


def _searched_within(state: IndexState, query: Query, share: float) -> NDArray[np.int64]:
    """Search among nothing but what may be returned; score all of it when that finds too few."""
    engine, rows = state
    selector = _selector(rows, query.allowed)
    excluded = rows.find(query.exclude)
    if len(excluded):
        others = faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded))
        selector = faiss.IDSelectorAnd(selector, others)
    wanted = _num_wanted(engine, query.k)
    found = engine.search(query.vector[None], wanted, selector, share)
    [places] = _kept(state, [query], *found)
    if places is not None:
        return places
    places = rows.all_passing(query.exclude, query.allowed)
    return best_of(rows, query, places[places < rows.num_indexed])


def _selector(rows: ItemRows, allowed: IdSet | None) -> faiss.IDSelector:
    """Select the positions of items that may be returned."""
    if allowed is None:
        by_id = faiss.IDSelectorRange(0, np.iinfo(np.int64).max)
    else:
        by_id = faiss.IDSelectorBitmap(allowed.bits)
    return faiss.IDSelectorTranslated(rows.id_vector, by_id)


def _of_delta(
    rows: ItemRows, queries: Sequence[Query], vectors: NDArray[np.float32]
) -> list[NDArray[np.int64]]:
    """Return the positions of the delta that may be among the best k of each query."""
    n, m = rows.num_indexed, len(rows.delta)
    ids, allowed = rows.ids[n : n + m], queries[0].allowed
    passing = ids >= 0 if allowed is None else allowed.has(ids)
    products = vectors @ rows.delta.T
    products[:, ~passing] = -np.inf
    for scores, query in zip(products, queries, strict=True):
        left_out = rows.find(query.exclude)
        scores[left_out[left_out >= n] - n] = -np.inf
    k = max(one.k for one in queries)
    bars = np.full(len(queries), -np.inf)
    if m > 4 * k:
        bars = np.partition(products, -k)[:, -k] - rounding(rows, vectors)
    may_be = (products >= bars[:, None]) & (products > -np.inf)
    return [n + np.flatnonzero(some) for some in may_be]
