"""Calls start in their order, few while the event loop is behind, and all while it keeps up."""

import asyncio
import time

from groundswell.serving.pacing import Pacer


async def start(pacer: Pacer) -> None:
    if not pacer.starts():
        await pacer.turn()


async def test_calls_that_only_wait_all_run_at_once() -> None:
    pacer, running = Pacer(), 0
    all_run, done = asyncio.Event(), asyncio.Event()

    async def call() -> None:
        nonlocal running
        await start(pacer)
        running += 1
        if running == len(tasks):
            all_run.set()
        await done.wait()
        pacer.end()

    tasks = [asyncio.create_task(call()) for _ in range(200)]
    async with asyncio.timeout(20):
        await all_run.wait()
    done.set()
    await asyncio.gather(*tasks)


async def test_calls_that_keep_the_loop_busy_run_a_few_at_a_time_and_in_order() -> None:
    pacer, running, most = Pacer(), 0, 0
    order: list[int] = []

    async def call(number: int) -> None:
        nonlocal running, most
        await start(pacer)
        order.append(number)
        running += 1
        most = max(most, running)
        for _ in range(3):
            time.sleep(0.002)  # noqa: ASYNC251 - work on the event loop
            await asyncio.sleep(0)
        running -= 1
        pacer.end()

    await asyncio.gather(*(call(number) for number in range(60)))
    assert order == sorted(order)
    assert most <= 24


async def test_who_leaves_while_waiting_takes_no_place() -> None:
    pacer = Pacer()
    for _ in range(8):
        await start(pacer)

    async def call() -> None:
        await start(pacer)
        pacer.end()

    gone = [asyncio.create_task(call()) for _ in range(20)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    stays = asyncio.create_task(call())
    for _ in range(8):
        pacer.end()
    async with asyncio.timeout(10):
        await stays
        for _ in range(8):
            await start(pacer)
