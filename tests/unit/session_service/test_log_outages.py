"""While the log does not answer, windows in memory are read and flagged as stale."""

import asyncio

import pytest

from groundswell.serving.errors import Unavailable
from groundswell.session_service.sessions import Sessions
from tests.support.sessions import Clock, MemoryLog, event, found_for, ids, window_of


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
