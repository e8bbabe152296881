"""The micro-batcher forms batches from waiting items and refuses an item above its bounds."""

import asyncio
import threading

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


async def test_one_item_runs_alone_and_at_once() -> None:
    gate = Gate()
    gate.open.set()
    batcher = MicroBatcher(gate, max_batch=8, max_queue=8)
    assert await batcher.submit(3) == 30
    assert gate.batches == [[3]]
    await batcher.close()


async def test_what_comes_while_a_batch_runs_is_the_next_batch() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=3, max_queue=8)
    first = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    others = [asyncio.create_task(batcher.submit(n)) for n in (1, 2, 3, 4)]
    await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(first, *others) == [0, 10, 20, 30, 40]
    assert gate.batches == [[0], [1, 2, 3], [4]]
    await batcher.close()


async def test_the_event_loop_runs_on_while_a_batch_runs() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=1, max_queue=1)
    task = asyncio.create_task(batcher.submit(1))
    await gate.wait_entered()
    assert not task.done()
    gate.open.set()
    assert await task == 10
    await batcher.close()


async def test_one_too_many_is_refused_at_once_with_a_time_to_come_back() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=1, max_queue=2)
    running = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    waiting = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as caught:
        await batcher.submit(3)
    assert caught.value.reason == "OVERLOADED"
    assert caught.value.retry_after_s is not None
    gate.open.set()
    assert await asyncio.gather(running, *waiting) == [0, 10, 20]
    await batcher.close()


async def test_an_item_whose_caller_is_gone_is_not_run() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=8, max_queue=8)
    running = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    gone, stays = (asyncio.create_task(batcher.submit(n)) for n in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    gate.open.set()
    assert [await running, await stays] == [0, 20]
    assert gate.batches == [[0], [2]]
    await batcher.close()


async def test_a_bad_item_fails_alone() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=8, max_queue=8)
    running = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    others = [asyncio.create_task(batcher.submit(n)) for n in (1, -2, 3)]
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(running, *others, return_exceptions=True)
    assert [results[0], results[1], results[3]] == [0, 10, 30]
    assert isinstance(results[2], ValueError)
    assert await batcher.submit(5) == 50
    await batcher.close()


async def test_a_function_that_loses_an_item_is_an_error_for_its_callers() -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher(
        lambda items: items[1:], max_batch=4, max_queue=4
    )
    with pytest.raises(RuntimeError, match="1 items gave 0 results"):
        await batcher.submit(1)
    await batcher.close()


async def test_closing_finishes_what_was_submitted_and_takes_no_more() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=1, max_queue=4)
    tasks = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await gate.wait_entered()
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await batcher.submit(3)
    gate.open.set()
    assert await asyncio.gather(*tasks) == [10, 20]
    await closing


async def test_single_items_go_before_bulk_ones_which_still_get_every_fourth_place() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=8, max_queue=64)
    running = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    bulk = asyncio.create_task(batcher.submit_all(range(100, 120)))
    await asyncio.sleep(0)
    single = [asyncio.create_task(batcher.submit(n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(*single) == [10, 20, 30]
    assert {1, 2, 3} <= set(gate.batches[1]) <= {1, 2, 3, 100}
    assert await bulk == [10 * n for n in range(100, 120)]
    assert await running == 0
    await batcher.close()


async def test_bulk_items_are_not_kept_waiting_for_ever_by_single_ones() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=1, max_queue=64)
    running = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    bulk = asyncio.create_task(batcher.submit_all([100]))
    await asyncio.sleep(0)
    single = [asyncio.create_task(batcher.submit(n)) for n in range(1, 30)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(running, bulk, *single)
    assert gate.batches.index([100]) <= 4
    await batcher.close()


async def test_bulk_is_admitted_whole_or_not_at_all_and_takes_no_single_items_place() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=8, max_queue=4)
    bulk = asyncio.create_task(batcher.submit_all([1, 2, 3, 4]))
    await gate.wait_entered()
    waiting = asyncio.create_task(batcher.submit_all([5, 6]))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await batcher.submit_all([7, 8, 9])
    single = [asyncio.create_task(batcher.submit(n)) for n in range(10, 14)]
    await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(*single) == [100, 110, 120, 130]
    assert await bulk + await waiting == [10, 20, 30, 40, 50, 60]
    assert 7 not in {n for batch in gate.batches for n in batch}
    await batcher.close()


async def test_bulk_goes_on_when_every_single_caller_before_it_is_gone() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=4, max_queue=64)
    running = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    bulk = asyncio.create_task(batcher.submit_all([1, 2]))
    gone = [asyncio.create_task(batcher.submit(n)) for n in (7, 8)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    gate.open.set()
    assert await bulk == [10, 20]
    await running
    await batcher.close()


async def test_what_waits_is_bounded_by_bytes_and_an_empty_queue_takes_anything() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, max_batch=1, max_queue=64, max_bytes=100, size=lambda item: item)
    running = asyncio.create_task(batcher.submit(0))
    await gate.wait_entered()
    waiting = [asyncio.create_task(batcher.submit(n)) for n in (60, 40)]
    bulk = asyncio.create_task(batcher.submit_all([70, 80]))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await batcher.submit(1)
    gate.open.set()
    assert await asyncio.gather(*waiting) == [600, 400]
    assert await bulk == [700, 800]
    assert await batcher.submit(99) == 990
    await running
    await batcher.close()
