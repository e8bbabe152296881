"""Long work on the event loop leaves time for other calls, and batches work one after another."""

import asyncio
import time

import pytest

from groundswell.serving.slices import Slices


def slow(item: int) -> int:
    time.sleep(0.001)
    return 10 * item


async def test_others_run_between_the_slices_and_the_order_stays() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    ticking = asyncio.create_task(others())
    assert await Slices().map(slow, range(40)) == [10 * n for n in range(40)]
    ticking.cancel()
    assert turns >= 10


async def test_two_batches_work_one_after_the_other() -> None:
    slices, order = Slices(), []

    def noted(item: int) -> None:
        order.append(item)
        time.sleep(0.001)

    await asyncio.gather(slices.map(noted, range(20)), slices.map(noted, range(100, 120)))
    assert order == [*range(20), *range(100, 120)]


async def test_an_error_or_a_caller_that_leaves_frees_the_place() -> None:
    slices = Slices()
    with pytest.raises(ZeroDivisionError):
        await slices.map(lambda n: 1 // n, [1, 0])
    leaving = asyncio.create_task(slices.map(slow, range(1_000)))
    await asyncio.sleep(0.01)
    leaving.cancel()
    async with asyncio.timeout(10):
        assert await slices.map(slow, [1]) == [10]
