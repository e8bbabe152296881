"""What every store of windows promises, and the bounds of the one in memory."""

from collections.abc import Callable

import pytest

from groundswell.session_service.windows.memory import MemoryWindows
from groundswell.session_service.windows.store import WindowStore
from groundswell.session_service.windows.window import Listing, Window, WindowEvent
from tests.support.memory import allocations

STORES: dict[str, Callable[[], WindowStore]] = {"memory": lambda: MemoryWindows(10, 1_000_000)}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> WindowStore:
    return STORES[request.param]()


def event(sequence: int) -> WindowEvent:
    return WindowEvent(sequence, 0, f"e{sequence}", sequence, 7, 1, "visit")


def listed(events: list[WindowEvent], capacity: int = 3) -> Window:
    listing = Listing(events[-capacity:], len(events))
    return Window(capacity).relisted(listing, capacity=capacity, known=0, now_us=0)


async def test_a_window_that_is_held_is_given_back(store: WindowStore) -> None:
    assert await store.get(b"a") is None
    assert await store.swap(b"a", None, listed([event(1)]))
    assert await store.get(b"a") == await store.get(b"a", is_read=False) == listed([event(1)])
    assert await store.get(b"b") is None


async def test_a_window_replaces_the_one_that_it_was_made_of(store: WindowStore) -> None:
    first = listed([event(1)])
    await store.swap(b"a", None, first)
    # Equal is enough: the window may have been read from somewhere else.
    assert await store.swap(b"a", listed([event(1)]), first.merged([event(2)]))
    assert await store.get(b"a") == first.merged([event(2)])


async def test_a_window_does_not_replace_another_one(store: WindowStore) -> None:
    first = listed([event(1)])
    await store.swap(b"a", None, first)
    assert not await store.swap(b"a", None, Window(3))
    assert not await store.swap(b"a", Window(3), Window(4))
    assert not await store.swap(b"b", first, first.merged([event(2)]))
    assert await store.get(b"a") == first
    assert await store.get(b"b") is None


async def test_the_window_that_was_read_least_recently_leaves_first() -> None:
    windows = MemoryWindows(max_windows=2, max_bytes=1_000_000)
    await windows.swap(b"a", None, Window(3))
    await windows.swap(b"b", None, Window(3))
    await windows.get(b"a")
    await windows.get(b"b", is_read=False)
    await windows.swap(b"c", None, Window(3))
    assert await windows.get(b"b") is None
    assert await windows.get(b"a") is not None
    assert len(windows) == 2


@pytest.mark.parametrize("id_length", [1, 128])
async def test_windows_take_no_more_memory_than_their_bound(id_length: int) -> None:
    bound = 3_000_000
    windows = MemoryWindows(max_windows=100_000, max_bytes=bound)
    with allocations() as held:
        for user in range(600 if id_length == 1 else 300):
            events = [
                WindowEvent(
                    10**15 + user * 1_000 + n,
                    10**6 + n,
                    f"{user}-{n}-{'é' * id_length}",
                    10**6 + n,
                    10**7 + n,
                    2,
                    f"{user}-{n}",
                )
                for n in range(51)
            ]
            found = Listing(events, 10**6 + 50)
            window = Window(51).relisted(found, capacity=51, known=0, now_us=10**15 + user)
            await windows.swap(b"%032d" % user, None, window)
        del events, found, window
        assert bound // 3 <= held() <= 1.2 * bound
    assert await windows.get(b"%032d" % 0) is None


async def test_a_window_that_grows_by_writes_makes_room_for_itself() -> None:
    windows = MemoryWindows(max_windows=10, max_bytes=13_500)
    for user in (b"ann", b"bob"):
        await windows.swap(user, None, listed([], capacity=40))
    for n in range(1, 35):
        held = await windows.get(b"bob")
        assert held is not None
        await windows.swap(b"bob", held, held.merged([event(n)]))
    assert await windows.get(b"ann") is None
