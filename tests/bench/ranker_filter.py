"""The lines "ranker.filter": a search of a million items within a filter, against one without."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query
from tests.bench.harness import Line
from tests.bench.large import LargeCatalogue, built_index, milliseconds, recall

_ITEMS = 1_000_000
_K = 10
_NUM_QUERIES = 200
_SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
_SEED = 5


def measure(folder: Path) -> list[Line]:
    """Measure filters that pass random items, and filters that pass items of few categories."""
    del folder
    built = built_index(_ITEMS)
    index, rng = ItemIndex(built.engine), np.random.default_rng(_SEED)
    lines: list[Line] = []
    for share in _SHARES:
        at_random = rng.random(_ITEMS) < share
        lines += _measured(f"ranker.filter.random.{share:.2%}", index, built.catalogue, at_random)
        correlated = _of_few_categories(built.catalogue, share, rng)
        name = f"ranker.filter.correlated.{share:.2%}"
        lines += _measured(name, index, built.catalogue, correlated)
    return lines


def _of_few_categories(
    catalogue: LargeCatalogue, share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Pass a share of all items, out of as few categories as have so many."""
    due = int(share * _ITEMS)
    passing = np.zeros(_ITEMS, dtype=bool)
    for category in rng.permutation(np.unique(catalogue.categories)):
        members = rng.permutation(np.flatnonzero(catalogue.categories == category))
        passing[members[: due - np.count_nonzero(passing)]] = True
    return passing


def _measured(
    name: str, index: ItemIndex, catalogue: LargeCatalogue, passing: NDArray[np.bool_]
) -> Iterator[Line]:
    queries, allowed = catalogue.queries[:_NUM_QUERIES], IdSet.of(passing)

    def find(allowed: IdSet | None, query: NDArray[np.float32]) -> list[int]:
        [hits] = index.search([Query(query[None], _K, allowed=allowed)])
        ids: list[int] = hits.ids.tolist()
        return ids

    found = [find(allowed, query) for query in queries]
    sides: dict[str, Callable[[NDArray[np.float32]], object]] = {
        "within": partial(find, allowed),
        "without": partial(find, None),
    }
    times = milliseconds(sides, queries)
    ratio = float(np.median(times["within"]) / np.median(times["without"]))
    ids = np.flatnonzero(passing)
    scores = queries @ catalogue.vectors[ids].T
    best = ids[np.argpartition(-scores, _K - 1)[:, :_K]]
    shortest = min(len(some) for some in found)
    yield Line(name, ratio, f"× a search without filter; {len(ids):,} items pass").at_most(2)
    yield Line(f"{name}.recall@10", recall(found, best), f"of {len(queries)} searches").at_least(
        0.95
    )
    yield Line(f"{name}.page", shortest, f"items in the shortest page of {_K}").at_least(_K)
