"""The inverted file: vectors in cells of near ones; a search reads the cells that suit it best.

Sivic and Zisserman 2003 (inverted files); Jégou, Douze and Schmid 2011 (for vectors). The cells
hold one byte for each dimension of a vector; whoever searches scores the best of them exactly.
"""

from pathlib import Path
from typing import ClassVar, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError

_VECTORS_PER_CELL = 256
_TRAINED_ON = 40
"""So many vectors for each cell find the cells' centres."""
_ROUNDS = 6
_SEED = 1
_SHARE_POWER = 0.5
_FIRST_DEPTH = 16


class IvfEngine:
    """A FAISS inverted file and the vectors that it was built of; see `engine.Engine`.

    Positions go cell by cell. In its file come the rows and the vectors by position, as arrays of
    numpy, then the inverted file as FAISS writes it.
    """

    kind: ClassVar = "ivf"
    is_exact: ClassVar = False
    scan_share: ClassVar = 0.004

    def __init__(
        self,
        index: faiss.IndexIVFScalarQuantizer,
        vectors: NDArray[np.float32],
        rows: NDArray[np.int32],
        source: NDArray[np.uint8] | None = None,
    ) -> None:
        self.index, self.vectors, self.rows = index, vectors, rows
        self._source = source
        """What the lists of `index` lie in."""
        sizes = [index.invlists.list_size(cell) for cell in range(index.nlist)]
        self._sizes = np.array(sizes, np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._directions = _directions(index)

    @property
    def depth(self) -> int:
        """How many cells a search reads when all rows pass."""
        return int(self.index.nprobe)

    @depth.setter
    def depth(self, cells: int) -> None:
        self.index.nprobe = min(cells, self.index.nlist)

    @property
    def num_cells(self) -> int:
        """How many cells there are."""
        return int(self.index.nlist)

    @classmethod
    def build(cls, vectors: NDArray[np.float32]) -> Self:
        """Index finite vectors [n, d] in memory, with as many threads as FAISS may use."""
        d = vectors.shape[1]
        num_cells = max(len(vectors) // _VECTORS_PER_CELL, 1)
        centres = faiss.Kmeans(
            d,
            num_cells,
            niter=_ROUNDS,
            seed=_SEED,
            max_points_per_centroid=_TRAINED_ON,
            min_points_per_centroid=1,
        )
        centres.train(vectors)
        coarse = faiss.IndexFlatIP(d)
        coarse.add(centres.centroids)
        return cls._filled(coarse, vectors, _FIRST_DEPTH)

    @classmethod
    def _filled(cls, coarse: faiss.Index, vectors: NDArray[np.float32], depth: int) -> Self:
        d = vectors.shape[1]
        index = faiss.IndexIVFScalarQuantizer(
            coarse,
            d,
            coarse.ntotal,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
        )
        index.by_residual = False
        # A vector goes into the cell whose centre is nearest; queries ask for the cells of largest
        # inner product.
        nearest = faiss.IndexFlatL2(d)
        nearest.add(coarse.reconstruct_n(0, coarse.ntotal))
        cells = nearest.search(vectors, 1)[1][:, 0]
        rows = np.argsort(cells, kind="stable").astype(np.int32)
        placed, cells = vectors[rows], np.ascontiguousarray(cells[rows])
        index.train(placed)
        positions = np.arange(len(placed))
        index.add_core(
            len(placed), faiss.swig_ptr(placed), faiss.swig_ptr(positions), faiss.swig_ptr(cells)
        )
        index.nprobe = min(depth, index.nlist)
        return cls(index, placed, rows)

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
            with path.open("rb") as file:
                rows = np.lib.format.read_array(file, allow_pickle=False)
                vectors = np.lib.format.read_array(file, allow_pickle=False)
                source = np.fromfile(file, np.uint8)
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(source), len(source))
            index = faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC)
        except (ValueError, RuntimeError) as error:
            raise BundleError("BUNDLE_CORRUPT", f"{path.name} is no ivf index: {error}") from error
        if not isinstance(index, faiss.IndexIVFScalarQuantizer) or len(rows) != index.ntotal:
            raise BundleError("BUNDLE_CORRUPT", f"{path.name} is no ivf index of its vectors")
        return cls(index, vectors, rows, source)

    def search(
        self,
        vectors: NDArray[np.float32],
        k: int,
        passing: faiss.IDSelector | None,
        share: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find k of the best positions for each vector; see `engine.Engine.search`."""
        faiss.omp_set_num_threads(1)  # holds for the calling thread alone
        parameters = faiss.SearchParametersIVF(sel=passing, nprobe=self._num_read(share))
        scores, found = self.index.search(vectors, k, params=parameters)
        return scores, found

    def region(self, direction: NDArray[np.float32], share: float) -> NDArray[np.int64]:
        """Return the positions of the cells that lie in a direction; see `engine.Engine.region`."""
        num_read = self._num_read(share)
        cells = np.argpartition(self._directions @ -direction, num_read - 1)[:num_read]
        sizes = self._sizes[cells]
        skipped = self._starts[cells] - (np.cumsum(sizes) - sizes)
        positions: NDArray[np.int64] = np.arange(sizes.sum()) + np.repeat(skipped, sizes)
        return positions

    def rebuilt(self, vectors: NDArray[np.float32]) -> "IvfEngine":
        """Index other vectors in the same cells."""
        faiss.omp_set_num_threads(1)
        return IvfEngine._filled(self.index.quantizer, vectors, self.depth)

    def _num_read(self, share: float) -> int:
        """Return how many cells are read when a share of the rows passes: more when fewer do."""
        return min(int(self.depth / max(share, 1e-6) ** _SHARE_POWER), self.num_cells)


def _directions(index: faiss.IndexIVF) -> NDArray[np.float32]:
    """Return [cells, d] the centres at length 1, without the last dimension."""
    centres: NDArray[np.float32] = index.quantizer.reconstruct_n(0, index.nlist)
    centres[:, -1] = 0.0
    lengths = np.linalg.norm(centres, axis=1, keepdims=True)
    centres /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return centres
