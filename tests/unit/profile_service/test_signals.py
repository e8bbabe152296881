"""Signals wake callers that wait, and lose no change between a look and the wait."""

import asyncio

import pytest

from groundswell.profile_service.store.signals import Signal


async def test_a_change_after_the_mark_ends_the_wait_at_once() -> None:
    signal = Signal()
    mark = signal.mark
    signal.notify()
    await asyncio.wait_for(signal.wait(mark, 60), 1)


async def test_a_change_wakes_everyone_who_waits() -> None:
    signal = Signal()
    waiting = [asyncio.create_task(signal.wait(signal.mark, 60)) for _ in range(3)]
    await asyncio.sleep(0)
    signal.notify()
    await asyncio.wait_for(asyncio.gather(*waiting), 1)


async def test_an_older_change_wakes_nobody_and_the_wait_ends_by_itself() -> None:
    signal = Signal()
    signal.notify()
    waiting = asyncio.create_task(signal.wait(signal.mark, 0.05))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.01)
    await asyncio.wait_for(waiting, 1)
