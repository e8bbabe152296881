"""Keeps windows in the memory of the process."""

from collections.abc import Collection, Mapping, Sequence
from sys import getsizeof

from groundswell.serving.bounded import BoundedCache
from groundswell.session_service.windows.window import Window, Written

_FIELDS_BYTES = 240
"""The numbers and the lineage of a window."""


class MemoryWindows:
    """A WindowStore; the window that was used least recently is dropped first."""

    def __init__(self, max_windows: int, max_bytes: int) -> None:
        self._windows: BoundedCache[bytes, Window] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_windows, size=_num_bytes
        )

    def __len__(self) -> int:
        return len(self._windows)

    async def get(self, user_mark: bytes) -> Window | None:
        """Return a user's window; None when it is not held."""
        return self._windows.get(user_mark)

    async def get_all(self, user_marks: Sequence[bytes]) -> list[Window | None]:
        """Return the windows of users, in their order."""
        return [self._windows.get(user_mark) for user_mark in user_marks]

    async def swap(self, user_mark: bytes, before: Window | None, after: Window) -> bool:
        """Hold `after` in the place of `before`; False when another window is held."""
        if self._windows.peek(user_mark) != before:
            return False
        self._windows.put(user_mark, after)
        return True

    async def take(self, written: Mapping[bytes, Written]) -> dict[bytes, Window]:
        """Let the windows of users take their writes."""
        changed = {}
        for user_mark, write in written.items():
            held = self._windows.peek(user_mark)
            if held is not None:
                changed[user_mark] = held.taken(write)
                # It does not count as used: only reads make a window worth keeping.
                self._windows.replace(user_mark, changed[user_mark])
        return changed

    async def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget the windows of users."""
        self._windows.drop_where(lambda user_mark: user_mark in user_marks)

    async def close(self) -> None:
        """Nothing is to be freed."""


def _num_bytes(user_mark: bytes, window: Window) -> int:
    return getsizeof(user_mark) + getsizeof(window) + getsizeof(window.records) + _FIELDS_BYTES
