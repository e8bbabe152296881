"""Records events, and finds the current window of a user."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from groundswell.serving.errors import InvalidArgument, ServiceError, Unavailable
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from groundswell.serving.telemetry import count
from groundswell.session_service.events import Appended, SentEvent, WriteResult, WriteStatus
from groundswell.session_service.outages import LogGate
from groundswell.session_service.windows.records import WindowEvent, session_code
from groundswell.session_service.windows.store import WindowStore
from groundswell.session_service.windows.window import Listing, Window, Written

_RETRY_AFTER_S = 0.5
_LONGEST_WRITE_US = 35_000_000
"""A write whose outcome is unknown is stored within this time, or never: the profile service gives
a transaction 30 s."""


class DurableLog(Protocol):
    """The log of all events."""

    async def append(self, events: Sequence[SentEvent], remaining_s: float | None) -> Appended:
        """Store events durably and return what became of each, in their order."""

    async def link(self, session_id: str, user_id: str, remaining_s: float | None) -> int:
        """Move the events of an anonymous session to a user; return how many were moved."""

    async def newest(self, user_id: str, count: int) -> Listing:
        """Return the newest events of a user."""


class Found(NamedTuple):
    """The window of a user, and whether it is current."""

    window: Window
    stale_s: float | None
    """How long ago the log was asked for a window that is not current; None for one that is."""


class Sessions:
    """Writes events to the log first and to the window second; a window is only a cache.

    `changed` is called with every cached window that a write changed.
    """

    def __init__(
        self,
        log: DurableLog,
        windows: WindowStore,
        pseudonyms: Pseudonymizer,
        *,
        changed: Callable[[bytes, Window], None],
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._log = log
        self._windows = windows
        self._pseudonyms = pseudonyms
        self._changed = changed
        self._ttl_us = int(ttl_s * 1e6)
        self._now_us = now_us
        self._listings: dict[tuple[bytes, int], asyncio.Task[Window]] = {}
        self._gate = LogGate(clock)

    def user_mark(self, user_id: str) -> bytes:
        """Return the mark that stands for a user in caches, and that erasures name."""
        return self._pseudonyms.mark(user_id)

    async def record(
        self, events: Sequence[SentEvent], remaining_s: float | None
    ) -> Sequence[WriteResult]:
        """Record events; return the outcome of each, once it is durable and in its window.

        `remaining_s` is what the caller's deadline leaves. Raises Unavailable
        (PROFILE_UNAVAILABLE): nothing is acknowledged then.
        """
        marks = {event.user_id: self.user_mark(event.user_id) for event in events}
        try:
            answer = await self._log.append(events, remaining_s)
            self._gate.reached()
            await self._take(events, answer, marks)
        except BaseException as error:
            # Also when the caller is gone: the log may store the events, now or later, and the
            # windows may have missed them.
            await self._doubt_after(error, marks.values())
            raise
        return answer.results

    async def link(self, session_id: str, user_id: str, remaining_s: float | None) -> int:
        """Move the events of an anonymous session to a user; return how many were moved.

        Raises what the log raises; Unavailable (PROFILE_UNAVAILABLE): they may have been moved.
        """
        marks = [self.user_mark(subject) for subject in (subject_id("", session_id), user_id)]
        try:
            num_moved = await self._log.link(session_id, user_id, remaining_s)
        except BaseException as error:
            await self._doubt_after(error, marks)
            raise
        # Also when none was moved: an earlier call may have moved them, and been cancelled then.
        self._join_no_listing(marks)
        for user_mark in marks:
            await self._doubt(user_mark, self._now_us() + 1)
        return num_moved

    async def window(
        self, user_id: str, user_mark: bytes, capacity: int, lineage: str = ""
    ) -> Found:
        """Return the window of a user; read it from the log when the cached one is not current.

        While the log does not answer for this user, the cached window is returned as stale.
        `user_mark` is the mark of `user_id`; `lineage` is that of the items that encode the window.
        Raises Unavailable: PROFILE_UNAVAILABLE when no window is cached either, and LINEAGE_CHANGED
        when the window and the items are of two lineages, just after a restore.
        """
        found = await self._find(user_id, user_mark, capacity, lineage)
        check_lineage(found.window.lineage, lineage)
        return found

    async def current(
        self, user_marks: Sequence[bytes], capacity: int, lineage: str
    ) -> list[Window | None]:
        """Return the cached windows of users, in their order; None for one that is not current."""
        held = await self._windows.get_all(user_marks)
        return [
            one
            if one is not None and one.lineage == lineage and self._is_current(one, capacity)
            else None
            for one in held
        ]

    async def _find(self, user_id: str, user_mark: bytes, capacity: int, lineage: str) -> Found:
        held = await self._windows.get(user_mark)
        if held is not None and held.lineage == lineage and self._is_current(held, capacity):
            return Found(held, None)
        doubtful = self._gate.expects_failure(user_mark)
        listing = self._listing(user_id, user_mark, capacity)
        if doubtful and held is not None and held.was_listed:
            # The listing goes on in the background, and finds out when the log is back.
            return self._stale(held)
        if listing is None:
            raise Unavailable(
                "PROFILE_UNAVAILABLE",
                "the profile service does not answer",
                retry_after_s=self._gate.wait_s(user_mark),
            )
        try:
            # Shielded: others may wait for the same listing when this caller is gone.
            return Found(await asyncio.shield(listing), None)
        except ServiceError:
            held = await self._windows.get(user_mark)
            if held is None or not held.was_listed:
                raise
            return self._stale(held)

    def _is_current(self, window: Window, capacity: int) -> bool:
        return window.is_current(capacity, now_us=self._now_us(), ttl_us=self._ttl_us)

    def _listing(
        self, user_id: str, user_mark: bytes, capacity: int
    ) -> asyncio.Task[Window] | None:
        """Start a listing for a user, or join a running one; None while no read is allowed.

        A listing of another capacity is not joined: it would be shorter than what was asked for.
        """
        key = user_mark, capacity
        task = self._listings.get(key)
        if task is None and self._gate.wait_s(user_mark) == 0:
            self._gate.asks()
            task = asyncio.create_task(self._relist(user_id, user_mark, capacity))
            self._listings[key] = task
            task.add_done_callback(partial(self._listed, key))
        return task

    def _listed(self, key: tuple[bytes, int], task: asyncio.Task[Window]) -> None:
        if self._listings.get(key) is task:
            del self._listings[key]
        user_mark = key[0]
        if task.cancelled() or task.exception() is not None:
            self._gate.failed(user_mark)
        else:
            self._gate.answered(user_mark)

    def _join_no_listing(self, user_marks: Collection[bytes]) -> None:
        """Let no later call join a listing that may have begun before a write of these users."""
        for key in [key for key in self._listings if key[0] in user_marks]:
            del self._listings[key]

    def _stale(self, window: Window) -> Found:
        count("degradations", kind="SESSION_STALE")
        return Found(window, max((self._now_us() - window.listed_us) / 1e6, 0.0))

    async def _take(
        self, events: Sequence[SentEvent], answer: Appended, marks: dict[str, bytes]
    ) -> None:
        """Put what was stored into the windows of its users, and tell of the changed ones."""
        written: dict[bytes, Written] = {}
        now_us = self._now_us()
        pairs = zip(events, answer.results, strict=True)
        for event, result in sorted(pairs, key=lambda pair: pair[0].order):
            if result.sequence:
                empty = Written([], [], answer.lineage, now_us, result.history)
                write = written.setdefault(marks[event.user_id], empty)
                is_new = result.status is WriteStatus.ACCEPTED
                (write.accepted if is_new else write.duplicates).append(_written(event, result))
        self._join_no_listing(written)
        for user_mark, window in (await self._windows.take(written)).items():
            if window.is_whole:
                self._changed(user_mark, window)

    async def _update(self, user_mark: bytes, change: Callable[[Window], Window]) -> Window | None:
        """Replace a user's window by its changed form; None when it is not held."""
        while (held := await self._windows.get(user_mark)) is not None:
            changed = change(held)
            # Another call or process may have changed it since.
            if await self._windows.swap(user_mark, held, changed):
                return changed
        return None

    async def _doubt_after(self, error: BaseException, user_marks: Iterable[bytes]) -> None:
        """Let windows be read from the log until a failed write can no longer be stored."""
        if _may_be_stored(error):
            for user_mark in user_marks:
                await self._doubt(user_mark, self._now_us() + _LONGEST_WRITE_US)

    async def _doubt(self, user_mark: bytes, until_us: int) -> None:
        # Where no window is held, an empty placeholder carries the doubt: a later one must have it.
        await self._windows.swap(user_mark, None, Window(1))
        await self._update(user_mark, lambda window: window.doubted(until_us))

    async def _relist(self, user_id: str, user_mark: bytes, capacity: int) -> Window:
        # Held before the log is read: a write that comes while it is read is merged into it. An
        # earlier read, whose window was lost meanwhile, does not make this one current.
        await self._windows.swap(user_mark, None, Window(capacity, doubt_until_us=self._now_us()))
        held = await self._windows.get(user_mark)
        known = 0 if held is None else held.last_sequence
        now_us = self._now_us()
        listing = await self._log.newest(user_id, capacity)
        count("session_windows_listed")

        def change(window: Window) -> Window:
            return window.relisted(listing, capacity=capacity, known=known, now_us=now_us)

        window = await self._update(user_mark, change)
        return change(Window(capacity)) if window is None else window


def _may_be_stored(error: BaseException) -> bool:
    """Whether a write that failed may have been stored all the same, as a whole or in part.

    A refusal may be the answer to a call that gRPC sent again, and whose first answer was lost.
    """
    return not isinstance(error, InvalidArgument)


def check_lineage(one: str, other: str) -> None:
    """Raise Unavailable (LINEAGE_CHANGED) when two things are of two lineages."""
    if one != other:
        raise Unavailable(
            "LINEAGE_CHANGED",
            "the database was restored from a backup; its items are being read again",
            retry_after_s=_RETRY_AFTER_S,
        )


def _written(event: SentEvent, result: WriteResult) -> WindowEvent:
    return WindowEvent(
        time_us=event.time_us,
        sequence=result.sequence,
        item_no=result.item_no,
        action=event.action,
        session=session_code(event.session_id),
    )
