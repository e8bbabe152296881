"""Sets of item ids, one bit for each id: what a filter lets pass, in a form that a search reads."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


class IdSet:
    """Which ids are in a set; `bits` holds id i as bit i % 8 of byte i // 8. Never changed.

    An id past the end of the bits is not in the set.
    """

    def __init__(self, bits: NDArray[np.uint8]) -> None:
        self.bits = bits
        self.kept: tuple[object, Any] | None = None
        """What an index keeps with the set, and what that was made of."""

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> "IdSet":
        """Make the set of the ids where a mask is True."""
        return cls(np.packbits(mask, bitorder="little"))

    @cached_property
    def count(self) -> int:
        """How many ids are in the set."""
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The ids in the set, ascending. The first call takes as long as the largest id is."""
        return np.flatnonzero(np.unpackbits(self.bits, bitorder="little"))

    @property
    def size(self) -> int:
        """All ids in the set are below it."""
        return 8 * len(self.bits)

    @property
    def num_bytes(self) -> int:
        """What it takes in memory; the ids come to as much once they were asked for, if few."""
        return self.bits.nbytes

    def __and__(self, other: "IdSet") -> "IdSet":
        """Return the ids in both sets."""
        n = min(len(self.bits), len(other.bits))
        return IdSet(self.bits[:n] & other.bits[:n])

    def __sub__(self, other: "IdSet") -> "IdSet":
        """Return the ids in this set that are not in the other."""
        bits, n = self.bits.copy(), min(len(self.bits), len(other.bits))
        bits[:n] &= ~other.bits[:n]
        return IdSet(bits)

    def has(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return [k] True for those of `ids` [k] that are in the set."""
        if not len(self.bits):
            return np.zeros(len(ids), dtype=bool)
        of_byte = self.bits.take(ids >> 3, mode="clip") >> (ids & 7).astype(np.uint8) & 1
        within = (ids >= 0) & (ids < self.size)
        return of_byte.astype(bool) & within

    def updated(self, ids: NDArray[np.int64], included: NDArray[np.bool_]) -> "IdSet":
        """Return the set in which `ids` [k], once each, are as `included` [k] says."""
        size = max(len(self.bits), int(ids.max(initial=-1) >> 3) + 1)
        bits = np.zeros(size, np.uint8)
        bits[: len(self.bits)] = self.bits
        places, masks = ids >> 3, np.left_shift(1, ids & 7).astype(np.uint8)
        np.bitwise_and.at(bits, places, ~masks)
        np.bitwise_or.at(bits, places[included], masks[included])
        return IdSet(bits)


def among(ids: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return an array of the shape of `ids`, True for those that are in `some`."""
    if not len(some):
        return np.zeros(ids.shape, dtype=bool)
    ordered = np.sort(some)
    found: NDArray[np.bool_] = ordered.take(np.searchsorted(ordered, ids), mode="clip") == ids
    return found
