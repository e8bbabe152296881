"""Sessions over a log in memory, with a clock that the test sets."""

import asyncio
from collections.abc import Sequence

from groundswell.features.actions import action_number
from groundswell.serving.errors import Unavailable
from groundswell.serving.subjects import subject_id
from groundswell.session_service.events import Appended, SentEvent, WriteResult, WriteStatus
from groundswell.session_service.sessions import Found, Sessions
from groundswell.session_service.windows.records import WindowEvent, session_code
from groundswell.session_service.windows.window import Listing, Window

_DAY_US = 86_400_000_000
_NAMES: dict[bytes, str] = {}


class MemoryLog:
    """The log that the profile service keeps, in memory; its answers can be held back."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, tuple[SentEvent, WindowEvent]]] = {}
        self.num_listings = 0
        self.lineage = ""
        self.history = 0
        self.down = False
        self.failing: set[str] = set()
        self.answers = asyncio.Event()
        self.answers.set()

    async def append(
        self,
        events: Sequence[SentEvent],
        remaining_s: float | None,  # noqa: ARG002 - the seam's
    ) -> Appended:
        if self.down:
            raise Unavailable("PROFILE_UNAVAILABLE", "down")
        results = [self._store(event) for event in events]
        await self.answers.wait()
        return Appended(results, self.lineage)

    async def link(
        self,
        session_id: str,
        user_id: str,
        remaining_s: float | None,  # noqa: ARG002 - the seam's
    ) -> int:
        if self.down:
            raise Unavailable("PROFILE_UNAVAILABLE", "down")
        theirs = self.stored.pop(subject_id("", session_id), {})
        mine = self.stored.setdefault(user_id, {})
        for event_id, (event, stored) in theirs.items():
            mine[event_id] = event, stored._replace(sequence=len(mine) + 1)
        return len(theirs)

    async def newest(self, user_id: str, count: int) -> Listing:
        self.num_listings += 1
        if self.down or user_id in self.failing:
            raise Unavailable("PROFILE_UNAVAILABLE", "down")
        stored = sorted(self.stored.get(user_id, {}).values(), key=lambda pair: pair[0].order)
        await self.answers.wait()
        newest = [event for _, event in stored[-count:]]
        return Listing(newest, len(stored), self.lineage, self.history if stored else 0)

    def restore(self, lineage: str) -> None:
        """Hold nothing any more, as a restored backup of the empty log does."""
        self.stored.clear()
        self.lineage = lineage

    def expire(self) -> None:
        """Hold nothing any more; what comes now belongs to other histories."""
        self.stored.clear()
        self.history += 1

    def _store(self, event: SentEvent) -> WriteResult:
        if event.item_id == "unknown":
            return WriteResult(WriteStatus.REJECTED, reason="ITEM_NOT_FOUND")
        mine = self.stored.setdefault(event.user_id, {})
        known = mine.get(event.event_id)
        if known is not None:
            return self._result(WriteStatus.DUPLICATE, known[1])
        session = session_code(event.session_id)
        item_no = int(event.item_id)
        stored = WindowEvent(event.time_us, len(mine) + 1, item_no, event.action, session)
        mine[event.event_id] = event, stored
        return self._result(WriteStatus.ACCEPTED, stored)

    def _result(self, status: WriteStatus, stored: WindowEvent) -> WriteResult:
        return WriteResult(status, stored.sequence, stored.item_no, self.history)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def event(event_id: str, user_id: str = "ann", item_id: str = "1", day: int = 0) -> SentEvent:
    time_us = 1_700_000_000_000_000 + day * _DAY_US
    # A window keeps no event id, so each event is a session of its name.
    _NAMES[session_code(event_id)] = event_id
    view = action_number("view")
    return SentEvent(user_id, event_id, item_id, view, None, time_us, 0, event_id, "")


async def found_for(sessions: Sessions, user_id: str, capacity: int = 5) -> Found:
    return await sessions.window(user_id, sessions.user_mark(user_id), capacity)


async def window_of(sessions: Sessions, user_id: str, capacity: int) -> Window:
    return (await found_for(sessions, user_id, capacity)).window


def ids(window: Window) -> list[str]:
    """The ids of events that `event` made."""
    return [_NAMES[e.session] for e in window.events]
