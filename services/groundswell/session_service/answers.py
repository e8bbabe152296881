"""Views that were encoded before, served again while window and item vectors are unchanged."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.serving.telemetry import count
from groundswell.session_service.encoder import SessionEncoder, SessionView
from groundswell.session_service.windows import Window, WindowEvent


@dataclass(slots=True)
class _Answer:
    events: tuple[WindowEvent, ...]
    items_version: int
    item_nos: NDArray[np.int64]
    view: SessionView


class StoredViews:
    """One encoder with the newest view of each user who asked; the longest unused leaves first."""

    def __init__(self, encoder: SessionEncoder, max_views: int) -> None:
        self.encoder = encoder
        self._max_views = max_views
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()

    async def view(self, user_key: bytes, window: Window) -> SessionView:
        """Return the view of a window, encoded anew only when it must be.

        Raises ResourceExhausted (OVERLOADED).
        """
        answer = self._answers.get(user_key)
        # A window that did not change keeps the very tuple of its events.
        if answer is not None and answer.events is window.events and self._holds(answer):
            self._answers.move_to_end(user_key)
            count("session_views", source="stored")
            return answer.view
        count("session_views", source="encoded")
        version = self.encoder.items.version
        view = await self.encoder.encode(window.events)
        item_nos = np.frombuffer(view.item_nos, "<i8").astype(np.int64)
        self._answers[user_key] = _Answer(window.events, version, item_nos, view)
        self._answers.move_to_end(user_key)
        if len(self._answers) > self._max_views:
            self._answers.popitem(last=False)
        return view

    def _holds(self, answer: _Answer) -> bool:
        items = self.encoder.items
        if not items.unchanged(answer.item_nos, answer.items_version):
            return False
        answer.items_version = items.version
        return True
