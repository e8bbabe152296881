"""FAISS index files: opens them memory-mapped, and reads their vectors."""

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError

_KINDS = {faiss.IndexFlat: "flat", faiss.IndexHNSW: "hnsw"}


def open_faiss(path: Path, kind: str) -> faiss.Index:
    """Open a FAISS index of a kind; nothing may be added to it.

    Raises BundleError (BUNDLE_CORRUPT) when the file is something else.
    """
    index = _read(path)
    if _kind(index) != kind or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BundleError("BUNDLE_CORRUPT", f"{path.name} is no {kind} index of inner products")
    return index


def kind_of(path: Path) -> str:
    """Return the kind of a FAISS index. Raises BundleError (BUNDLE_CORRUPT) for other files."""
    kind = _kind(_read(path))
    if kind is None:
        raise BundleError("BUNDLE_CORRUPT", f"{path.name} is of an unknown kind")
    return kind


def stored_vectors(index: faiss.Index, flat: faiss.Index) -> NDArray[np.float32]:
    """Return the vectors [n, d] of `flat`, which is `index` or its storage, without a copy."""
    stored = faiss.rev_swig_ptr(flat.get_xb(), index.ntotal * index.d)
    vectors: NDArray[np.float32] = stored.reshape(index.ntotal, index.d)
    return vectors


def _read(path: Path) -> faiss.Index:
    try:
        # FAISS aborts the process on a write to an index that is memory-mapped.
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise BundleError("BUNDLE_CORRUPT", f"{path.name} cannot be read: {error}") from error


def _kind(index: faiss.Index) -> str | None:
    return next((kind for type_, kind in _KINDS.items() if isinstance(index, type_)), None)
