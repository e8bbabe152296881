"""Every store of windows keeps the same promises; the one in Valkey also survives its server."""

import random
import time
from collections.abc import AsyncIterator

import pytest

from groundswell.session_service.windows.memory import MemoryWindows
from groundswell.session_service.windows.records import WindowEvent, session_code
from groundswell.session_service.windows.store import WindowStore
from groundswell.session_service.windows.valkey import ValkeyWindows
from groundswell.session_service.windows.window import Listing, Window, Written
from tests.support.valkey import Valkey

LINEAGE = "0123456789abcdef" * 2
NOW_US = 1_800_000_000_000_000


def valkey_windows(server: Valkey) -> ValkeyWindows:
    return ValkeyWindows(server.url, timeout_s=5.0, keep_s=60.0)


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[WindowStore]:
    made: WindowStore
    if request.param == "memory":
        made = MemoryWindows(1_000, 1_000_000)
    else:
        server = request.getfixturevalue("valkey")
        server.run("FLUSHALL")
        made = valkey_windows(server)
    yield made
    await made.close()


def event(sequence: int, time_us: int = 0) -> WindowEvent:
    return WindowEvent(time_us or NOW_US + sequence, sequence, 7, 1, session_code("visit"))


def listed(*events: WindowEvent, capacity: int = 3) -> Window:
    listing = Listing(events[-capacity:], len(events), LINEAGE)
    return Window(capacity).relisted(listing, capacity=capacity, known=0, now_us=NOW_US)


def accepted(*events: WindowEvent, lineage: str = LINEAGE) -> Written:
    return Written(list(events), [], lineage, NOW_US)


async def test_a_window_that_is_held_is_given_back(store: WindowStore) -> None:
    assert await store.get(b"a") is None
    assert await store.swap(b"a", None, listed(event(1)))
    assert await store.get(b"a") == listed(event(1))
    assert await store.get(b"b") is None
    assert await store.get_all([b"b", b"a", b"b"]) == [None, listed(event(1)), None]


async def test_windows_of_users_who_were_erased_are_dropped(store: WindowStore) -> None:
    for key in (b"a", b"b", b"c"):
        await store.swap(key, None, listed(event(1)))
    await store.drop({b"a", b"c", b"unknown"})
    assert await store.get_all([b"a", b"b", b"c"]) == [None, listed(event(1)), None]


async def test_a_window_replaces_the_one_that_it_was_made_of(store: WindowStore) -> None:
    first = listed(event(1))
    await store.swap(b"a", None, first)
    # Equal is enough: the window may have been read from somewhere else.
    assert await store.swap(b"a", listed(event(1)), first.doubted(5))
    assert await store.get(b"a") == first.doubted(5)


async def test_a_window_does_not_replace_another_one(store: WindowStore) -> None:
    first = listed(event(1))
    await store.swap(b"a", None, first)
    assert not await store.swap(b"a", None, Window(3))
    assert not await store.swap(b"a", Window(3), Window(4))
    assert not await store.swap(b"b", first, Window(3))
    assert await store.get(b"a") == first
    assert await store.get(b"b") is None


async def test_only_windows_that_are_held_take_writes(store: WindowStore) -> None:
    await store.swap(b"a", None, listed(event(1)))
    taken = await store.take({b"a": accepted(event(2)), b"b": accepted(event(1))})
    assert taken == {b"a": listed(event(1)).taken(accepted(event(2)))}
    assert await store.get(b"a") == taken[b"a"]
    assert await store.get(b"b") is None


