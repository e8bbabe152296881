"""The items of the catalogue with their vectors of one bundle, as the encoder reads them."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_FIRST_ROWS = 1_024


class ItemTable:
    """item id → item number → vector. Numbers are dense, so they index the arrays as they are.

    An item without a vector, or one that is not known, has zeros. Not thread-safe: it belongs to
    the event loop, and what it gives out are copies.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        """d of the vectors."""
        self.version = 0
        """Grows with every vector that changes."""
        self.lineage = ""
        """The lineage of the database that the numbers belong to; empty before it is known."""
        self._numbers: dict[str, int] = {}
        # No item has the number 0: row 0 stays zero, and is read for every unknown item.
        self._vectors = np.zeros((_FIRST_ROWS, dimension), np.float32)
        self._changed_at = np.zeros(_FIRST_ROWS, np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def numbers(self, item_ids: Iterable[str]) -> list[int | None]:
        """Return the numbers of items; None for one that the catalogue does not hold."""
        return list(map(self._numbers.get, item_ids))

    def upsert(self, item_id: str, item_no: int, vector: NDArray[np.float32] | None) -> None:
        """Learn of an item; `vector` is None while the encoder has not read it."""
        self._numbers[item_id] = item_no
        self._set(item_no, vector)

    def delete(self, item_id: str, item_no: int) -> None:
        """Forget an item. In the windows that have it, it counts as an item without a vector."""
        # The id may have been given to a new item since.
        if self._numbers.get(item_id) == item_no:
            del self._numbers[item_id]
        self._set(item_no, None)

    def become(self, other: "ItemTable") -> None:
        """Replace the whole content by that of another table."""
        self._numbers, self._vectors = other._numbers, other._vectors
        self.lineage = other.lineage
        self.version += 1
        self._changed_at = np.full(len(self._vectors), self.version, np.int64)

    def vectors(self, item_nos: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [n, d] the items' vectors."""
        return self._vectors[self._rows(item_nos)]

    def unchanged(self, item_nos: NDArray[np.int64], since: int) -> bool:
        """Whether no vector of these items changed after the table's version was `since`."""
        if len(item_nos) == 0:
            return True
        return bool(self._changed_at[self._rows(item_nos)].max() <= since)

    def _rows(self, item_nos: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(item_nos < len(self._vectors), item_nos, 0)

    def _set(self, item_no: int, vector: NDArray[np.float32] | None) -> None:
        if item_no >= len(self._vectors):
            if vector is None:
                return
            self._grow(item_no + 1)
        values = self._vectors[0] if vector is None else vector
        if np.array_equal(self._vectors[item_no], values):
            return
        self._vectors[item_no] = values
        self.version += 1
        self._changed_at[item_no] = self.version

    def _grow(self, rows: int) -> None:
        rows = max(rows, 2 * len(self._vectors))
        vectors = np.zeros((rows, self._vectors.shape[1]), np.float32)
        vectors[: len(self._vectors)] = self._vectors
        changed_at = np.zeros(rows, np.int64)
        changed_at[: len(self._changed_at)] = self._changed_at
        self._vectors, self._changed_at = vectors, changed_at
