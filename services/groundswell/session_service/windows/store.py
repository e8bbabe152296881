"""The interface of a store of windows; the memory of the process is one."""

from typing import Protocol

from groundswell.session_service.windows.window import Window


class WindowStore(Protocol):
    """Keeps the windows of users by the keys of the users.

    It is a cache: a window that is lost is read from the log again. A window is a plain value, so
    a store may keep it in another process. Two windows are the same when they are equal.
    """

    async def get(self, user_key: bytes, *, is_read: bool = True) -> Window | None:
        """Return a user's window; None when it is not held.

        `is_read` says that the window is read for a caller: those that are read least recently
        leave the store first.
        """

    async def swap(self, user_key: bytes, before: Window | None, after: Window) -> bool:
        """Hold `after` in the place of `before`, in one step; None: no window is held yet.

        Returns False, and changes nothing, when another window is held.
        """
