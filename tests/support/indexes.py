"""Item indexes of small random vectors, and what a search of them must find."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.engine import build_index, open_engine
from groundswell.retrieval.item_index import ItemIndex

D = 8


def opened(
    path: Path, vectors: NDArray[np.float32], ids: NDArray[np.int64] | None = None
) -> ItemIndex:
    build_index(vectors, path / "index.faiss")
    return ItemIndex(open_engine(path / "index.faiss", vectors.shape), ids)


def reference(
    vectors: dict[int, NDArray[np.float32]],
    query: NDArray[np.float32],
    k: int,
    exclude: set[int],
    allowed: NDArray[np.bool_] | None,
) -> list[int]:
    scores = {
        item: np.float32(vector.astype(np.float64) @ query.astype(np.float64))
        for item, vector in vectors.items()
        if item not in exclude and (allowed is None or (item < len(allowed) and allowed[item]))
    }
    return sorted(scores, key=lambda item: (-scores[item], item))[:k]


def random_vectors(seed: int, n: int) -> NDArray[np.float32]:
    """Coarse values, so that equal scores are common."""
    values = np.random.default_rng(seed).integers(-2, 3, size=(n, D))
    return values.astype(np.float32)
