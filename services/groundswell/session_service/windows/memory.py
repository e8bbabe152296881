"""Keeps windows in the memory of the process."""

from collections.abc import Sequence
from sys import getsizeof

from groundswell.serving.bounded import BoundedCache
from groundswell.session_service.windows.window import Window, WindowEvent

# The bytes of an event besides its ids, of a sequence in a set, and of a window besides both.
_EVENT_BYTES = 270
_SEQUENCE_BYTES = 100
_WINDOW_BYTES = 600


class MemoryWindows:
    """A WindowStore; the window that was read least recently is dropped first."""

    def __init__(self, max_windows: int, max_bytes: int) -> None:
        self._windows: BoundedCache[bytes, Window] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_windows, size=_num_bytes
        )

    def __len__(self) -> int:
        return len(self._windows)

    async def get(self, user_key: bytes, *, is_read: bool = True) -> Window | None:
        """Return a user's window; None when it is not held."""
        return self._windows.get(user_key) if is_read else self._windows.peek(user_key)

    async def swap(self, user_key: bytes, before: Window | None, after: Window) -> bool:
        """Hold `after` in the place of `before`; False when another window is held."""
        held = self._windows.peek(user_key)
        if held != before:
            return False
        if held is None:
            self._windows.put(user_key, after)
        else:
            # It does not count as used: only reads make a window worth keeping.
            self._windows.replace(user_key, after)
        return True


def events_bytes(events: Sequence[WindowEvent]) -> int:
    """Return the memory that events take."""
    ids = sum(getsizeof(event.event_id) + getsizeof(event.session_id) for event in events)
    return len(events) * _EVENT_BYTES + ids


def _num_bytes(user_key: bytes, window: Window) -> int:
    ahead = len(window.ahead) * _SEQUENCE_BYTES
    return _WINDOW_BYTES + len(user_key) + events_bytes(window.events) + ahead
