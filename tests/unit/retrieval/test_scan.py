"""An index that scores all of a small catalogue finds what its engine would find."""

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.neighbours import Sparse
from groundswell.retrieval.query import Query
from groundswell.retrieval.scan import SCANNED_UP_TO

N, D = 300, 8


def changed(vectors: NDArray[np.float32], rng: np.random.Generator, up_to: int) -> ItemIndex:
    """An index of which some items are gone, some are new, and one is hidden."""
    index = ItemIndex(FlatEngine.build(vectors), scanned_up_to=up_to)
    index.remove(np.arange(10, 20))
    index.put(np.arange(N, N + 25), rng.standard_normal((25, D)).astype(np.float32))
    index.hide(np.array([3]), np.array([True]))
    return index


@pytest.mark.parametrize("seed", range(25))
def test_the_scan_finds_what_the_engine_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((N, D)).astype(np.float32)
    vectors[40:60] = vectors[40]  # so that some scores are equal
    engine, scanned = (
        changed(vectors, np.random.default_rng(seed), up_to) for up_to in (0, SCANNED_UP_TO)
    )
    queries = []
    for k in (1, 5, 40, N + 100):
        near = vectors[[40]] + np.float32(seed % 2) * rng.standard_normal((1, D)).astype(np.float32)
        ids = [np.sort(rng.choice(N + 40, n, replace=False)) for n in (60, 150)]
        added = [Sparse(some, rng.integers(0, 3, len(some)).astype(np.float32)) for some in ids]
        allowed = IdSet.of(rng.random(N + 30) < 0.5)
        exclude = rng.choice(N + 40, 12, replace=False)
        queries += [
            Query(near, k),
            Query(np.concatenate([near, near]), k, exclude, allowed if k % 2 else None, added),
        ]
    together = scanned.search(queries)
    for query, found in zip(queries, together, strict=True):
        [due], [alone] = (index.search([query]) for index in (engine, scanned))
        for one, *others in zip(due, found, alone, strict=True):
            for other in others:
                np.testing.assert_array_equal(one, other)