async def test_any_write_is_taken_as_the_window_itself_takes_it(store: WindowStore) -> None:
    """300 windows of any content, and writes of any content: the store does what a Window does."""
    choice = random.Random(7)
    expected, writes = {}, {}
    for user in range(300):
        key, capacity = b"%d" % user, choice.randint(1, 6)
        listed_us = choice.choice((NOW_US, NOW_US + 9, 2**32 * 419_430 - 1))
        # Few times, of which some differ in the highest and some in the lowest bits only.
        times = [choice.choice((-(2**50), NOW_US, NOW_US + 1, 2**52, 2**52 + 1)) for _ in range(9)]
        events = [event(n, time_us) for n, time_us in enumerate(times, start=1)]
        window = Window(capacity, doubt_until_us=choice.choice((0, NOW_US, NOW_US + 5)))
        first = sorted(events[: choice.randint(0, 9)], key=lambda e: e.time_us)
        if choice.random() < 0.8:
            history = choice.choice((0, 1, 1, 2**40))
            listing = Listing(first[-capacity:], len(first), LINEAGE, history)
            window = window.relisted(listing, capacity=capacity, known=0, now_us=listed_us)
        sent = sorted(choice.sample(events, choice.randint(1, 5)), key=lambda e: e.time_us)
        half = choice.randint(0, len(sent))
        lineage = LINEAGE if choice.random() < 0.9 else "f" * 32
        now_us, history = NOW_US + choice.randint(-1, 6), choice.choice((0, 1, 2**40))
        writes[key] = Written(sent[:half], sent[half:], lineage, now_us, history)
        assert await store.swap(key, None, window)
        expected[key] = window.taken(writes[key])
    assert await store.take(writes) == expected
    assert {key: await store.get(key) for key in writes} == expected
    assert await store.get_all(list(expected)) == list(expected.values())


async def test_a_window_in_valkey_is_small_and_leaves_by_itself(valkey: Valkey) -> None:
    store = valkey_windows(valkey)
    key = bytes(range(32))
    await store.swap(key, None, listed(*(event(n) for n in range(1, 52)), capacity=51))
    name = valkey.run("RANDOMKEY")
    used = valkey.run("MEMORY", "USAGE", name)
    assert isinstance(used, int) and used <= 1_200
    assert 55_000 < int(str(valkey.run("PTTL", name))) <= 60_000
    await store.close()


async def test_a_valkey_that_dies_holds_nothing_and_is_used_again_when_it_is_back(
    valkey: Valkey,
) -> None:
    store = ValkeyWindows(valkey.url, timeout_s=0.5, keep_s=60.0)
    assert await store.swap(b"a", None, listed(event(1)))
    valkey.kill()
    assert await store.get(b"a") is None
    assert not await store.swap(b"b", None, listed(event(1)))
    assert await store.take({b"a": accepted(event(2))}) == {}
    begun = time.monotonic()
    for _ in range(100):
        assert await store.get(b"a") is None
    assert time.monotonic() - begun < 1.0  # it is not asked each time
    valkey.start()
    while not await store.swap(b"c", None, listed(event(1))):
        assert time.monotonic() - begun < 10
    # The server has forgotten its scripts.
    assert (await store.take({b"c": accepted(event(2))}))[b"c"].last_sequence == 2
    await store.close()


async def test_a_window_that_missed_a_write_is_not_read_again(valkey: Valkey) -> None:
    """As when this process alone loses its way to the server, which goes on."""
    store = ValkeyWindows(valkey.url, timeout_s=0.3, keep_s=60.0, clock=lambda: 0.0)
    await store.swap(b"missed", None, listed(event(1)))
    await store.swap(b"other", None, listed(event(1)))
    valkey.run("CLIENT", "PAUSE", "700", "ALL")
    assert await store.take({b"missed": accepted(event(2))}) == {}
    assert await store.get(b"other") is None
    valkey.run("PING")  # it answers when the pause ends
    # Reads wait for their turn; a write does not.
    assert await store.get(b"other") is None
    taken = await store.take({b"other": accepted(event(2))})
    assert taken == {b"other": await store.get(b"other")}
    assert await store.get(b"missed") is None
    await store.close()


async def test_what_another_program_wrote_is_no_window(valkey: Valkey) -> None:
    store = valkey_windows(valkey)
    for odd in ("", "odd", "x" * 100):
        valkey.run("SET", f"gsw1:{odd}", odd)
        assert await store.get(f"{odd}".encode()) is None
        assert await store.swap(f"{odd}".encode(), None, listed(event(1)))
    await store.close()


async def test_a_doubt_that_the_store_missed_ends_the_window(valkey: Valkey) -> None:
    store = ValkeyWindows(valkey.url, timeout_s=0.3, keep_s=60.0, clock=lambda: 0.0)
    window = listed(event(1))
    await store.swap(b"doubted", None, window)
    valkey.run("CLIENT", "PAUSE", "700", "ALL")
    assert not await store.swap(b"doubted", window, window.doubted(9))
    valkey.run("PING")  # it answers when the pause ends
    await store.take({b"other": accepted(event(2))})  # a write tries the store again
    assert await store.get(b"doubted") is None
    await store.close()
