"""The micro-batcher forms batches from waiting items and refuses an item above its bounds."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from groundswell.serving.batching import MicroBatcher
from groundswell.serving.errors import ResourceExhausted, Unavailable


class Gate:
    """A batch function whose runs the test lets through, and that remembers them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.entered = threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.entered.set()
        assert self.open.wait(10)
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [10 * item for item in items]

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)
        self.entered.clear()


@asynccontextmanager
async def busy(gate: Gate, **limits: Any) -> AsyncIterator[MicroBatcher[int, int]]:
    """A batcher that runs the item 0 until the gate is opened."""
    batcher: MicroBatcher[int, int] = MicroBatcher(gate, name="test", **limits)
    running = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    yield batcher
    gate.open.set()
    assert await running == 0
    await batcher.close()


async def submitted(batcher: MicroBatcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Tasks that have submitted an item each."""
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def bulk_of(batcher: MicroBatcher[int, int], *items: int) -> asyncio.Task[list[int]]:
    """A task that has submitted items together."""
    task = asyncio.create_task(batcher.submit_all(items))
    await asyncio.sleep(0)
    return task


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def test_one_item_runs_alone_and_at_once(gate: Gate) -> None:
    gate.open.set()
    batcher = MicroBatcher(gate, name="test", max_batch=8, max_queue=8)
    assert await batcher.submit(3) == 30
    assert gate.batches == [[3]]
    await batcher.close()


async def test_what_comes_while_a_batch_runs_is_the_next_batch(gate: Gate) -> None:
    async with busy(gate, max_batch=3, max_queue=8) as batcher:
        others = await submitted(batcher, 1, 2, 3, 4)
        # The event loop runs on while a batch runs.
        assert not any(task.done() for task in others)
        gate.open.set()
        assert await asyncio.gather(*others) == [10, 20, 30, 40]
    assert gate.batches == [[0], [1, 2, 3], [4]]


async def test_one_too_many_is_refused_at_once_with_a_time_to_come_back(gate: Gate) -> None:
    async with busy(gate, max_batch=1, max_queue=2) as batcher:
        waiting = await submitted(batcher, 1, 2)
        with pytest.raises(ResourceExhausted) as caught:
            await batcher.submit(3)
        assert caught.value.reason == "OVERLOADED"
        assert caught.value.retry_after_s is not None
        gate.open.set()
        assert await asyncio.gather(*waiting) == [10, 20]


async def test_an_item_whose_caller_is_gone_is_not_run(gate: Gate) -> None:
    async with busy(gate, max_batch=8, max_queue=8) as batcher:
        gone, stays = await submitted(batcher, 1, 2)
        gone.cancel()
        gate.open.set()
        assert await stays == 20
    assert gate.batches == [[0], [2]]


async def test_a_bad_item_fails_alone(gate: Gate) -> None:
    async with busy(gate, max_batch=8, max_queue=8) as batcher:
        others = await submitted(batcher, 1, -2, 3)
        gate.open.set()
        first, bad, last = await asyncio.gather(*others, return_exceptions=True)
        assert (first, last) == (10, 30)
        assert isinstance(bad, ValueError)
        assert await batcher.submit(5) == 50


async def test_a_function_that_loses_an_item_is_an_error_for_its_callers() -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher(
        lambda items: items[1:], name="test", max_batch=4, max_queue=4
    )
    with pytest.raises(RuntimeError, match="1 items gave 0 results"):
        await batcher.submit(1)
    await batcher.close()


async def test_closing_finishes_what_was_submitted_and_takes_no_more(gate: Gate) -> None:
    async with busy(gate, max_batch=1, max_queue=4) as batcher:
        tasks = await submitted(batcher, 1, 2)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await batcher.submit(3)
        gate.open.set()
        assert await asyncio.gather(*tasks) == [10, 20]
        await closing


async def test_single_items_go_before_bulk_ones_which_still_get_every_fourth_place(
    gate: Gate,
) -> None:
    async with busy(gate, max_batch=8, max_queue=64) as batcher:
        bulk = await bulk_of(batcher, *range(100, 120))
        single = await submitted(batcher, 1, 2, 3)
        gate.open.set()
        assert await asyncio.gather(*single) == [10, 20, 30]
        assert {1, 2, 3} <= set(gate.batches[1]) <= {1, 2, 3, 100}
        assert await bulk == [10 * n for n in range(100, 120)]


async def test_bulk_items_are_not_kept_waiting_for_ever_by_single_ones(gate: Gate) -> None:
    async with busy(gate, max_batch=1, max_queue=64) as batcher:
        bulk = await bulk_of(batcher, 100)
        single = await submitted(batcher, *range(1, 30))
        gate.open.set()
        await asyncio.gather(bulk, *single)
    assert gate.batches.index([100]) <= 4


async def test_bulk_is_admitted_whole_or_not_at_all_and_takes_no_single_items_place(
    gate: Gate,
) -> None:
    async with busy(gate, max_batch=8, max_queue=4) as batcher:
        waiting = await bulk_of(batcher, 5, 6)
        with pytest.raises(ResourceExhausted):
            await batcher.submit_all([7, 8, 9])
        single = await submitted(batcher, *range(10, 14))
        gate.open.set()
        assert await asyncio.gather(*single) == [100, 110, 120, 130]
        assert await waiting == [50, 60]
    assert 7 not in {n for batch in gate.batches for n in batch}


async def test_bulk_goes_on_when_every_single_caller_before_it_is_gone(gate: Gate) -> None:
    async with busy(gate, max_batch=4, max_queue=64) as batcher:
        bulk = await bulk_of(batcher, 1, 2)
        for task in await submitted(batcher, 7, 8):
            task.cancel()
        gate.open.set()
        assert await bulk == [10, 20]


async def test_what_waits_is_bounded_by_bytes_and_an_empty_queue_takes_anything(
    gate: Gate,
) -> None:
    limits = {"max_batch": 1, "max_queue": 64, "max_bytes": 100, "size": int}
    async with busy(gate, **limits) as batcher:
        waiting = await submitted(batcher, 60, 40)
        bulk = await bulk_of(batcher, 70, 80)
        with pytest.raises(ResourceExhausted):
            await batcher.submit(1)
        gate.open.set()
        assert await asyncio.gather(*waiting) == [600, 400]
        assert await bulk == [700, 800]
        assert await batcher.submit(99) == 990


async def test_a_cheap_item_runs_on_the_event_loop_until_items_cost_more() -> None:
    on_loop: list[bool] = []

    def run(items: list[float]) -> list[float]:
        on_loop.append(threading.current_thread() is threading.main_thread())
        until = time.thread_time() + sum(items)
        while time.thread_time() < until:
            pass
        return items

    batcher = MicroBatcher(
        run,
        name="test",
        max_batch=8,
        max_queue=8,
        size=lambda seconds: seconds < 0,
        on_loop_below_s=0.002,
        on_loop_max_size=0,
    )
    for _ in range(200):
        await batcher.submit(0.0)
    on_loop.clear()
    await asyncio.gather(*(batcher.submit(0.0) for _ in range(3)))
    assert on_loop == [True, True]  # The first one at once, and then the others together.
    for _ in range(8):  # Of cheap items not each is measured.
        await batcher.submit(0.03)
    await batcher.submit(0.0)
    assert not on_loop[-1]
    for _ in range(50):
        await batcher.submit(0.0)
    assert on_loop[-1]
    await batcher.submit(-1.0)
    assert not on_loop[-1]  # It is too large.
    await batcher.close()


async def test_items_of_more_weight_make_smaller_batches() -> None:
    gate = Gate()
    async with busy(gate, max_batch=4, max_queue=20, weight=lambda item: item) as batcher:
        tasks = await submitted(batcher, 1, 2, 1, 3, 9, 1, 1)
        gate.open.set()
        await asyncio.gather(*tasks)
    assert gate.batches == [[0], [1, 2, 1], [3, 9], [1, 1]]
