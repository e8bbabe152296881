"""Caches encoded views of users, which are valid while window and item vectors do not change."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.serving.bounded import BoundedCache
from groundswell.serving.telemetry import count
from groundswell.session_service.encoder import SessionEncoder, SessionView
from groundswell.session_service.windows import Window, WindowEvent, events_bytes

_VIEW_BYTES = 900
"""The bytes of a cached view besides its arrays, its packed fields and its events."""


@dataclass(slots=True)
class _Stored:
    events: tuple[WindowEvent, ...]
    items_version: int
    item_nos: NDArray[np.int64]
    view: SessionView


@dataclass(frozen=True, slots=True)
class _Running:
    events: tuple[WindowEvent, ...]
    items_version: int
    task: asyncio.Task[SessionView]


class StoredViews:
    """One encoder with a cache of the newest view of each user."""

    def __init__(self, encoder: SessionEncoder, *, max_views: int, max_bytes: int) -> None:
        self.encoder = encoder
        self._stored: BoundedCache[bytes, _Stored] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_views, size=_num_bytes
        )
        self._running: dict[bytes, _Running] = {}

    async def view(self, user_key: bytes, window: Window) -> SessionView:
        """Return the view of a window; encode it only when the cache has no valid one.

        Raises ResourceExhausted (OVERLOADED).
        """
        stored = self._stored.get(user_key)
        # A window that did not change keeps the very tuple of its events.
        if stored is not None and stored.events is window.events and self._holds(stored):
            return stored.view
        # Shielded: others may wait for the same view when this caller is gone.
        return await asyncio.shield(self._encode(user_key, window))

    def refresh(self, user_key: bytes, window: Window) -> None:
        """Begin to encode a window that a write changed, if the cache has a view of its user.

        The next read then finds the view ready, or in progress.
        """
        if self._stored.peek(user_key) is not None:
            self._encode(user_key, window)

    def _encode(self, user_key: bytes, window: Window) -> asyncio.Task[SessionView]:
        version = self.encoder.items.version
        running = self._running.get(user_key)
        if running and running.events is window.events and running.items_version == version:
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
        if failed:
            return
        view = task.result()
        item_nos = np.frombuffer(view.item_nos, "<i8").astype(np.int64)
        stored = _Stored(running.events, running.items_version, item_nos, view)
        self._stored.put(user_key, stored)

    def _holds(self, stored: _Stored) -> bool:
        items = self.encoder.items
        if not items.unchanged(stored.item_nos, stored.items_version):
            return False
        stored.items_version = items.version
        return True


def _num_bytes(user_key: bytes, stored: _Stored) -> int:
    """Return the bytes of a view. Its events count too: their window may have changed since."""
    view = stored.view
    packed = len(view.vector) + len(view.item_nos) + len(view.action_masks)
    events = events_bytes(stored.events)
    return _VIEW_BYTES + len(user_key) + packed + stored.item_nos.nbytes + events
