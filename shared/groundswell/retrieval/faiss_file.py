"""Reads FAISS index files into memory, and gives their vectors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError

_READING = Lock()
"""Held while an index is read: the limit is one for the process."""
_KINDS = {faiss.IndexFlat: "flat", faiss.IndexHNSW: "hnsw"}
"""Of bundles of earlier releases, whose manifests name no kind."""


def open_faiss(path: Path, of: type[faiss.Index], kind: str) -> faiss.Index:
    """Read a FAISS index of a type, which `kind` names in errors.

    Raises BundleError (BUNDLE_CORRUPT) when the file is something else.
    """
    index = _read(path)
    if not isinstance(index, of) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BundleError("BUNDLE_CORRUPT", f"{path.name} is no {kind} index of inner products")
    return index


def kind_of(path: Path) -> str:
    """Return the kind of a FAISS index. Raises BundleError (BUNDLE_CORRUPT) for other files."""
    kind = _kind(_read(path))
    if kind is None:
        raise BundleError("BUNDLE_CORRUPT", f"{path.name} is of an unknown kind")
    return kind


def stored_vectors(index: faiss.Index, flat: faiss.Index) -> NDArray[np.float32]:
    """Return the vectors [n, d] of `flat`, which is `index` or its storage, without a copy.

    The index stays while they are in use.
    """
    stored = faiss.rev_swig_ptr(flat.get_xb(), index.ntotal * index.d)
    vectors: NDArray[np.float32] = np.asarray(_Lent(stored.reshape(index.ntotal, index.d), index))
    return vectors


class _Lent:
    """An array in memory that another object owns."""

    def __init__(self, array: NDArray[np.float32], owner: object) -> None:
        self.__array_interface__ = array.__array_interface__
        self._owner = owner


@contextmanager
def no_part_above(num_bytes: int) -> Iterator[None]:
    """Let FAISS refuse an index whose head asks for more memory for a part than the file has.

    It raises RuntimeError inside then. One index is read at a time.
    """
    with _READING:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(num_bytes)
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before)


def _read(path: Path) -> faiss.Index:
    try:
        with no_part_above(path.stat().st_size):
            # Not memory-mapped: the process would be killed when the file is cut short in place.
            return faiss.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        raise BundleError("BUNDLE_CORRUPT", f"{path.name} cannot be read: {error}") from error


def _kind(index: faiss.Index) -> str | None:
    return next((kind for type_, kind in _KINDS.items() if isinstance(index, type_)), None)
