"""A prepared log's items as one bundle ranks them: by item id, never by position."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.item_index import ItemIndex
from groundswell.trainer.data import Prepared
from groundswell.trainer.errors import DataError

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → [n, t] vectors of the bundle's text encoder."""


@dataclass(frozen=True)
class Candidates:
    """What may be recommended: the N' items with at least one event anywhere in the log."""

    index: ItemIndex
    """Finds the bundle's items under their rows there, and items new to it under ids beyond."""
    ids: NDArray[np.int64]
    """[N] the index's id of each prepared item; -1 for one that is no candidate."""
    vectors: NDArray[np.float32]
    """[N, d] item vectors; zeros for an item that is no candidate."""
    allowed: NDArray[np.bool_]
    """Indexed by the index's ids: True for a candidate."""
    popularity: NDArray[np.float64]
    """Indexed by the index's ids, as the bundle counted in training; 0 for items new to it."""
    num_by_text: int
    """Candidates that the bundle does not know: placed by their text alone, as in production."""

    @property
    def num_items(self) -> int:
        """N'."""
        return int(self.allowed.sum())


def candidates_of(bundle: Bundle, prepared: Prepared, encode: EncodeTexts) -> Candidates:
    """Find every prepared item with an event in the bundle, or place it by its text.

    Raises DataError when the bundle knows none of them: it belongs to other data.
    """
    rows = np.array([bundle.rows.get(item_id, -1) for item_id in prepared.item_ids], np.int64)
    with_events = np.bincount(prepared.items, minlength=prepared.num_items) > 0
    if not (with_events & (rows >= 0)).any():
        raise DataError(
            f"the bundle {bundle.id} knows none of the items in {prepared.folder}: "
            "it was trained on other data"
        )
    num_rows = len(bundle.item_ids)
    index = ItemIndex(bundle.path / files.INDEX, num_rows, bundle.manifest.dimension)
    new = np.flatnonzero(with_events & (rows < 0))
    ids = np.where(with_events, rows, -1)
    ids[new] = num_rows + np.arange(len(new))
    vectors = np.zeros((prepared.num_items, bundle.manifest.dimension), np.float32)
    known = with_events & (rows >= 0)
    vectors[known] = bundle.item_vectors[rows[known]]
    if len(new):
        texts = encode([prepared.texts[item] for item in new])
        vectors[new] = bundle.item_head().run(text_vectors=texts, rows=np.full(len(new), -1))
        index.put(ids[new], vectors[new])
    allowed = np.zeros(num_rows + len(new), dtype=bool)
    allowed[ids[with_events]] = True
    return Candidates(index, ids, vectors, allowed, bundle.popularity, len(new))
