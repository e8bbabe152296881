"""A write reaches the log before the window, and a window is right after every order of events."""

import asyncio
from collections.abc import Mapping

import pytest

from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from groundswell.session_service.events import WriteStatus
from groundswell.session_service.sessions import Sessions
from groundswell.session_service.windows.memory import MemoryWindows
from groundswell.session_service.windows.window import Window, Written
from tests.support.sessions import Clock, MemoryLog, event, ids, window_of


async def test_a_window_is_read_from_the_log_once_and_then_kept_by_its_writes(
    sessions: Sessions, log: MemoryLog
) -> None:
    await sessions.record([event("a")], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]
    await sessions.record([event("b", day=1)], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a", "b"]
    assert log.num_listings == 1


async def test_each_event_gets_its_own_result_in_the_order_of_the_call(sessions: Sessions) -> None:
    results = await sessions.record([event("a"), event("b", item_id="unknown"), event("a")], None)
    assert [r.status.name for r in results] == ["ACCEPTED", "REJECTED", "DUPLICATE"]
    assert [r.reason for r in results] == ["", "ITEM_NOT_FOUND", ""]
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]


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
    assert all(window == windows[0] for window in windows)


async def test_a_reader_of_a_longer_window_does_not_get_the_shorter_one(
    sessions: Sessions, log: MemoryLog
) -> None:
    await sessions.record([event(name, day=day) for day, name in enumerate("abc")], None)
    log.answers.clear()
    shorter = asyncio.create_task(window_of(sessions, "ann", 1))
    longer = asyncio.create_task(window_of(sessions, "ann", 3))
    await asyncio.sleep(0)
    log.answers.set()
    assert ids(await longer) == ["a", "b", "c"]
    assert ids(await shorter)[-1] == "c"


class _AtOnce:
    async def wait(self) -> None:
        """Let an answer go out while earlier ones are held back."""


@pytest.mark.parametrize("moves", [False, True])
async def test_a_read_after_a_write_joins_no_listing_from_before_it(
    sessions: Sessions, log: MemoryLog, moves: bool
) -> None:
    visit = subject_id("", "visit")
    await sessions.record([event("a"), event("v", day=1, user_id=visit)], None)
    log.answers.clear()
    before = asyncio.create_task(window_of(sessions, "ann", 5))
    await asyncio.sleep(0.05)
    assert log.num_listings == 1
    held, log.answers = log.answers, _AtOnce()  # type: ignore[assignment]
    if moves:
        await sessions.link("visit", "ann", None)
    else:
        await sessions.record([event("b", day=2)], None)
        sessions._windows = MemoryWindows(100, 10**6)  # the window that took the write is lost
    after = await window_of(sessions, "ann", 5)
    held.set()
    assert ids(after) == (["a", "v"] if moves else ["a", "b"])
    await before


async def test_a_repeated_link_lets_windows_be_read_again(
    sessions: Sessions, log: MemoryLog
) -> None:
    visit = subject_id("", "visit")
    await sessions.record([event("a"), event("v", day=1, user_id=visit)], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]
    await log.link("visit", "ann", None)  # a call that was stored, and whose caller left
    assert await sessions.link("visit", "ann", None) == 0
    assert ids(await window_of(sessions, "ann", 5)) == ["a", "v"]


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


async def test_a_duplicate_heals_the_window_and_the_log_has_the_last_word(
    sessions: Sessions, log: MemoryLog
) -> None:
    await window_of(sessions, "ann", 5)
    await log.append([event("a", item_id="1")], None)  # stored, but this window never heard of it
    results = await sessions.record([event("a", item_id="2")], None)
    assert results[0].status is WriteStatus.DUPLICATE
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


async def test_a_linked_session_is_in_the_next_window_of_its_user_alone(
    sessions: Sessions,
) -> None:
    visit = subject_id("", "visit")
    await sessions.record([event("a", user_id=visit), event("b", day=1)], None)
    assert ids(await window_of(sessions, visit, 5)) == ["a"]
    assert ids(await window_of(sessions, "ann", 5)) == ["b"]
    assert await sessions.link("visit", "ann", None) == 1
    assert ids(await window_of(sessions, "ann", 5)) == ["a", "b"]
    assert ids(await window_of(sessions, visit, 5)) == []
    assert await sessions.link("visit", "ann", None) == 0


class SlowWindows(MemoryWindows):
    """A store in another process: other calls run while one waits for it."""

    async def get(self, user_mark: bytes) -> Window | None:
        await asyncio.sleep(0)
        held = await super().get(user_mark)
        await asyncio.sleep(0)
        return held

    async def swap(self, user_mark: bytes, before: Window | None, after: Window) -> bool:
        await asyncio.sleep(0)
        return await super().swap(user_mark, before, after)

    async def take(self, written: Mapping[bytes, Written]) -> dict[bytes, Window]:
        await asyncio.sleep(0)
        return await super().take(written)


async def test_writes_that_meet_in_a_slow_store_are_all_in_the_window(
    log: MemoryLog, clock: Clock
) -> None:
    sessions = Sessions(
        log,
        SlowWindows(10, 10_000_000),
        Pseudonymizer("a secret of the tests"),
        changed=lambda *_: None,
        ttl_s=10.0,
        clock=clock,
        now_us=lambda: int(clock() * 1e6),
    )
    await window_of(sessions, "ann", 50)
    await asyncio.gather(*(sessions.record([event(f"{n:02}", day=n)], None) for n in range(20)))
    assert ids(await window_of(sessions, "ann", 50)) == [f"{n:02}" for n in range(20)]
    assert log.num_listings == 1


async def test_a_session_that_expired_and_comes_back_has_a_window_of_its_own(
    sessions: Sessions, log: MemoryLog
) -> None:
    """Its sequences begin anew: the write would look like one that the window has."""
    log.expire()
    await sessions.record([event("a"), event("b", day=1)], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a", "b"]
    log.expire()
    await sessions.record([event("c", day=2)], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["c"]
    await sessions.record([event("d", day=3), event("e", day=4)], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["c", "d", "e"]


async def test_a_write_of_an_unknown_user_goes_on_from_the_empty_window(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.expire()
    assert ids(await window_of(sessions, "ann", 5)) == []
    await sessions.record([event("a")], None)
    assert ids(await window_of(sessions, "ann", 5)) == ["a"]
    assert log.num_listings == 1
