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
    """Return both results; when either fails, or the caller leaves, the first is cancelled.

    An error of the first is raised once the second has ended. `all_of` does not wait for that, but
    costs two tasks more.
    """
    beside = asyncio.ensure_future(first)
    try:
        result = await second
        return await beside, result
    finally:
        if not (beside.cancel() or beside.cancelled()):
            beside.exception()  # else it would be logged when the second has failed, too


@contextmanager
def _cancelled_after(futures: Iterable["asyncio.Future[Any]"]) -> Iterator[None]:
    """At the end of the block, cancel the futures that have not ended."""
    try:
        yield
    finally:
        for future in futures:
            future.cancel()
