"""Item indexes of small random vectors, and what a search of them must find."""

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex

D = 8


def opened(vectors: NDArray[np.float32], ids: NDArray[np.int64] | None = None) -> ItemIndex:
    return ItemIndex(FlatEngine.build(vectors), ids)


def reference(
    vectors: dict[int, NDArray[np.float32]],
    query: NDArray[np.float32],
    k: int,
    exclude: set[int],
    allowed: IdSet | None,
) -> list[int]:
    passing = set() if allowed is None else set(allowed.ids.tolist())
    scores = {
        item: np.float32(vector.astype(np.float64) @ query.astype(np.float64))
        for item, vector in vectors.items()
        if item not in exclude and (allowed is None or item in passing)
    }
    return sorted(scores, key=lambda item: (-scores[item], item))[:k]


def random_vectors(seed: int, n: int) -> NDArray[np.float32]:
    """Coarse values, so that equal scores are common."""
    values = np.random.default_rng(seed).integers(-2, 3, size=(n, D))
    return values.astype(np.float32)
