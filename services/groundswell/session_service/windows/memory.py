"""Keeps windows in the memory of the process."""

from collections.abc import Mapping
from sys import getsizeof

from groundswell.serving.bounded import BoundedCache
from groundswell.session_service.windows.window import Window, Written


class MemoryWindows:
    """A WindowStore; the window that was used least recently is dropped first.

    Windows are held as bytes: as objects they take ten times the memory.
    """

    def __init__(self, max_windows: int, max_bytes: int) -> None:
        self._windows: BoundedCache[bytes, bytes] = BoundedCache(
            max_bytes=max_bytes,
            max_entries=max_windows,
            size=lambda key, packed: getsizeof(key) + getsizeof(packed),
        )

    def __len__(self) -> int:
        return len(self._windows)

    async def get(self, user_key: bytes) -> Window | None:
        """Return a user's window; None when it is not held."""
        packed = self._windows.get(user_key)
        return None if packed is None else Window.from_bytes(packed)

    async def swap(self, user_key: bytes, before: Window | None, after: Window) -> bool:
        """Hold `after` in the place of `before`; False when another window is held."""
        if self._windows.peek(user_key) != (None if before is None else before.to_bytes()):
            return False
        self._windows.put(user_key, after.to_bytes())
        return True

    async def take(self, written: Mapping[bytes, Written]) -> dict[bytes, Window]:
        """Let the windows of users take their writes."""
        changed = {}
        for user_key, write in written.items():
            packed = self._windows.peek(user_key)
            if packed is not None:
                changed[user_key] = Window.from_bytes(packed).taken(write)
                # It does not count as used: only reads make a window worth keeping.
                self._windows.replace(user_key, changed[user_key].to_bytes())
        return changed

    async def close(self) -> None:
        """Nothing is to be freed."""
