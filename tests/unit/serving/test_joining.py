"""Calls that wait at the same time are carried out as one, and do not share their failures."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from groundswell.serving.errors import Unavailable
from groundswell.serving.joining import JoinedCalls

_Begin = Callable[[], list[Sequence[str]]]


class _Runs:
    """Answers each call by its first row in capitals, and remembers what was carried out as one."""

    def __init__(self) -> None:
        self.done: list[tuple[bool, list[str]]] = []
        self.gate = asyncio.Event()

    async def __call__(self, begin: _Begin, *, again: bool) -> Sequence[str | None]:
        await self.gate.wait()
        calls = begin()
        rows = [row for call in calls for row in call]
        self.done.append((again, rows))
        await asyncio.sleep(0)
        if not rows:
            raise Unavailable("EMPTY", "nothing was sent")
        if "bad" in rows:
            raise ValueError("wrong")
        if "gone" in rows:
            raise Unavailable("GONE", "nothing answers")
        return [None if call[0] == "late" and not again else call[0].upper() for call in calls]


def _start(runs: _Runs, *calls: Sequence[str]) -> list["asyncio.Task[str]"]:
    joined = JoinedCalls[str, str](runs, max_rows=4, max_runs=1)
    return [asyncio.create_task(joined.submit(call)) for call in calls]


async def test_calls_that_wait_are_carried_out_as_one_up_to_a_number_of_rows() -> None:
    runs = _Runs()
    calls = _start(runs, ["a"], ["b", "c"], ["d"], ["e"], ["f"] * 9, ["g"])
    await asyncio.sleep(0)
    runs.gate.set()
    assert await asyncio.gather(*calls) == ["A", "B", "D", "E", "F", "G"]
    assert [rows for _, rows in runs.done] == [["a", "b", "c", "d"], ["e"], ["f"] * 9, ["g"]]


async def test_a_call_that_leaves_before_its_turn_is_not_carried_out() -> None:
    runs = _Runs()
    first, left, last = _start(runs, ["a"], ["b"], ["c"])
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    runs.gate.set()
    assert [await first, await last] == ["A", "C"]
    assert runs.done == [(False, ["a", "c"])]


async def test_after_an_error_that_one_may_cause_each_is_carried_out_alone() -> None:
    runs = _Runs()
    runs.gate.set()
    before, bad, after = _start(runs, ["a"], ["bad"], ["c"])
    with pytest.raises(ValueError, match="wrong"):
        await bad
    assert [await before, await after] == ["A", "C"]
    alone = [(True, ["a"]), (True, ["bad"]), (True, ["c"])]
    assert runs.done == [(False, ["a", "bad", "c"]), *alone]


async def test_an_error_that_none_of_them_caused_is_that_of_all() -> None:
    runs = _Runs()
    runs.gate.set()
    errors = await asyncio.gather(*_start(runs, ["a"], ["gone"]), return_exceptions=True)
    assert [type(error) for error in errors] == [Unavailable, Unavailable]
    assert len(runs.done) == 1


async def test_calls_without_a_result_are_carried_out_again_without_the_others() -> None:
    runs = _Runs()
    runs.gate.set()
    assert await asyncio.gather(*_start(runs, ["late"], ["a"], ["late"])) == ["LATE", "A", "LATE"]
    assert runs.done == [(False, ["late", "a", "late"]), (True, ["late", "late"])]


async def test_calls_that_come_while_none_of_those_before_is_left_go_on() -> None:
    runs = _Runs()
    joined = JoinedCalls[str, str](runs, max_rows=4, max_runs=1)
    left = asyncio.create_task(joined.submit(["a"]))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    runs.gate.set()
    await asyncio.sleep(0)
    assert runs.done == [(False, [])]  # and it has not ended yet
    assert await joined.submit(["b"]) == "B"
