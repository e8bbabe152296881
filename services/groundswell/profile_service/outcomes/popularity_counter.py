"""Counts how popular items are, with decay, from the events as they are stored; tells watchers.

Counting is no part of a write of events: they are handed over after the commit, and added to the
stored values about once a second, and under load every 5 seconds.
"""

import asyncio
import time
from array import array
from collections.abc import AsyncGenerator, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.features.actions import DISLIKE
from groundswell.features.popularity_values import NEVER, event_values, item_values
from groundswell.profile_service.background import job_failed
from groundswell.profile_service.store import popularity as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection, now_us
from groundswell.profile_service.store.events import KnownEvent
from groundswell.profile_service.store.polling import SharedPoll
from groundswell.profile_service.store.popularity import FILLED, NO_EVENTS, PopularityState
from groundswell.profile_service.store.signals import Signal
from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)

_WRITE_EVERY_S = 1.0
_PAUSE, _LONGEST_PAUSE_S = 40, 5.0
"""Under load it is counted less often: an item takes as long, however many its events."""
_PART = 1_000
"""The most items whose values one transaction writes."""
_EVENT_PAGE = 5_000
WATCH_PAGE = 20_000

_Counted = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Items, and when the event with each happened, in microseconds since 1970."""


class PopularityChanges(NamedTuple):
    """A run of changes of the values."""

    item_nos: NDArray[np.int64]
    values: NDArray[np.float64]
    revision: int
    caught_up: bool
    lineage: str
    half_life_us: int
    reset: bool
    """Whether the watcher must first forget all values."""


class Popularity:
    """Counts events with a weight that halves after every `half_life_s`, and tells watchers.

    All processes over one database add to the same values. The one that was started last decides
    the half-life: after a change, the values are made again from the stored events.
    """

    def __init__(self, database: Database, *, half_life_s: float, idle_poll_s: float) -> None:
        self._database = database
        self._half_life_us = int(half_life_s * 1e6)
        self._changed = Signal()
        self._poll = SharedPoll(
            lambda: database.read(statements.read_state), self._changed, idle_poll_s
        )
        self._waiting = array("q")
        """The item of each event, and its time, by turns: as objects they would burden Python's
        search for garbage."""
        self._left: _Counted = np.empty(0, np.int64), np.empty(0, np.int64)
        self._come = asyncio.Event()
        self._counting = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to count, and to add what was stored before anything was counted."""
        await self._database.write(self._begin)
        loops = (self._keep_counting(), self._keep_filling())
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def close(self) -> None:
        """Stop, and count what was handed over."""
        # Not amid a transaction: its events would be counted twice.
        async with self._counting:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.count_waiting()
        except ServiceError as error:
            _log.warning("popularity_not_counted", reason=error.reason)

    def stored(self, new: Sequence[KnownEvent]) -> None:
        """Count events that were committed just now."""
        for each in new:
            if each.content.action != DISLIKE:
                # One of the future counts as one of now.
                self._waiting.extend((each.item_no, min(each.content.time_us, each.stored_us)))
        self._come.set()

    async def count_waiting(self) -> None:
        """Add the events that were handed over to the stored values. Raises Unavailable."""
        async with self._counting:
            await self._count_waiting()

    async def _count_waiting(self) -> None:
        new = np.array(self._waiting, np.int64).reshape(-1, 2)
        del self._waiting[:]
        self._left = _joined(self._left, (new[:, 0], new[:, 1]))
        if not len(self._left[0]):
            return
        state = await self._database.read(statements.read_state)
        for part in _parts(*_values(*self._left, state.half_life_us)):
            add = partial(_add, added=part, half_life_us=state.half_life_us)
            await self._database.write(add)
            self._changed.notify()
            items, times = self._left
            is_left = items > max(part)
            self._left = items[is_left], times[is_left]

    async def watch(
        self, since: int, lineage: str, half_life_us: int
    ) -> AsyncGenerator[PopularityChanges, None]:
        """Yield every change after a revision, for ever; the first answer comes at once.

        When the lineage or the half-life are no longer the given ones (empty or 0: unknown), all
        values are sent again.
        """
        place, revision, first, more, reset = (since, FILLED), since, True, False, False
        with self._poll.waiting():
            while True:
                mark = self._changed.mark
                read = partial(statements.changed_values, after=place, limit=WATCH_PAGE)
                rows, state, now = await self._database.read(read)
                is_other = lineage not in ("", now) or half_life_us not in (0, state.half_life_us)
                if is_other or place[0] > state.revision:
                    reset, place, revision = reset or since > 0 or not first, (0, 0), 0
                    lineage, half_life_us = now, state.half_life_us
                    continue
                lineage, half_life_us = now, state.half_life_us
                told_of_more, more = more, len(rows) == WATCH_PAGE
                if rows:
                    place = rows[-1].revision, rows[-1].item_no
                revision = revision if more else state.revision
                if rows or first or reset or told_of_more:
                    yield PopularityChanges(
                        np.array([row.item_no for row in rows], np.int64),
                        np.array([_told(row.value) for row in rows], np.float64),
                        revision,
                        not more,
                        lineage,
                        half_life_us,
                        reset,
                    )
                first = reset = False
                if not more:
                    await mark.wait()

    def _begin(self, connection: DatabaseConnection) -> None:
        state = statements.lock_state(connection)
        if state.half_life_us != self._half_life_us:
            statements.drop_values(connection)
            begun = PopularityState(state.revision + 1, self._half_life_us, now_us(), 0)
            statements.write_state(connection, begun)

    async def _keep_counting(self) -> None:
        while True:
            await self._come.wait()
            self._come.clear()
            began_s = time.monotonic()
            try:
                await self.count_waiting()
            except ServiceError:
                self._come.set()  # tried again
            except Exception as error:  # noqa: BLE001 - without it nothing would be counted any more
                job_failed("count_popularity", error)
            took_s = time.monotonic() - began_s
            await asyncio.sleep(min(max(_WRITE_EVERY_S, _PAUSE * took_s), _LONGEST_PAUSE_S))

    async def _keep_filling(self) -> None:
        """Add the events that were stored before counting began, until that is done once."""
        while True:
            try:
                await self.fill()
            except Exception as error:  # noqa: BLE001 - else the values would lack these events
                job_failed("fill_popularity", error)
                await asyncio.sleep(_WRITE_EVERY_S)
            else:
                return

    async def fill(self) -> None:
        """Add the events that were stored before counting began. Raises Unavailable.

        Processes that do so at the same time, and one that was ended in between, add each item's
        events once.
        """
        while (state := await self._database.read(statements.read_state)).filled_to < FILLED:
            items, values = await self._values_before(state)
            is_left = items > state.filled_to
            for part in (*_parts(items[is_left], values[is_left]), {}):
                if not await self._database.write(partial(_fill, added=part, begun=state)):
                    break
                self._changed.notify()

    async def _values_before(
        self, state: PopularityState
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the items of the events that were stored before counting began, and the values."""
        items, values = np.empty(0, np.int64), np.empty(0)
        after = (0, 0)
        while True:
            read = partial(statements.page_of_events, after=after, limit=_EVENT_PAGE)
            page = await self._database.read(read)
            rows = [
                (row.item_no, min(row.time_us, row.stored_us))
                for row in page
                if row.action != DISLIKE and row.stored_us < state.counted_from_us
            ]
            counted = np.array(rows, np.int64).reshape(-1, 2)
            new = _values(counted[:, 0], counted[:, 1], state.half_life_us)
            items, values = item_values(
                np.concatenate([items, new[0]]), np.concatenate([values, new[1]])
            )
            if len(page) < _EVENT_PAGE:
                return items, values
            after = page[-1].user_no, page[-1].sequence


def _values(
    items: NDArray[np.int64], times_us: NDArray[np.int64], half_life_us: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return item_values(items, event_values(times_us, half_life_us / 1e6))


def _told(value: float) -> float:
    return value if value > NO_EVENTS else NEVER


def _joined(some: _Counted, more: _Counted) -> _Counted:
    return np.concatenate([some[0], more[0]]), np.concatenate([some[1], more[1]])


def _parts(items: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[dict[int, float]]:
    """Return values by item, ascending, in parts that one transaction writes."""
    for start in range(0, len(items), _PART):
        part = slice(start, start + _PART)
        yield dict(zip(items[part].tolist(), values[part].tolist(), strict=True))


def _add(connection: DatabaseConnection, added: dict[int, float], half_life_us: int) -> None:
    state = statements.lock_state(connection)
    if state.half_life_us != half_life_us:
        # A process with another half-life has just begun; what is added here it reads as stored.
        count("popularity_discarded", len(added))
        return
    _add_up(connection, added, state)


def _fill(connection: DatabaseConnection, added: dict[int, float], begun: PopularityState) -> bool:
    """Add the values of the next items, none for the end.

    Return False when another process did it, or began anew.
    """
    state = statements.lock_state(connection)
    if state[1:3] != begun[1:3] or (added and state.filled_to >= min(added)):
        return False
    _add_up(connection, added, state._replace(filled_to=max(added, default=FILLED)))
    return True


def _add_up(
    connection: DatabaseConnection, added: dict[int, float], state: PopularityState
) -> None:
    held = statements.read_values(connection, list(added))
    before = [held.get(item_no, -np.inf) for item_no in added]
    total = np.logaddexp2(before, list(added.values())).tolist()
    revision = state.revision + 1
    statements.store_values(connection, dict(zip(added, total, strict=True)), revision)
    statements.write_state(connection, state._replace(revision=revision))
