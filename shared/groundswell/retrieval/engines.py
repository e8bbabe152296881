"""The engines of the item index: builds one that suits a catalogue, opens that of a bundle."""

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import INDEX, Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.retrieval.engine import Engine, MilvusAddress, StoredEngine
from groundswell.retrieval.faiss_file import kind_of
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.hnsw import HnswEngine
from groundswell.retrieval.ivf import IvfEngine

ENGINES: dict[str, type[StoredEngine]] = {
    one.kind: one for one in (FlatEngine, HnswEngine, IvfEngine)
}
"""By the kind that a manifest names. A setting of the ranker can choose Milvus instead."""
EXACT_UP_TO = 50_000
"""The most rows that are indexed for exact search; above, cells are faster, even all of them."""
_K, _NUM_FOUND = 10, 60
"""Recall is of the best 10, among as many as a search for 10 scores exactly."""
_RECALL = 0.985
"""What the depth must reach: .98, and what another sample of queries may fall short of that."""
_MOST_QUERIES = 500


def open_index(bundle: Bundle, milvus: MilvusAddress | None = None) -> Engine:
    """Open the index of a bundle's items, of the kind that its manifest names.

    With `milvus`, search there instead; blocks while the bundle's collection is filled. Raises
    BundleError; see `open_engine`.
    """
    if milvus is not None:
        from groundswell.retrieval.milvus import MilvusEngine  # an extra of its own

        return MilvusEngine.of(bundle.item_vectors, milvus)
    n, d = bundle.item_vectors.shape
    return open_engine(bundle.path / INDEX, (n, d), bundle.manifest.index_kind)


def open_engine(path: Path, shape: tuple[int, int], kind: str | None = None) -> Engine:
    """Open an index file of n x d vectors; `kind` None: a FAISS index, of the file's own kind.

    Raises BundleError: BUNDLE_FORMAT for a kind without an engine here, BUNDLE_CORRUPT when the
    file is not an index of that kind and shape.
    """
    kind = kind or kind_of(path)
    if kind not in ENGINES:
        raise BundleError("BUNDLE_FORMAT", f"{path.name} is of an unknown kind: {kind}")
    engine = ENGINES[kind].open(path)
    found = engine.vectors.shape
    if found != shape:
        message = f"{path.name} is {found[0]} x {found[1]}, not {shape[0]} x {shape[1]}"
        raise BundleError("BUNDLE_CORRUPT", message)
    return engine


def build_index(
    vectors: NDArray[np.float32], path: Path, queries: NDArray[np.float32] | None = None
) -> tuple[str, dict[str, float]]:
    """Write an index of vectors [n, d] for the inner product; return its kind and its figures.

    Of a large catalogue it is an inverted file, as deep as some of `queries` [q, d] need, the
    vectors of users as they are served; without them, items stand for users. The figures are
    "index.depth" and "index.recall@10"; an exact index has none. It is exact where even all cells
    do not reach the recall: their codes are too coarse for these vectors. Raises ValueError for
    vectors that are not a finite float32 matrix.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise ValueError("an index needs a finite float32 matrix")
    if len(vectors) > EXACT_UP_TO:
        built = IvfEngine.build(vectors)
        asked = vectors if queries is None or not len(queries) else queries
        recall = _deepened(built, _some(asked))
        if recall >= _RECALL:
            built.write(path)
            return built.kind, {"index.depth": built.depth, "index.recall@10": recall}
    exact = FlatEngine.build(vectors)
    exact.write(path)
    return exact.kind, {}


def _some(queries: NDArray[np.float32]) -> NDArray[np.float32]:
    step = -(-len(queries) // _MOST_QUERIES)
    return np.ascontiguousarray(queries[::step])


def _deepened(engine: IvfEngine, queries: NDArray[np.float32]) -> float:
    """Raise the depth until the recall suffices, or all cells are read; return the recall."""
    _, best = faiss.knn(queries, engine.vectors, _K, metric=faiss.METRIC_INNER_PRODUCT)
    engine.depth = 1
    while True:
        _, found = engine.search(queries, _NUM_FOUND, None, 1.0)
        pairs = zip(best, found, strict=True)
        recall = float(np.mean([np.isin(some, among).mean() for some, among in pairs]))
        if recall >= _RECALL or engine.depth == engine.num_cells:
            return recall
        engine.depth += max(engine.depth // 4, 1)
