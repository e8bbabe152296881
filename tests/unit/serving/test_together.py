"""Awaitables that are waited for together end together."""

import asyncio

import pytest

from groundswell.serving.together import all_of, both


async def _failing() -> int:
    raise LookupError("wrong")


async def _later(value: int) -> int:
    await asyncio.sleep(0)
    return value


def _hanging() -> "asyncio.Task[int]":
    return asyncio.create_task(asyncio.sleep(60, 0))


async def test_the_results_come_in_order() -> None:
    assert await all_of([_later(1), _later(2)]) == [1, 2]
    assert await all_of(list[asyncio.Future[int]]()) == []
    assert await both(_later(1), asyncio.sleep(0, "two")) == (1, "two")


async def test_an_error_ends_what_still_runs() -> None:
    first, second = _hanging(), _hanging()
    with pytest.raises(LookupError):
        await all_of([first, _failing()])
    with pytest.raises(LookupError):
        await both(second, _failing())
    await asyncio.wait([first, second], timeout=5)
    assert first.cancelled()
    assert second.cancelled()


async def test_a_caller_who_leaves_ends_what_still_runs() -> None:
    hanging = _hanging()
    caller = asyncio.create_task(all_of([hanging, _later(1)]))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.wait([caller, hanging], timeout=5)
    assert caller.cancelled()
    assert hanging.cancelled()
