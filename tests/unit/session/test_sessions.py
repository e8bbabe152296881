"""A write reaches the log before the window, and a window is right whatever happens around it."""

import asyncio
from collections.abc import Sequence

import pytest

from groundswell.common.v1.event_pb2 import (
    ACTION_VIEW,
    EVENT_STATUS_ACCEPTED,
    EVENT_STATUS_DUPLICATE,
    EVENT_STATUS_REJECTED,
    Event,
    EventResult,
)
from groundswell.profile.v1.event_service_pb2 import AppendEventsResponse
from groundswell.serving.errors import Unavailable
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.validation import to_timestamp
from groundswell.session_service.profile_client import window_event
from groundswell.session_service.sessions import Found, Sessions
from groundswell.session_service.windows import Listing, MemoryWindows, Window, WindowEvent

_DAY_US = 86_400_000_000


class MemoryLog:
    """The log that the profile service keeps, in memory; its answers can be held back."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, WindowEvent]] = {}
        self.num_listings = 0
        self.lineage = ""
        self.down = False
        self.failing: set[str] = set()
        self.answers = asyncio.Event()
        self.answers.set()

    async def append(
        self,
        events: Sequence[Event],
        remaining_s: float | None,  # noqa: ARG002 - the seam's
    ) -> AppendEventsResponse:
        if self.down:
            raise Unavailable("PROFILE_UNAVAILABLE", "down")
        results = [self._store(event) for event in events]
        await self.answers.wait()
        return AppendEventsResponse(results=results, lineage=self.lineage)

    async def newest(self, user_id: str, count: int) -> Listing:
        self.num_listings += 1
        if self.down or user_id in self.failing:
            raise Unavailable("PROFILE_UNAVAILABLE", "down")
        stored = sorted(self.stored.get(user_id, {}).values())
        await self.answers.wait()
        return Listing(stored[-count:][::-1], len(stored), self.lineage)

    def restore(self, lineage: str) -> None:
        """Hold nothing any more, as a restored backup of the empty log does."""
        self.stored.clear()
        self.lineage = lineage

    def _store(self, event: Event) -> EventResult:
        if event.item_id == "unknown":
            return EventResult(status=EVENT_STATUS_REJECTED, reason="ITEM_NOT_FOUND")
        mine = self.stored.setdefault(event.user_id, {})
        known = mine.get(event.event_id)
        if known is not None:
            return EventResult(
                status=EVENT_STATUS_DUPLICATE, sequence=known.sequence, item_no=known.item_no
            )
        item_no = int(event.item_id)
        mine[event.event_id] = window_event(event, len(mine) + 1, item_no)
        return EventResult(status=EVENT_STATUS_ACCEPTED, sequence=len(mine), item_no=item_no)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def event(event_id: str, user_id: str = "ann", item_id: str = "1", day: int = 0) -> Event:
    return Event(
        event_id=event_id,
        user_id=user_id,
        item_id=item_id,
        action=ACTION_VIEW,
        time=to_timestamp(1_700_000_000_000_000 + day * _DAY_US),
    )


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changed() -> list[Window]:
    """The windows that writes changed, as they were announced."""
    return []


@pytest.fixture
def sessions(log: MemoryLog, clock: Clock, changed: list[Window]) -> Sessions:
    return Sessions(
        log,
        MemoryWindows(10, 10_000_000),
        Pseudonymizer("a secret of the tests"),
        changed=lambda _, window: changed.append(window),
        ttl_s=10.0,
        clock=clock,
    )


async def found_for(sessions: Sessions, user_id: str, capacity: int = 5) -> Found:
    return await sessions.window(user_id, sessions.user_key(user_id), capacity)


async def window_of(sessions: Sessions, user_id: str, capacity: int) -> Window:
    return (await found_for(sessions, user_id, capacity)).window


def ids(window: Window) -> list[str]:
    return [e.event_id for e in window.events]


async def test_a_window_is_read_from_the_log_once_and_then_kept_by_its_writes(
    sessions: Sessions, log: MemoryLog
) -> None:
    await sessions.record([event("a")], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]
    await sessions.record([event("b", day=1)], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a", "b"]
    assert log.num_listings == 1


async def test_each_event_gets_its_own_result_in_the_order_of_the_call(sessions: Sessions) -> None:
    results = await sessions.record(
        [event("a"), event(""), event("b", item_id="unknown"), event("a"), event("c", user_id="")],
        None,
    )
    assert [r.status for r in results] == [
        EVENT_STATUS_ACCEPTED,
        EVENT_STATUS_REJECTED,
        EVENT_STATUS_REJECTED,
        EVENT_STATUS_DUPLICATE,
        EVENT_STATUS_REJECTED,
    ]
    assert [r.reason for r in results] == [
        "",
        "EVENT_ID_INVALID",
        "ITEM_NOT_FOUND",
        "",
        "USER_ID_INVALID",
    ]
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]


async def test_a_call_whose_events_are_all_wrong_does_not_reach_the_log(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.down = True
    results = await sessions.record([event("")], None)
    assert results[0].status == EVENT_STATUS_REJECTED


async def test_a_write_that_commits_while_the_log_is_read_is_in_the_window(
    sessions: Sessions, log: MemoryLog
) -> None:
    await sessions.record([event("a")], None)
    log.answers.clear()
    reading = asyncio.create_task(window_of(sessions, "ann", 5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log.num_listings == 1
    writing = asyncio.create_task(sessions.record([event("b", day=1)], None))
    await asyncio.sleep(0)
    log.answers.set()
    await writing
    assert ids(await reading) in (["a"], ["a", "b"])
    assert ids(await window_of(sessions, "ann", 5)) == ["a", "b"]
    assert log.num_listings == 1


async def test_many_readers_of_one_user_share_one_listing(
    sessions: Sessions, log: MemoryLog
) -> None:
    windows = await asyncio.gather(*(window_of(sessions, "ann", 5) for _ in range(20)))
    assert log.num_listings == 1
    assert all(window is windows[0] for window in windows)


async def test_a_reader_who_leaves_does_not_take_the_listing_from_the_others(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.answers.clear()
    first = asyncio.create_task(window_of(sessions, "ann", 5))
    second = asyncio.create_task(window_of(sessions, "ann", 5))
    await asyncio.sleep(0)
    first.cancel()
    log.answers.set()
    assert ids(await second) == []


async def test_a_write_whose_caller_left_is_looked_up_in_the_log(
    sessions: Sessions, log: MemoryLog
) -> None:
    await window_of(sessions, "ann", 5)
    log.answers.clear()
    writing = asyncio.create_task(sessions.record([event("a")], None))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    log.answers.set()
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]


async def test_a_duplicate_heals_the_window_and_the_log_has_the_last_word(
    sessions: Sessions, log: MemoryLog
) -> None:
    await window_of(sessions, "ann", 5)
    await log.append([event("a", item_id="1")], None)  # stored, but this window never heard of it
    results = await sessions.record([event("a", item_id="2")], None)
    assert results[0].status == EVENT_STATUS_DUPLICATE
    window = await window_of(sessions, "ann", 5)
    assert [e.item_no for e in window.events] == [1]


async def test_what_another_service_wrote_is_seen_when_the_window_gets_old(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    await window_of(sessions, "ann", 5)
    await log.append([event("imported")], None)
    clock.now += 10.5
    assert ids(await window_of(sessions, "ann", 5)) == ["imported"]


async def test_what_another_service_wrote_is_seen_at_once_after_a_write_behind_it(
    sessions: Sessions, log: MemoryLog
) -> None:
    await window_of(sessions, "ann", 5)
    await log.append([event("imported")], None)
    await sessions.record([event("mine", day=1)], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["imported", "mine"]


async def test_a_held_window_outlives_the_log(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    await sessions.record([event("a")], None)
    await window_of(sessions, "ann", 5)
    log.down = True
    clock.now += 60
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]
    with pytest.raises(Unavailable):
        await window_of(sessions, "bob", 5)
    with pytest.raises(Unavailable):
        await sessions.record([event("b")], None)


async def test_while_the_log_is_known_to_be_down_a_held_window_is_not_waited_for(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    await window_of(sessions, "ann", 5)
    log.down = True
    clock.now += 60
    await window_of(sessions, "ann", 5)
    log.down = False
    log.answers.clear()
    held = await asyncio.wait_for(window_of(sessions, "ann", 5), 1.0)
    assert ids(held) == []


async def test_a_log_that_is_back_is_found_without_a_write(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    await window_of(sessions, "ann", 5)
    log.down = True
    clock.now += 60
    await window_of(sessions, "ann", 5)
    log.down = False
    await log.append([event("a")], None)
    clock.now += 0.6
    await window_of(sessions, "ann", 5)
    await asyncio.sleep(0.01)
    assert await found_for(sessions, "ann") == (await window_of(sessions, "ann", 5), None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]


async def test_a_window_is_cut_to_its_newest_events(sessions: Sessions) -> None:
    await sessions.record([event(f"e{day}", day=day) for day in range(9)], None)
    assert ids(await window_of(sessions, "ann", 4)) == ["e5", "e6", "e7", "e8"]
    assert (await window_of(sessions, "ann", 4)).last_sequence == 9


async def test_a_longer_model_reads_further_back(sessions: Sessions) -> None:
    await sessions.record([event(f"e{day}", day=day) for day in range(9)], None)
    await window_of(sessions, "ann", 4)
    assert ids(await window_of(sessions, "ann", 6)) == ["e3", "e4", "e5", "e6", "e7", "e8"]


async def test_a_held_window_that_a_write_changed_is_announced_when_it_is_whole(
    sessions: Sessions, log: MemoryLog, changed: list[Window]
) -> None:
    await sessions.record([event("a")], None)
    assert changed == []
    await window_of(sessions, "ann", 5)
    await sessions.record([event("b", day=1)], None)
    assert [ids(window) for window in changed] == [["a", "b"]]
    await log.append([event("imported")], None)
    await sessions.record([event("c", day=2)], None)
    assert len(changed) == 1


async def test_a_stale_window_is_flagged_with_its_age(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    assert (await found_for(sessions, "ann")).stale_s is None
    log.down = True
    clock.now += 60
    assert (await found_for(sessions, "ann")).stale_s == 60
    clock.now += 3600
    assert (await found_for(sessions, "ann")).stale_s == 3660


async def test_a_window_after_a_write_of_unknown_outcome_is_stale_until_the_log_was_asked(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    await found_for(sessions, "ann")
    log.down = True
    clock.now += 2
    with pytest.raises(Unavailable):
        await sessions.record([event("a")], None)
    assert (await found_for(sessions, "ann")).stale_s == 2
    log.down = False
    clock.now += 1
    await found_for(sessions, "ann")
    await asyncio.sleep(0.01)
    assert (await found_for(sessions, "ann")).stale_s is None


async def test_one_users_failed_listing_makes_no_other_users_window_stale(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    for user_id in ("ann", "bob"):
        await found_for(sessions, user_id)
    log.failing.add("ann")
    await log.append([event("b", user_id="bob")], None)
    clock.now += 60
    for _ in range(20):
        assert (await found_for(sessions, "ann")).stale_s is not None
        clock.now += 1
    found = await found_for(sessions, "bob")
    assert (ids(found.window), found.stale_s) == (["b"], None)


async def test_in_an_outage_the_load_on_the_log_does_not_rise_with_the_reads(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    users = [f"user-{n}" for n in range(8)]
    for user_id in users:
        await found_for(sessions, user_id)
    log.down = True
    log.num_listings = 0
    clock.now += 60
    for _ in range(300):  # 30 seconds
        for user_id in users:
            assert (await found_for(sessions, user_id)).stale_s is not None
        await asyncio.sleep(0)
        clock.now += 0.1
    assert log.num_listings <= len(users) + 31
    log.down = False
    clock.now += 1
    for _ in range(3):
        for user_id in users:
            await found_for(sessions, user_id)
        await asyncio.sleep(0.01)
    assert [(await found_for(sessions, user_id)).stale_s for user_id in users] == [None] * 8


async def test_in_an_outage_a_user_without_a_window_is_refused_at_once_and_told_when_to_retry(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.down = True
    for n in range(3):
        with pytest.raises(Unavailable):
            await found_for(sessions, f"user-{n}")
    asked = log.num_listings
    with pytest.raises(Unavailable) as caught:
        await found_for(sessions, "another")
    assert caught.value.reason == "PROFILE_UNAVAILABLE"
    assert caught.value.retry_after_s is not None and 0 < caught.value.retry_after_s <= 1
    assert log.num_listings == asked


async def test_a_write_that_is_stored_ends_an_outage(
    sessions: Sessions, log: MemoryLog, clock: Clock
) -> None:
    users = ["ann", "bob", "eve"]
    for user_id in users:
        await found_for(sessions, user_id)
    log.down = True
    clock.now += 60
    for user_id in users:
        await found_for(sessions, user_id)
    log.down = False
    await sessions.record([event("a", user_id="dan")], None)
    assert [(await found_for(sessions, user_id)).stale_s for user_id in users] == [None] * 3


async def test_a_window_of_before_a_restore_is_read_anew_for_items_of_after_it(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.lineage = "before"
    await sessions.record([event("a"), event("b", day=1)], None)
    key = sessions.user_key("ann")
    held = await sessions.window("ann", key, 5, "before")
    assert ids(held.window) == ["a", "b"]
    log.restore("after")
    # It is not old yet: with the items of before it is still read.
    assert (await sessions.window("ann", key, 5, "before")).window is held.window
    assert ids((await sessions.window("ann", key, 5, "after")).window) == []
    await sessions.record([event("c")], None)
    assert ids((await sessions.window("ann", key, 5, "after")).window) == ["c"]


async def test_a_write_after_a_restore_ends_the_window_of_before(
    sessions: Sessions, log: MemoryLog
) -> None:
    """Sequences begin anew: the write would look like one that the window has."""
    log.lineage = "before"
    await sessions.record([event("a"), event("b", day=1)], None)
    key = sessions.user_key("ann")
    await sessions.window("ann", key, 5, "before")
    log.restore("after")
    await sessions.record([event("c", item_id="9")], None)
    assert ids((await sessions.window("ann", key, 5, "after")).window) == ["c"]


async def test_a_window_is_not_read_with_the_items_of_another_lineage(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.lineage = "after"
    await sessions.record([event("a")], None)
    key = sessions.user_key("ann")
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            await sessions.window("ann", key, 5, "before")
        assert (caught.value.reason, caught.value.retry_after_s) == ("LINEAGE_CHANGED", 0.5)
    assert ids((await sessions.window("ann", key, 5, "after")).window) == ["a"]


async def test_without_the_log_a_window_of_before_is_not_passed_off_as_stale(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.lineage = "before"
    await sessions.record([event("a")], None)
    key = sessions.user_key("ann")
    await sessions.window("ann", key, 5, "before")
    log.down = True
    with pytest.raises(Unavailable) as caught:
        await sessions.window("ann", key, 5, "after")
    assert caught.value.reason == "LINEAGE_CHANGED"
