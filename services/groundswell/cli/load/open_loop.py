"""Starts calls at a constant rate, whatever became of those before."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

_TICK_S = 0.002


async def open_loop(
    call: Callable[[float], Coroutine[Any, Any, object]], rate: float, seconds: float
) -> None:
    """Start `rate` calls a second for `seconds`, and return when all have ended.

    Each is given when it was due, by time.perf_counter(). A latency that is counted from then also
    counts what a call waited for a busy driver, which a caller that waits for answers would hide.
    A driver that is late catches up: the number of calls never depends on the answers.
    """
    began, number, num_calls = time.perf_counter(), 0, round(rate * seconds)
    async with asyncio.TaskGroup() as calls:
        while number < num_calls:
            num_due = min(num_calls, 1 + int((time.perf_counter() - began) * rate))
            for one in range(number, num_due):
                calls.create_task(call(began + one / rate))
            number = num_due
            await asyncio.sleep(_TICK_S)
