"""Items of a stream are worked on at once, and their results come in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from groundswell.serving.in_order import in_order


async def _numbers(count: int, error: Exception | None = None) -> AsyncIterator[int]:
    for number in range(count):
        yield number
    if error is not None:
        raise error


async def test_two_are_under_way_and_the_results_are_in_order() -> None:
    running, most = 0, 0

    async def slower_first(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002 if number % 2 else 0.01)
        running -= 1
        return 10 * number

    results = [result async for result in in_order(slower_first, _numbers(7), 2)]
    assert results == [0, 10, 20, 30, 40, 50, 60]
    assert most == 2


async def test_a_result_does_not_wait_for_the_next_item() -> None:
    sent: asyncio.Queue[int] = asyncio.Queue()

    async def items() -> AsyncIterator[int]:
        while True:
            yield await sent.get()

    async def same(number: int) -> int:
        return number

    async with aclosing(in_order(same, items(), 2)) as results:
        for number in range(3):
            sent.put_nowait(number)
            assert await asyncio.wait_for(anext(results), 5) == number


async def test_an_error_comes_after_the_results_before_it_and_ends_the_rest() -> None:
    ended = []

    async def fails_at_two(number: int) -> int:
        try:
            if number == 2:
                raise LookupError("wrong")
            await asyncio.sleep(0.001 if number < 2 else 60)
        finally:
            ended.append(number)
        return number

    results = []
    with pytest.raises(LookupError):
        async for result in in_order(fails_at_two, _numbers(9), 3):
            results.append(result)
    assert results == [0, 1]
    assert sorted(ended) == list(range(len(ended)))
    results = []
    with pytest.raises(KeyError):
        async for result in in_order(fails_at_two, _numbers(2, KeyError("broken")), 3):
            results.append(result)
    assert results == [0, 1]
