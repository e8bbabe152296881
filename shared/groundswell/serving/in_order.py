"""Works on several items of a stream at once, and gives the results in the order of the items."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    function: Callable[[T], Awaitable[R]], items: AsyncIterable[T], at_once: int
) -> AsyncGenerator[R, None]:
    """Yield `function(item)` of each item; at most `at_once` are under way or wait to be taken.

    Raises what `function` or reading the items raises, after the results before it.
    """
    room = asyncio.Semaphore(at_once)
    started: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()

    async def start_all() -> None:
        async for item in items:
            await room.acquire()
            started.put_nowait(asyncio.ensure_future(function(item)))

    starting = asyncio.create_task(start_all())
    starting.add_done_callback(started.put_nowait)
    try:
        while (result := await started.get()) is not starting:
            yield await result
            room.release()
        await starting
    finally:
        starting.cancel()
        left = [starting, *(started.get_nowait() for _ in range(started.qsize()))]
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)
