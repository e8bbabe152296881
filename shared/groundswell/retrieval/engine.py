"""The interface of a search engine of the item index, and the engines that there are."""

from pathlib import Path
from typing import ClassVar, Protocol, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import INDEX, Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.retrieval.faiss_file import kind_of
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.hnsw import HnswEngine
from groundswell.retrieval.ivf import IvfEngine


class Engine(Protocol):
    """A read-only index of n vectors in one file, searched by inner product. Thread-safe.

    Positions number its vectors, in an order of its own.
    """

    kind: ClassVar[str]
    """Its name in a bundle's manifest."""
    is_exact: ClassVar[bool]
    """True: a search never misses one of the best rows."""
    scan_share: ClassVar[float]
    """Up to this share of passing rows, scoring them one by one is faster than a search."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index. Raises BundleError (BUNDLE_CORRUPT) for a file of another kind."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[n, d] what was indexed, by position."""

    @property
    def rows(self) -> NDArray[np.int32]:
        """[n] which row of what was indexed is at each position."""

    def search(
        self,
        vectors: NDArray[np.float32],
        k: int,
        passing: faiss.IDSelector | None,
        share: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k positions of largest inner product with each of `vectors` [B, d].

        `passing` says which positions may be returned, about a `share` of them; None: all. Returns
        scores [B, k], about right where the engine is not exact, and positions [B, k], best first;
        -1 where fewer were found.
        """

    def region(self, vector: NDArray[np.float32], share: float) -> NDArray[np.int64] | None:
        """Return positions among which those of largest cosine with [d] `vector` mostly lie, when
        a `share` of all may be returned. None: they may lie anywhere.
        """

    def rebuilt(self, vectors: NDArray[np.float32]) -> "Engine":
        """Make an engine like this one in memory, of other vectors [n, d]."""


ENGINES: dict[str, type[FlatEngine] | type[HnswEngine] | type[IvfEngine]] = {
    one.kind: one for one in (FlatEngine, HnswEngine, IvfEngine)
}
"""By the kind that a manifest names."""


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
