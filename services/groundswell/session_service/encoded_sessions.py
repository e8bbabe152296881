"""Caches encoded sessions, which are valid while window and item vectors do not change."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from sys import getsizeof

from groundswell.serving.bounded import ARRAY_BYTES, BoundedCache
from groundswell.serving.telemetry import count
from groundswell.session_service.encoder import EncodedSession, SessionEncoder
from groundswell.session_service.windows.records import columns
from groundswell.session_service.windows.window import Window

_ENTRY_BYTES = 1_000 + 3 * ARRAY_BYTES
"""The bytes of an entry besides its records and the values of its arrays."""


@dataclass(slots=True)
class _Stored:
    records: bytes
    items_version: int
    session: EncodedSession


@dataclass(slots=True)
class _Running:
    records: bytes
    items_version: int
    task: asyncio.Task[EncodedSession]
    num_readers: int = 0
    is_ahead: bool = False
    """Whether it goes on without a reader."""


class EncodedSessions:
    """One encoder, with a cache of the newest encoded session of each user."""

    def __init__(self, encoder: SessionEncoder, *, max_users: int, max_bytes: int) -> None:
        self.encoder = encoder
        self._stored: BoundedCache[bytes, _Stored] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_users, size=_num_bytes
        )
        self._running: dict[bytes, _Running] = {}

    def held(self, user_mark: bytes, window: Window) -> EncodedSession | None:
        """Return a user's window, encoded; None when the cache has no valid one."""
        stored = self._stored.get(user_mark)
        if stored is not None and stored.records == window.records and self._is_valid(stored):
            return stored.session
        return None

    async def of(self, user_mark: bytes, window: Window) -> EncodedSession:
        """Return a user's window, encoded; encode it only when the cache has no valid one.

        Raises ResourceExhausted (OVERLOADED).
        """
        held = self.held(user_mark, window)
        if held is not None:
            return held
        running = self._encode(user_mark, window)
        running.num_readers += 1
        try:
            # Shielded: others may wait for the same session when this caller is gone.
            return await asyncio.shield(running.task)
        finally:
            running.num_readers -= 1
            if not (running.num_readers or running.is_ahead or running.task.done()):
                # Every caller is gone, so the model does not have to run.
                if self._running.get(user_mark) is running:
                    del self._running[user_mark]
                running.task.cancel()

    def refresh(self, user_mark: bytes, window: Window) -> None:
        """Begin to encode a window that a write changed, if the cache has a session of its user.

        The next read then finds it ready, or in progress.
        """
        if self._stored.peek(user_mark) is not None:
            self._encode(user_mark, window).is_ahead = True

    def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget the sessions of users."""
        self._stored.drop_where(lambda user_mark: user_mark in user_marks)
        for user_mark in user_marks:
            # Its callers get it, and it is not stored.
            self._running.pop(user_mark, None)

    def _encode(self, user_mark: bytes, window: Window) -> _Running:
        version = self.encoder.items.version
        running = self._running.get(user_mark)
        if running and running.records == window.records and running.items_version == version:
            return running
        count("sessions_encoded")
        task = asyncio.create_task(self.encoder.encode(window.records))
        running = self._running[user_mark] = _Running(window.records, version, task)
        task.add_done_callback(lambda _: self._encoded(user_mark, running))
        return running

    def _encoded(self, user_mark: bytes, running: _Running) -> None:
        task = running.task
        failed = task.cancelled() or task.exception() is not None
        # A newer encoding may have begun: then this one is not stored.
        if self._running.get(user_mark) is not running:
            return
        del self._running[user_mark]
        if not failed:
            stored = _Stored(running.records, running.items_version, task.result())
            self._stored.put(user_mark, stored)

    def _is_valid(self, stored: _Stored) -> bool:
        items = self.encoder.items
        if items.version == stored.items_version:
            return True
        if not items.unchanged(columns(stored.records).item_nos, stored.items_version):
            return False
        stored.items_version = items.version
        return True


def _num_bytes(user_mark: bytes, stored: _Stored) -> int:
    """Return the bytes of an entry."""
    session = stored.session
    arrays = session.short_vector.nbytes + session.item_nos.nbytes + session.actions.nbytes
    # Twice: the answer's message holds them packed.
    return _ENTRY_BYTES + len(user_mark) + 2 * arrays + getsizeof(stored.records)
