"""A cache with a bound on its bytes and a bound on its entries."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

ENTRY_BYTES = 250
"""The bytes of an entry besides its key and value: the table and the order of use."""
ARRAY_BYTES = 120
"""The bytes of a NumPy array besides its values."""


class BoundedCache(Generic[K, V]):
    """Keeps the entries that were used last. Thread-safe.

    `size` gives the bytes of a key and its value; ENTRY_BYTES are added here. A value that alone
    exceeds `max_bytes` is not kept.
    """

    def __init__(self, *, max_bytes: int, max_entries: int, size: Callable[[K, V], int]) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._size = size
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def num_bytes(self) -> int:
        """The bytes that the entries take."""
        return self._num_bytes

    def get(self, key: K) -> V | None:
        """Return a value, which counts as used now; None when it is not kept."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def peek(self, key: K) -> V | None:
        """Return a value, which does not count as used; None when it is not kept."""
        with self._lock:
            entry = self._entries.get(key)
            return None if entry is None else entry[0]

    def put(self, key: K, value: V) -> None:
        """Keep a value, in place of an earlier one; the least recently used entries are dropped."""
        size = self._size(key, value) + ENTRY_BYTES
        with self._lock:
            self._drop(key)
            if size > self._max_bytes:
                return
            self._entries[key] = (value, size)
            self._num_bytes += size
            self._shrink()

    def replace(self, key: K, value: V) -> None:
        """Keep a changed value in the place of the old one; it does not count as used now.

        Nothing happens when nothing is kept under the key.
        """
        size = self._size(key, value) + ENTRY_BYTES
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries[key] = (value, size)
                self._num_bytes += size - entry[1]
                self._shrink()

    def measure(self, key: K, value: V) -> None:
        """Measure a value again that was changed in place, if it is still kept."""
        if self.peek(key) is value:
            self.replace(key, value)

    def values(self) -> list[V]:
        """Return all values."""
        with self._lock:
            return [value for value, _ in self._entries.values()]

    def drop_where(self, gone: Callable[[K], bool]) -> int:
        """Forget the entries whose keys `gone` holds for; return how many."""
        with self._lock:
            keys = [key for key in self._entries if gone(key)]
            for key in keys:
                self._drop(key)
        return len(keys)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._num_bytes = 0

    def _shrink(self) -> None:
        while self._num_bytes > self._max_bytes or len(self._entries) > self._max_entries:
            _, (_, dropped) = self._entries.popitem(last=False)
            self._num_bytes -= dropped

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._num_bytes -= entry[1]
