"""An index whose vectors Milvus searches, in processes of its own; the vectors are on disk here.

Malkov and Yashunin 2018 (the graph that Milvus builds).
"""

from tempfile import TemporaryFile
from typing import ClassVar, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.directions import directions
from groundswell.retrieval.engine import MilvusAddress
from groundswell.retrieval.milvus_vectors import (
    DIRECTION,
    MOST_FOUND,
    SEARCH_TIMEOUT_S,
    VECTOR,
    MilvusVectors,
)

_NUM_POPULAR = 50_000
"""So many items of largest popularity bias are compared while Milvus does not answer."""
_MORE_FOUND = 1.3
"""Times as many are found as must pass: of few items fewer may pass than on average."""
_WIDER = 4
_REGION = 1_024
_LARGEST_TAIL = 0.25
"""With a larger share of vectors that came later, all go into a new collection."""


class MilvusEngine:
    """Vectors in Milvus, and those that came later in this process; see `engine.Engine`.

    Milvus cannot see which rows pass: more are asked for, and those that pass are kept. While it
    does not answer, a search finds the best of the most popular items.
    """

    is_exact: ClassVar = False
    scan_share: ClassVar = 0.01

    def __init__(
        self,
        address: MilvusAddress,
        stored: MilvusVectors,
        vectors: NDArray[np.float32],
        later: NDArray[np.float32],
        popular: faiss.IndexIDMap,
    ) -> None:
        """Milvus has `vectors` [n, d]; the positions of `later` [m, d] follow theirs."""
        self.vectors = vectors
        self.rows = np.arange(len(vectors), dtype=np.int32)
        self._address, self._stored, self._popular = address, stored, popular
        self._later = later
        self._tail = _flat(later, np.arange(len(vectors), len(vectors) + len(later)))

    @classmethod
    def of(
        cls,
        vectors: NDArray[np.float32],
        address: MilvusAddress,
        *,
        shared: bool = True,
        timeout_s: float = SEARCH_TIMEOUT_S,
    ) -> Self:
        """Search finite vectors [n, d] by Milvus; blocks while their collection is filled.

        Where Milvus is not there, it is looked for in the background. See `MilvusVectors`.
        """
        stored = MilvusVectors(address, vectors, shared=shared, timeout_s=timeout_s)
        bias = vectors[:, -1]
        first = max(len(bias) - _NUM_POPULAR, 0)
        some = np.argpartition(bias, first)[first:]
        return cls(address, stored, vectors, vectors[:0], _flat(vectors[some], some))

    @property
    def num_fallbacks(self) -> int:
        """The number of queries that were answered without Milvus."""
        return self._stored.num_fallbacks

    @property
    def is_up(self) -> bool:
        """Whether the next search asks Milvus."""
        return self._stored.is_up

    def search(
        self,
        vectors: NDArray[np.float32],
        k: int,
        passing: faiss.IDSelector | None,
        share: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find k of the best positions for each vector; see `engine.Engine.search`."""
        faiss.omp_set_num_threads(1)  # holds for the calling thread alone
        parameters = faiss.SearchParameters(sel=passing)
        found = self._found(vectors, k, passing, share)
        if found is None:
            self._stored.num_fallbacks += len(vectors)
            found = self._popular.search(vectors, k, params=parameters)
        tail = self._tail.search(vectors, k, params=parameters)
        return _best(np.hstack([found[0], tail[0]]), np.hstack([found[1], tail[1]]), k)

    def _found(
        self,
        vectors: NDArray[np.float32],
        k: int,
        passing: faiss.IDSelector | None,
        share: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Ask Milvus for more and more until k pass for each vector, or it finds no more."""
        most = min(len(self.vectors), MOST_FOUND)
        wanted = min(k if passing is None else int(_MORE_FOUND * k / share) + 1, most)
        while True:
            found = self._stored.search(VECTOR, vectors, wanted)
            if found is None or passing is None:
                return found
            scores, positions = found
            may_be = np.array([n for n in np.unique(positions).tolist() if passing.is_member(n)])
            passes = np.isin(positions, may_be) & (positions >= 0)
            if wanted == most or passes.sum(1).min() >= k:
                return np.where(passes, scores, -np.inf), np.where(passes, positions, -1)
            wanted = min(_WIDER * wanted, most)

    def region(self, vector: NDArray[np.float32], share: float) -> NDArray[np.int64] | None:
        """Return the positions of nearest direction; see `engine.Engine.region`."""
        wanted = min(int(_REGION / share), MOST_FOUND, max(len(self.vectors) // 2, 1))
        found = self._stored.search(DIRECTION, directions(vector[None]), wanted)
        if found is None:
            return None
        tail = len(self.vectors) + np.arange(len(self._later))
        return np.concatenate([found[1][found[1] >= 0], tail])

    def extended(self, vectors: NDArray[np.float32]) -> "MilvusEngine | None":
        """Have more vectors in this process."""
        later = np.concatenate([self._later, vectors])
        if len(later) > _LARGEST_TAIL * len(self.vectors):
            return None
        return MilvusEngine(self._address, self._stored, self.vectors, later, self._popular)

    def rebuilt(self, vectors: NDArray[np.float32]) -> "MilvusEngine":
        """Have other vectors in a collection that is dropped with the engine."""
        return MilvusEngine.of(_on_disk(vectors), self._address, shared=False)


def _on_disk(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the same, mapped from a file without a name, which nobody can cut."""
    with TemporaryFile() as file:
        vectors.tofile(file)
        file.flush()
        return np.memmap(file, np.float32, "r", shape=vectors.shape).view(np.ndarray)


def _flat(vectors: NDArray[np.float32], positions: NDArray[np.integer]) -> faiss.IndexIDMap:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(vectors.shape[1]))
    index.add_with_ids(np.ascontiguousarray(vectors), positions.astype(np.int64))
    return index


def _best(
    scores: NDArray[np.float32], positions: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the best k of each row; what has no position comes last."""
    order = np.argsort(np.where(positions >= 0, -scores, np.inf), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
