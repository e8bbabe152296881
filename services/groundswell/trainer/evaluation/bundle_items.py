"""A prepared log's items as what may be recommended, and as one bundle knows them: by item id."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.errors import DataError

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → [n, t] vectors of the bundle's text encoder."""


@dataclass(frozen=True)
class Candidates:
    """The N' items with at least one event anywhere in the log, one column of scores each."""

    items: NDArray[np.int64]
    """[N'] the prepared items, ascending."""
    columns: NDArray[np.int64]
    """[N] the column of each prepared item; -1 for one that is no candidate."""

    @classmethod
    def of(cls, prepared: Prepared) -> "Candidates":
        """Find the items that occur in a log."""
        items = np.flatnonzero(np.bincount(prepared.items, minlength=prepared.num_items))
        columns = np.full(prepared.num_items, -1, np.int64)
        columns[items] = np.arange(len(items))
        return cls(items, columns)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class BundleItems:
    """The prepared items as a bundle places them."""

    vectors: NDArray[np.float32]
    """[N, d]; zeros for an item that is no candidate."""
    popularity: NDArray[np.float64]
    """[N] as the bundle counted in training; 0 for items new to it."""
    num_by_text: int
    """Candidates that the bundle does not know: placed by their text alone, as in production."""


def rows_of(bundle: Bundle, prepared: Prepared) -> NDArray[np.int64]:
    """[N] the bundle's rows of the prepared items; -1 for those that it does not know."""
    return np.array([bundle.rows.get(item_id, -1) for item_id in prepared.item_ids], np.int64)


def bundle_items(
    bundle: Bundle, prepared: Prepared, candidates: Candidates, encode: EncodeTexts
) -> BundleItems:
    """Find every candidate in the bundle, or place it by its text.

    Raises DataError when the bundle knows none of them: it belongs to other data.
    """
    rows = rows_of(bundle, prepared)
    of_candidates = rows[candidates.items]
    known, new = (candidates.items[of_candidates >= 0], candidates.items[of_candidates < 0])
    if not len(known):
        raise DataError(
            f"the bundle {bundle.id} knows none of the items in {prepared.folder}: "
            "it was trained on other data"
        )
    vectors = np.zeros((prepared.num_items, bundle.manifest.dimension), np.float32)
    popularity = np.zeros(prepared.num_items)
    vectors[known] = bundle.item_vectors[rows[known]]
    popularity[known] = bundle.popularity[rows[known]]
    if len(new):
        texts = encode([prepared.texts[item] for item in new])
        vectors[new] = bundle.item_head().run(text_vectors=texts, rows=np.full(len(new), -1))
    return BundleItems(vectors, popularity, len(new))
