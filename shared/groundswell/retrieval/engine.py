"""The interface of a search engine of the item index, and the engines that there are."""

from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import INDEX, Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.retrieval.faiss_file import kind_of
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.hnsw import HnswEngine

EXACT_UP_TO = 200_000
"""The most rows that are indexed for exact search; more rows get an HNSW graph."""


class Engine(Protocol):
    """A read-only index of n vectors in one file, searched by inner product. Thread-safe."""

    kind: ClassVar[str]
    """Its name in a bundle's manifest."""
    is_exact: ClassVar[bool]
    """True: a search never misses one of the best rows."""
    scan_share: ClassVar[float]
    """Up to this share of passing rows, scoring them one by one is faster than a search."""

    @classmethod
    def build(cls, vectors: NDArray[np.float32], path: Path) -> None:
        """Write an index of finite vectors [n, d]."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index. Raises BundleError (BUNDLE_CORRUPT) for a file of another kind."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[n, d] what was indexed."""

    def search(
        self, vector: NDArray[np.float32], k: int, passing: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k rows of largest inner product with `vector` [d] among those that pass.

        `passing` [n] is True where a row may be returned. Returns scores [k] and rows [k], best
        first; row -1 where fewer were found.
        """


ENGINES: dict[str, type[Engine]] = {one.kind: one for one in (FlatEngine, HnswEngine)}
"""By the kind that a manifest names."""


def kind_for(num_rows: int) -> str:
    """Choose the kind of index for a catalogue of `num_rows` items."""
    return FlatEngine.kind if num_rows <= EXACT_UP_TO else HnswEngine.kind


def build_index(vectors: NDArray[np.float32], path: Path) -> None:
    """Write an index of vectors [n, d] for the inner product, of the kind for so many.

    Raises ValueError for vectors that are not a finite float32 matrix.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise ValueError("an index needs a finite float32 matrix")
    ENGINES[kind_for(len(vectors))].build(np.ascontiguousarray(vectors), path)


def open_index(bundle: Bundle) -> Engine:
    """Open the index of a bundle's items, of the kind that its manifest names.

    Raises BundleError; see `open_engine`.
    """
    shape = (len(bundle.item_ids), bundle.manifest.dimension)
    return open_engine(bundle.path / INDEX, shape, bundle.manifest.index_kind)


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
