"""Keeps the primary category and the first time of every item, as arrays by item number."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.catalogue import CatalogueItem

_NONE = -1

Number = TypeVar("Number", np.int32, np.int64)


class ItemColumns:
    """Primary categories and the times at which items were written first.

    One thread changes it, in place; any may read. What is known of a deleted item stays: no index
    returns it.
    """

    def __init__(self) -> None:
        self.categories: NDArray[np.int32] = np.empty(0, np.int32)
        """The number of each item's primary category; −1 for none."""
        self.category_names: list[str] = []
        self._created_us: NDArray[np.int64] = np.empty(0, np.int64)
        self._numbers: dict[str, int] = {}

    def put(self, items: Sequence[CatalogueItem]) -> None:
        """Take items, new ones and changed ones."""
        size = max((item.item_no for item in items), default=-1) + 1
        if size > len(self.categories):
            self.categories = _grown(self.categories, 2 * size)
            self._created_us = _grown(self._created_us, 2 * size)
        for item in items:
            self.categories[item.item_no] = self._category(item)
            self._created_us[item.item_no] = item.created_us

    def young(self, since_us: int, most: int, seed: int) -> NDArray[np.int64]:
        """Return the items that were written first at a time or later; some of more than `most`.

        It looks at every item: half a millisecond for a million.
        """
        found = np.flatnonzero(self._created_us >= max(since_us, 1))
        if len(found) > most:
            found = np.random.default_rng(seed).choice(found, most, replace=False)
        return found

    def _category(self, item: CatalogueItem) -> int:
        if not item.categories:
            return _NONE
        name = item.categories[0]
        number = self._numbers.setdefault(name, len(self.category_names))
        if number == len(self.category_names):
            self.category_names.append(name)
        return number


def _grown(values: NDArray[Number], size: int) -> NDArray[Number]:
    grown = np.full(size, _NONE, values.dtype)
    grown[: len(values)] = values
    return grown
