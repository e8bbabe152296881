"""Maps rows of a bundle to the catalogue's item numbers, and back."""

import numpy as np
from numpy.typing import NDArray


class BundleRows:
    """Item numbers by row and rows by item number. One thread changes it; any may read."""

    def __init__(self, num_rows: int) -> None:
        self._numbers = np.full(num_rows, -1, np.int64)
        self._rows = np.empty(0, np.int64)

    def put(self, item_nos: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Note which rows [k] items [k] have, -1 for none."""
        size = int(item_nos.max(initial=-1)) + 1
        if size > len(self._rows):
            grown = np.full(2 * size, -1, np.int64)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        self._rows[item_nos] = rows
        known = rows >= 0
        self._numbers[rows[known]] = item_nos[known]

    def remove(self, item_nos: NDArray[np.int64]) -> None:
        """Forget items; a row that another item has by now stays that item's."""
        rows = self.rows(item_nos)
        gone = (rows >= 0) & (self._numbers[rows] == item_nos)
        self._numbers[rows[gone]] = -1
        self._rows[item_nos[rows >= 0]] = -1

    def rows(self, item_nos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows [k] of items [k], -1 for those that have none."""
        rows = self._rows
        if not len(rows):
            return np.full(len(item_nos), -1, np.int64)
        found: NDArray[np.int64] = rows.take(item_nos, mode="clip")
        found[(item_nos < 0) | (item_nos >= len(rows))] = -1
        return found

    def numbers(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the item numbers [k] of rows [k], -1 for those that are no item now."""
        return self._numbers[rows]
