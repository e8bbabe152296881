"""The inverted file: vectors in cells of near ones; a search reads the cells that suit it best.

Sivic and Zisserman 2003 (inverted files); Jégou, Douze and Schmid 2011 and André, Kermarrec and Le
Scouarnec 2015 (codes that are compared by table look-ups). The cells hold four bits for each
dimension of a vector; whoever searches scores the best of them exactly.
"""

from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.private_copy import open_private, read_array
from groundswell.retrieval.directions import directions
from groundswell.retrieval.faiss_file import no_part_above

_VECTORS_PER_CELL = 256
_TRAINED_ON = 40
"""So many vectors for each cell find the cells' centres."""
_ROUNDS = 6
"""Of k-means."""
_SEED = 1
_MOST_CELLS = 2**16 - 1
"""Cells are numbered in 16 bits."""
_BITS = 4
"""Of each dimension in a code."""
_SHARE_POWER = 0.35
"""When a share of the rows passes, the depth is divided by this power of it."""
_LEAST_SCORED = 1_024
"""As many passing rows cost little to score."""
_NEARER = 3
"""So many times fewer cells have the nearest by cosine than the best by inner product."""
_FIRST_DEPTH = 16
"""The cells that a search reads until `depth` is set."""
_SAMPLED = 10_000
_FAR, _MOST_FAR = 0.01, 0.1
"""Farther from their centres than all but this share of the vectors, and how many new ones may be:
cells that were made of other vectors would not be read for them."""


class PlacesByCell(NamedTuple):
    """Some positions of an inverted file, in the order of their cells."""

    places: NDArray[np.int64]
    cells: NDArray[np.int64]
    """[c] the cells that have any."""
    starts: NDArray[np.int64]
    """[c] where the positions of each cell begin in `places`."""
    sizes: NDArray[np.int64]
    """[c]"""


