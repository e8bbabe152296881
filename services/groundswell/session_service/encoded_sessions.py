"""Caches encoded sessions, which are valid while window and item vectors do not change."""

import asyncio
from dataclasses import dataclass

from groundswell.serving.bounded import ARRAY_BYTES, BoundedCache
from groundswell.serving.telemetry import count
from groundswell.session_service.encoder import EncodedSession, SessionEncoder
from groundswell.session_service.windows.memory import events_bytes
from groundswell.session_service.windows.window import Window, WindowEvent

_ENTRY_BYTES = 500 + 3 * ARRAY_BYTES
"""The bytes of an entry besides the values of its arrays and its events."""


@dataclass(slots=True)
class _Stored:
    events: tuple[WindowEvent, ...]
    items_version: int
    session: EncodedSession


@dataclass(frozen=True, slots=True)
class _Running:
    events: tuple[WindowEvent, ...]
    items_version: int
    task: asyncio.Task[EncodedSession]


class EncodedSessions:
    """One encoder, with a cache of the newest encoded session of each user."""

    def __init__(self, encoder: SessionEncoder, *, max_users: int, max_bytes: int) -> None:
        self.encoder = encoder
        self._stored: BoundedCache[bytes, _Stored] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_users, size=_num_bytes
        )
        self._running: dict[bytes, _Running] = {}

    async def of(self, user_key: bytes, window: Window) -> EncodedSession:
        """Return a user's window, encoded; encode it only when the cache has no valid one.

        Raises ResourceExhausted (OVERLOADED).
        """
        stored = self._stored.get(user_key)
        if stored is not None and stored.events == window.events and self._is_valid(stored):
            return stored.session
        # Shielded: others may wait for the same session when this caller is gone.
        return await asyncio.shield(self._encode(user_key, window))

    def refresh(self, user_key: bytes, window: Window) -> None:
        """Begin to encode a window that a write changed, if the cache has a session of its user.

        The next read then finds it ready, or in progress.
        """
        if self._stored.peek(user_key) is not None:
            self._encode(user_key, window)

    def _encode(self, user_key: bytes, window: Window) -> asyncio.Task[EncodedSession]:
        version = self.encoder.items.version
        running = self._running.get(user_key)
        if running and running.events == window.events and running.items_version == version:
            return running.task
        count("session_views_encoded")
        task = asyncio.create_task(self.encoder.encode(window.events))
        running = _Running(window.events, version, task)
        self._running[user_key] = running
        task.add_done_callback(lambda _: self._encoded(user_key, running))
        return task

    def _encoded(self, user_key: bytes, running: _Running) -> None:
        task = running.task
        failed = task.cancelled() or task.exception() is not None
        # A newer encoding may have begun: then this one is not stored.
        if self._running.get(user_key) is not running:
            return
        del self._running[user_key]
        if not failed:
            stored = _Stored(running.events, running.items_version, task.result())
            self._stored.put(user_key, stored)

    def _is_valid(self, stored: _Stored) -> bool:
        items = self.encoder.items
        if not items.unchanged(stored.session.item_nos, stored.items_version):
            return False
        stored.items_version = items.version
        return True


def _num_bytes(user_key: bytes, stored: _Stored) -> int:
    """Return the bytes of an entry. Its events count too: the window may have changed since."""
    session = stored.session
    arrays = session.short_vector.nbytes + session.item_nos.nbytes + session.actions.nbytes
    return _ENTRY_BYTES + len(user_key) + arrays + events_bytes(stored.events)
