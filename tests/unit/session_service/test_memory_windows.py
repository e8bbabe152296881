"""Windows in memory are bounded by their number and by the memory that they take."""

import pytest

from groundswell.session_service.windows.memory import MemoryWindows
from groundswell.session_service.windows.records import WindowEvent, session_code
from groundswell.session_service.windows.window import Listing, Window, Written
from tests.support.memory import allocations


def listed(*events: WindowEvent, capacity: int = 3) -> Window:
    listing = Listing(events[-capacity:], len(events))
    return Window(capacity).relisted(listing, capacity=capacity, known=0, now_us=0)


def event(n: int) -> WindowEvent:
    return WindowEvent(10**15 + n, n, 10**7 + n, 2, session_code("visit"))


async def test_the_window_that_was_read_least_recently_leaves_first() -> None:
    windows = MemoryWindows(max_windows=2, max_bytes=1_000_000)
    await windows.swap(b"a", None, Window(3))
    await windows.swap(b"b", None, Window(3))
    await windows.get(b"a")
    await windows.take({b"b": Written([event(1)], [], "", 0)})
    await windows.swap(b"c", None, Window(3))
    assert await windows.get(b"b") is None
    assert await windows.get(b"a") is not None
    assert len(windows) == 2


@pytest.mark.parametrize("num_events", [0, 51])
async def test_windows_take_no_more_memory_than_their_bound(num_events: int) -> None:
    bound = 3_000_000
    windows = MemoryWindows(max_windows=100_000, max_bytes=bound)
    with allocations() as held:
        for user in range(10_000 if num_events == 0 else 3_000):
            window = listed(*(event(n) for n in range(num_events)), capacity=51)
            await windows.swap(b"%032d" % user, None, window)
        assert bound // 3 <= held() <= 1.2 * bound
    assert await windows.get(b"%032d" % 0) is None


async def test_a_window_that_grows_by_writes_makes_room_for_itself() -> None:
    windows = MemoryWindows(max_windows=10, max_bytes=1_600)
    for user in (b"ann", b"bob"):
        await windows.swap(user, None, listed(capacity=40))
    assert await windows.get(b"ann") is not None
    await windows.take({b"bob": Written([event(n) for n in range(1, 35)], [], "", 0)})
    # A write does not count as a use: ann's window was read.
    assert await windows.get(b"bob") is None
    assert await windows.get(b"ann") is not None
