"""Waits for several awaitables at once; when one fails, the others are cancelled."""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def all_of(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Return all results, in order, or raise the first error and cancel what still runs.

    `asyncio.gather` lets the others go on after an error. So a refused call would leave work behind
    that no bound counts, and that delays the next calls.
    """
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    with _cancelled_after(tasks):
        return await asyncio.gather(*tasks)


async def both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Return both results, like `all_of`, for two awaitables of different types."""
    a, b = asyncio.ensure_future(first), asyncio.ensure_future(second)
    with _cancelled_after([a, b]):
        await asyncio.gather(a, b)
        return a.result(), b.result()


@contextmanager
def _cancelled_after(futures: Iterable["asyncio.Future[Any]"]) -> Iterator[None]:
    """At the end of the block, cancel the futures that have not ended."""
    try:
        yield
    finally:
        for future in futures:
            future.cancel()
