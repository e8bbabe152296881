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

    async def get(self, user_key: bytes) -> Window | None:
        """Return a user's window; None when it is not held."""
        return self._windows.get(user_key)

    async def get_all(self, user_keys: Sequence[bytes]) -> list[Window | None]:
        """Return the windows of users, in their order."""
        return [self._windows.get(user_key) for user_key in user_keys]

    async def swap(self, user_key: bytes, before: Window | None, after: Window) -> bool:
        """Hold `after` in the place of `before`; False when another window is held."""
        if self._windows.peek(user_key) != before:
            return False
        self._windows.put(user_key, after)
        return True

    async def take(self, written: Mapping[bytes, Written]) -> dict[bytes, Window]:
        """Let the windows of users take their writes."""
        changed = {}
        for user_key, write in written.items():
            held = self._windows.peek(user_key)
            if held is not None:
                changed[user_key] = held.taken(write)
                # It does not count as used: only reads make a window worth keeping.
                self._windows.replace(user_key, changed[user_key])
        return changed

    async def drop(self, user_keys: Collection[bytes]) -> None:
        """Forget the windows of users."""
        self._windows.drop_where(lambda user_key: user_key in user_keys)

    async def close(self) -> None:
        """Nothing is to be freed."""


def _num_bytes(user_key: bytes, window: Window) -> int:
    return getsizeof(user_key) + getsizeof(window) + getsizeof(window.records) + _FIELDS_BYTES
