"""The interface of a search engine of the item index."""

from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self

import faiss
import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """A read-only index of n vectors, searched by inner product. Thread-safe.

    Positions number its vectors, in an order of its own.
    """

    is_exact: ClassVar[bool]
    """True: a search never misses one of the best rows."""
    scan_share: ClassVar[float]
    """Up to this share of passing rows, scoring them one by one is faster than a search."""

    @property
    def num_fallbacks(self) -> int | None:
        """How many queries were answered without the process that searches, among few items only.

        None: an engine that searches in this process.
        """

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[n, d] what it was built of, by position."""

    @property
    def rows(self) -> NDArray[np.int32]:
        """[n] which row of what it was built of is at each position."""

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
        """Return positions among which those of largest cosine with [d] `vector` mostly lie, the
        last dimension left out, when a `share` of all may be returned. None: they may lie anywhere.

        Those that have this very vector are among them.
        """

    def extended(self, vectors: NDArray[np.float32]) -> "Engine | None":
        """Make an engine in memory that has more vectors [m, d], at the positions that follow.

        None: they are too unlike those that it has; `rebuilt` finds all of them.
        """

    def rebuilt(self, vectors: NDArray[np.float32]) -> "Engine":
        """Index other vectors [n, d] in memory as `build` would, for the depth of this one."""


class StoredEngine(Engine, Protocol):
    """An engine whose whole index is one file of a bundle."""

    kind: ClassVar[str]
    """Its name in a bundle's manifest."""

    @classmethod
    def build(cls, vectors: NDArray[np.float32]) -> Self:
        """Index finite vectors [n, d] in memory."""

    def write(self, path: Path) -> None:
        """Write the index to a file."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index. Raises BundleError (BUNDLE_CORRUPT) for a file of another kind."""


class MilvusAddress(NamedTuple):
    """Where Milvus listens."""

    uri: str
    """As `http://host:19530`, or `https://`."""
    token: str = ""
    """`user:password` or a key; empty without authentication."""
