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
from groundswell.retrieval.query import Query

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


def candidates(state: IndexState, queries: Sequence[Query]) -> list[NDArray[np.int64]]:
    """Return for each query some positions, its best k by inner product and mostly few more.

    None of them is excluded, or not allowed.
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
        some = [queries[b] for b in group]
        found.update(zip(group, _searched(state, some), strict=True))
    return [found[b] for b in range(len(queries))]


def rounding(rows: ItemRows, vector: NDArray[np.float32]) -> float:
    """Bound how far two float32 inner products with [d] `vector` may be from the exact order."""
    return 2.0 * len(vector) * _EPSILON * float(np.linalg.norm(vector)) * rows.longest


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
    n, share = len(rows.main), _share(rows, allowed)
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
    return 1.0 if allowed is None else min(allowed.count / max(len(rows.main), 1), 1.0)


def _may_be_best(scores: NDArray[np.float32], k: int, slack: float) -> NDArray[np.bool_]:
    may_be: NDArray[np.bool_] = scores >= np.partition(scores, -k)[-k] - slack
    return may_be


def _is_scanned(state: IndexState, query: Query) -> bool:
    """Whether to score all that pass: when few do, or when about as many are asked for."""
    n = state.rows.num_positions
    most = n if query.allowed is None else query.allowed.count
    few = query.k if query.allowed is None else state.engine.scan_share * n + query.k + _NUM_SPARE
    return most <= few or query.k > _LARGEST_SEARCH


def _searched(state: IndexState, queries: Sequence[Query]) -> list[NDArray[np.int64]]:
    """Search for queries with the same filter."""
    engine, rows = state
    allowed, n = queries[0].allowed, len(rows.main)
    wanted = max(
        _num_wanted(engine, one.k) + min(len(one.exclude), _MOST_EXCLUDED) for one in queries
    )
    share = _share(rows, allowed)
    selector = None
    if allowed is not None or rows.num_dead > _FEW_DEAD * n:
        selector = _selector(rows, allowed)
    vectors = np.stack([one.vector for one in queries])
    of_delta = _of_delta(rows, queries, vectors)
    if allowed is not None and share <= _LARGEST_GATHERED and isinstance(engine, IvfEngine):
        passing = _by_cell(engine, rows, allowed)
        gathered = [_gathered(state, query, passing) for query in queries]
        return [np.concatenate(each) for each in zip(gathered, of_delta, strict=True)]
    scores, found = engine.search(vectors, wanted, selector, share)
    best = []
    for query, *of_main, more in zip(queries, scores, found, of_delta, strict=True):
        places = _passing(state, query, *of_main)
        if places is None:
            places = _searched_within(state, query, share)
        best.append(np.concatenate([places, more]))
    return best


def _num_wanted(engine: Engine, k: int) -> int:
    return k + _NUM_SPARE if engine.is_exact else 2 * k + _NUM_SPARE_CODES


def _by_cell(engine: IvfEngine, rows: ItemRows, allowed: IdSet) -> PlacesByCell:
    """Order the positions of the main index that a filter passes; kept with the filter."""
    key = (id(engine), rows.num_revived)
    if allowed.kept is None or allowed.kept[0] != key:
        places = rows.find(allowed.ids)
        places = places[(places >= 0) & (places < len(engine.vectors))]
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
        places = best_of(rows, query, places[places < len(rows.main)])
    return places


def _passing(
    state: IndexState, query: Query, scores: NDArray[np.float32], found: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Return what was found and passes; None when the best k may not be among it."""
    engine, rows = state
    passing = (found >= 0) & rows.passing(found, query.exclude, query.allowed)
    places = found[passing]
    if len(places) < query.k:
        return None
    if engine.is_exact and found[-1] >= 0:
        # Which of the equals belong to the page, only exact scores can tell.
        is_tied = scores[passing][query.k - 1] - scores[-1] <= rounding(rows, query.vector)
        return None if is_tied else places
    return places


def _searched_within(state: IndexState, query: Query, share: float) -> NDArray[np.int64]:
    """Search among nothing but what may be returned; score all of it when that finds too few."""
    engine, rows = state
    selector = _selector(rows, query.allowed)
    excluded = rows.find(query.exclude)
    if len(excluded):
        others = faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded))
        selector = faiss.IDSelectorAnd(selector, others)
    wanted = _num_wanted(engine, query.k)
    scores, found = engine.search(query.vector[None], wanted, selector, share)
    places = _passing(state, query, scores[0], found[0])
    if places is not None:
        return places
    places = rows.all_passing(query.exclude, query.allowed)
    return best_of(rows, query, places[places < len(rows.main)])


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
    n, m = len(rows.main), len(rows.delta)
    if m == 0:
        return [np.empty(0, np.int64)] * len(queries)
    places = np.arange(n, n + m)
    passing = rows.passing(places, np.empty(0, np.int64), queries[0].allowed)
    products = vectors @ rows.delta.T
    found = []
    for query, scores in zip(queries, products, strict=True):
        scores[~passing] = -np.inf
        excluded = rows.find(query.exclude)
        scores[excluded[excluded >= n] - n] = -np.inf
        may_be = scores > -np.inf
        if m > 4 * query.k:
            may_be &= _may_be_best(scores, query.k, rounding(rows, query.vector))
        found.append(places[may_be])
    return found
