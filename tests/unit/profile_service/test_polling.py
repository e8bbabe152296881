"""One poll serves all callers that wait, misses no change, and goes on after an outage."""

import asyncio
from contextlib import ExitStack

import pytest

from groundswell.profile_service.store.polling import SharedPoll
from groundswell.profile_service.store.signals import Signal
from groundswell.serving.errors import Unavailable


class Value:
    """What is looked at; it can change, and it can be out of reach."""

    def __init__(self) -> None:
        self.now = 0
        self.num_looks = 0
        self.error: Exception | None = None
        self.changed = Signal()

    async def look(self) -> int:
        self.num_looks += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self.now


@pytest.fixture
def value() -> Value:
    return Value()


async def test_however_many_wait_the_value_is_looked_at_by_one(value: Value) -> None:
    poll = SharedPoll(value.look, value.changed, 0.01)
    with ExitStack() as waiting:
        for _ in range(200):
            waiting.enter_context(poll.waiting())
        await asyncio.sleep(0.2)
        # Not one look per waiter and poll, which would be 4,000.
        assert 2 <= value.num_looks <= 25
    looks = value.num_looks
    await asyncio.sleep(0.05)
    assert value.num_looks == looks


@pytest.mark.parametrize("error", [None, Unavailable("STORE_UNAVAILABLE", ""), RuntimeError()])
async def test_a_change_wakes_all_who_wait_even_after_an_outage(
    value: Value, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundswell.profile_service.store.polling._MAX_POLL_S", 0.05)
    poll = SharedPoll(value.look, value.changed, 0.01)
    with poll.waiting(), poll.waiting():
        await asyncio.sleep(0.03)
        marks = [value.changed.mark, value.changed.mark]
        value.error = error
        value.now = 1
        await asyncio.sleep(0.03)
        assert marks[0].is_set() is (error is None)
        value.error = None
        async with asyncio.timeout(2):
            await asyncio.gather(*(mark.wait() for mark in marks))


async def test_what_changed_before_the_first_look_is_signalled(value: Value) -> None:
    poll = SharedPoll(value.look, value.changed, 60)
    with poll.waiting():
        mark = value.changed.mark
        async with asyncio.timeout(2):
            await mark.wait()
