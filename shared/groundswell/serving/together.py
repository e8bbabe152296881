"""Waits for several things at once; when one fails, the others end with it."""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def all_of(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Return all results, in order, or raise the first error and cancel what still runs.

    `asyncio.gather` lets the others go on after an error. A call that is refused would then leave
    work behind that nobody waits for and nobody counts, and the next one would wait for it.
    """
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    with _cancelled_after(tasks):
        return await asyncio.gather(*tasks)


async def both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Return both results; as `all_of` for two of different types."""
    a, b = asyncio.ensure_future(first), asyncio.ensure_future(second)
    with _cancelled_after([a, b]):
        await asyncio.gather(a, b)
        return a.result(), b.result()


@contextmanager
def _cancelled_after(futures: Iterable["asyncio.Future[Any]"]) -> Iterator[None]:
    """Cancel at the end of the block what has not ended by then."""
    try:
        yield
    finally:
        for future in futures:
            future.cancel()
