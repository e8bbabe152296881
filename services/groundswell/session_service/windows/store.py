"""The interface of a store of windows."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from groundswell.session_service.windows.window import Window, Written


class WindowStore(Protocol):
    """Keeps the windows of users by the keys of the users.

    It is a cache: a window that is lost is read from the log again. A store that cannot be reached
    holds nothing. Two windows are the same when they are equal.
    """

    async def get(self, user_mark: bytes) -> Window | None:
        """Return a user's window; None when it is not held."""

    async def get_all(self, user_marks: Sequence[bytes]) -> list[Window | None]:
        """Return the windows of users, in their order, in one step."""

    async def swap(self, user_mark: bytes, before: Window | None, after: Window) -> bool:
        """Hold `after` in the place of `before`, in one step; None: no window is held yet.

        Returns False, and changes nothing, when another window is held.
        """

    async def take(self, written: Mapping[bytes, Written]) -> dict[bytes, Window]:
        """Let the windows of users take their writes, each in one step (see `Window.taken`).

        Returns the windows that are held, as they are now. A window that is not held is not made.
        """

    async def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget the windows of users. A store that is down does so before it is read again."""

    async def close(self) -> None:
        """Free what the store uses."""
