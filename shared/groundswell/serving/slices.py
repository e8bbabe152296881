"""Does long work on the event loop in slices, so that short calls are served in between."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_SLICE_S = 0.002


class Slices:
    """Works for one batch at a time, in slices of 2 ms; one item has to take less.

    Slices of several batches at once would add up. Not thread-safe: it belongs to the event loop.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return the function's results, in the order of the items."""
        results = []
        async with self._lock:
            until = time.perf_counter() + _SLICE_S
            for item in items:
                results.append(function(item))
                if time.perf_counter() >= until:
                    await asyncio.sleep(0)
                    until = time.perf_counter() + _SLICE_S
        return results