class IvfEngine:
    """A FAISS inverted file and the vectors that it was built of; see `engine.Engine`.

    The vectors of a large file are mapped; processes of one host share them.

    Positions go cell by cell, but for those that `extended` added. In its file come the rows and
    the vectors by position, as arrays of numpy, then the inverted file as FAISS writes it.
    """

    kind: ClassVar = "ivf"
    is_exact: ClassVar = False
    num_fallbacks: ClassVar = None
    scan_share: ClassVar = 0.002

    def __init__(
        self,
        index: faiss.IndexIVFPQFastScan,
        vectors: NDArray[np.float32],
        rows: NDArray[np.int32],
        cells: NDArray[np.uint16],
    ) -> None:
        self.index, self.vectors, self.rows, self.cells = index, vectors, rows, cells
        self.depth = int(index.nprobe)
        self.centres: NDArray[np.float32] = index.quantizer.reconstruct_n(0, index.nlist)
        self._directions = directions(self.centres)
        self._squares = np.einsum("cd,cd->c", self.centres, self.centres)
        self._order = np.argsort(cells, kind="stable").astype(np.int32)
        self.sizes = np.bincount(cells, minlength=index.nlist)
        self._starts = np.cumsum(self.sizes) - self.sizes

    @property
    def depth(self) -> int:
        """How many cells a search reads when all rows pass."""
        return self._depth

    @depth.setter
    def depth(self, cells: int) -> None:
        self._depth: int = min(cells, self.index.nlist)
        self.index.nprobe = self._depth
        self._plain = faiss.SearchParametersIVF(nprobe=self._depth)

    @property
    def num_cells(self) -> int:
        """How many cells there are."""
        return len(self.centres)

    @classmethod
    def build(cls, vectors: NDArray[np.float32]) -> Self:
        """Index finite vectors [n, d] in memory, with as many threads as FAISS may use."""
        d = vectors.shape[1]
        num_cells = min(max(len(vectors) // _VECTORS_PER_CELL, 1), _MOST_CELLS)
        centres = faiss.Kmeans(
            d,
            num_cells,
            niter=_ROUNDS,
            seed=_SEED,
            max_points_per_centroid=_TRAINED_ON,
            min_points_per_centroid=1,
        )
        centres.train(vectors)
        return cls._filled(centres.centroids, vectors, _FIRST_DEPTH)

    @classmethod
    def _filled(
        cls, centres: NDArray[np.float32], vectors: NDArray[np.float32], depth: int
    ) -> Self:
        # A vector goes into the cell whose centre is nearest; queries ask for the cells of largest
        # inner product.
        d = vectors.shape[1]
        nearest, coarse = faiss.IndexFlatL2(d), faiss.IndexFlatIP(d)
        nearest.add(centres)
        coarse.add(centres)
        index = faiss.IndexIVFPQFastScan(
            nearest, d, len(centres), d, _BITS, faiss.METRIC_INNER_PRODUCT
        )
        index.by_residual = True
        index.train(vectors)
        index.add_with_ids(vectors, np.arange(len(vectors)))
        rows, cells = _renumbered(index.invlists)
        index.quantizer = coarse
        index.nprobe = min(depth, index.nlist)
        index = faiss.clone_index(index)  # which owns its quantizer
        return cls(index, vectors[rows], rows, cells)

    def write(self, path: Path) -> None:
        """Write the index to a file."""
        with path.open("wb") as file:
            np.save(file, self.rows)
            np.save(file, self.vectors)
            file.write(faiss.serialize_index(self.index))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index. Raises BundleError (BUNDLE_CORRUPT) for a file of another kind."""
        try:
            file, mapped = open_private(path)
            with file:
                rows = read_array(file, mapped=False)
                vectors = read_array(file, mapped=mapped)
                source = np.fromfile(file, np.uint8)
            with no_part_above(len(source)):
                index = faiss.deserialize_index(source)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise BundleError("BUNDLE_CORRUPT", f"{path.name} is no ivf index: {error}") from error
        if not isinstance(index, faiss.IndexIVFPQFastScan) or len(rows) != index.ntotal:
            raise BundleError("BUNDLE_CORRUPT", f"{path.name} is no ivf index of its vectors")
        return cls(index, vectors, rows, _cells(index.invlists))

    def search(
        self,
        vectors: NDArray[np.float32],
        k: int,
        passing: faiss.IDSelector | None,
        share: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find k of the best positions for each vector; see `engine.Engine.search`."""
        faiss.omp_set_num_threads(1)  # holds for the calling thread alone
        num_read, parameters = self.depth, self._plain
        if passing is not None:
            num_read = self._num_read(share)
            parameters = faiss.SearchParametersIVF(sel=passing, nprobe=num_read)
        vectors = np.ascontiguousarray(vectors)
        # FAISS keeps a heap for each query to find the cells, which takes twice as long.
        products = vectors @ self.centres.T
        cells = np.ascontiguousarray(np.argpartition(products, -num_read)[:, -num_read:])
        firsts = np.arange(0, products.size, self.num_cells)
        nearness = products.take(cells + firsts[:, None])
        scores = np.empty((len(vectors), k), np.float32)
        found = np.empty((len(vectors), k), np.int64)
        self.index.search_preassigned_c(
            len(vectors),
            faiss.swig_ptr(vectors),
            k,
            faiss.swig_ptr(cells),
            faiss.swig_ptr(nearness),
            faiss.swig_ptr(scores),
            faiss.swig_ptr(found),
            False,  # numbers by position
            parameters,
        )
        return scores, found

    def places_near(
        self, vector: NDArray[np.float32], passing: "PlacesByCell"
    ) -> NDArray[np.int64]:
        """Return those positions that pass in the cells of largest inner product with a vector.

        Only cells that have any are looked at, and more of them when fewer of their rows pass; half
        as many as in a search, since none is lost to codes.
        """
        cells = passing.cells
        share = len(passing.places) / self.sizes[cells].sum()
        enough = int(_LEAST_SCORED * len(cells) / len(passing.places)) + 1
        num_read = min(max(self._num_read(share) // 2, enough), len(cells))
        # Of all centres: to gather those of many cells takes longer than to multiply them.
        products = (self.centres @ -vector)[cells]
        near = np.argpartition(products, num_read - 1)[:num_read]
        return passing.places[spans(passing.starts[near], passing.sizes[near])]

    def by_cell(self, places: NDArray[np.int64]) -> "PlacesByCell":
        """Order positions by their cell."""
        of_place = self.cells[places]
        ordered = places[np.argsort(of_place, kind="stable")]
        sizes = np.bincount(of_place, minlength=self.num_cells)
        cells = np.flatnonzero(sizes)
        return PlacesByCell(ordered, cells, (np.cumsum(sizes) - sizes)[cells], sizes[cells])

    def region(self, vector: NDArray[np.float32], share: float) -> NDArray[np.int64]:
        """Return the positions of the cells that lie in the direction of a vector, and of the cell
        that itself is or would be in; see `engine.Engine.region`.
        """
        num_read = max(self._num_read(share) // _NEARER, 1)
        cells = np.argpartition(self._directions @ -vector, num_read - 1)[:num_read]
        own = np.argmin(self._squares - 2 * (self.centres @ vector))
        cells = np.union1d(cells, own)
        return self._order[spans(self._starts[cells], self.sizes[cells])].astype(np.int64)

    def rebuilt(self, vectors: NDArray[np.float32]) -> "IvfEngine":
        """Index other vectors in cells of their own, and read as large a share of the cells."""
        faiss.omp_set_num_threads(1)
        built = IvfEngine.build(vectors)
        built.depth = -(-self.depth * built.num_cells // self.num_cells)
        return built

    def extended(self, vectors: NDArray[np.float32]) -> "IvfEngine | None":
        """Index more vectors in the same cells; None when too many lie far from all cells."""
        faiss.omp_set_num_threads(1)
        n, d = self.index.ntotal, self.index.d
        nearest = faiss.IndexFlatL2(d)
        nearest.add(self.centres)
        squares, found = nearest.search(vectors, 1)
        if np.mean(squares > self._squared_reach()) > _MOST_FAR:
            return None
        index = faiss.clone_index(self.index)
        coarse, index.quantizer = index.quantizer, nearest
        positions = np.arange(n, n + len(vectors))
        index.add_with_ids(vectors, positions)
        index.quantizer = coarse
        return IvfEngine(
            index,
            self.vectors,
            self.rows,
            np.concatenate([self.cells, found[:, 0].astype(np.uint16)]),
        )

    def _squared_reach(self) -> float:
        """Return the squared distance from its cell's centre that most vectors are within."""
        some = slice(None, None, len(self.vectors) // _SAMPLED + 1)
        apart = self.vectors[some] - self.centres[self.cells[: len(self.vectors)][some]]
        return float(np.quantile(np.einsum("nd,nd->n", apart, apart), 1 - _FAR))

    def _num_read(self, share: float) -> int:
        """Return how many cells are read when a share of the rows passes: more when fewer do."""
        return min(int(self.depth / max(share, 1e-6) ** _SHARE_POWER), self.num_cells)


def _cells(lists: faiss.InvertedLists) -> NDArray[np.uint16]:
    """Return the cell of each position, where positions go cell by cell."""
    sizes = [lists.list_size(cell) for cell in range(lists.nlist)]
    return np.repeat(np.arange(lists.nlist, dtype=np.uint16), sizes)


def _renumbered(lists: faiss.InvertedLists) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Number what is in cells by position instead of by row; return the rows, and the cells."""
    cells = _cells(lists)
    rows = np.empty(len(cells), np.int32)
    start = 0
    for cell in range(lists.nlist):
        size = lists.list_size(cell)
        if size:
            ids = faiss.rev_swig_ptr(lists.get_ids(cell), size)
            rows[start : start + size] = ids
            ids[:] = np.arange(start, start + size)
        start += size
    return rows, cells


def spans(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers from each start, as many as its size, one span after the other."""
    skipped = starts - (np.cumsum(sizes) - sizes)
    numbers: NDArray[np.int64] = np.arange(sizes.sum()) + np.repeat(skipped, sizes)
    return numbers
