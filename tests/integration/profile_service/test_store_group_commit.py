"""Calls that write at the same time share a transaction, and do not share their failures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from groundswell.profile_service.event_batch import AppendOutcome, NewEvent, Status
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.store.users import lock_users
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.support import (
    DAY_S,
    Memory,
    an_event,
    an_item,
    reading,
    writing,
)
from tests.support.processes import SECRET

_POOL_SIZE = 8


@asynccontextmanager
async def _no_writer_can_begin(memory: Memory) -> AsyncIterator[None]:
    async with AsyncExitStack() as held:
        if memory.settings.is_sqlite:
            await held.enter_async_context(writing(memory.database))
        else:
            for _ in range(_POOL_SIZE):
                await held.enter_async_context(reading(memory.database))
        yield


def _calls(log: EventStore, *calls: list[NewEvent]) -> list["asyncio.Task[list[AppendOutcome]]"]:
    return [asyncio.create_task(log.append(call)) for call in calls]


async def test_calls_that_wait_share_a_transaction_and_each_gets_its_own_outcomes(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    commits: list[Any] = []
    log = EventStore(
        memory.database,
        Pseudonymizer(SECRET),
        memory.signals,
        max_future_s=DAY_S,
        on_stored=lambda *stored: commits.append(stored),
    )
    users = [f"user {n % 8}" for n in range(30)]
    async with _no_writer_can_begin(memory):
        calls = _calls(
            log,
            *([an_event(n, user=user)] for n, user in enumerate(users)),
            [an_event(1, user=users[1]), an_event(40, item="unknown")],
        )
        await asyncio.sleep(0)
    *alone, (again, unknown) = await asyncio.gather(*calls)
    assert [outcome.sequence for (outcome,) in alone] == [n // 8 + 1 for n in range(30)]
    assert (again.status, again.sequence) == (Status.DUPLICATE, 1)
    assert unknown.reason == "ITEM_NOT_FOUND"
    assert len(commits) == 1


async def test_a_call_that_breaks_a_rule_of_the_database_fails_alone(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    nothing: Any = None
    first = an_event(2, user="bob")
    broken = first._replace(content=first.content._replace(session_id=nothing))
    async with _no_writer_can_begin(memory):
        before, bad, after = _calls(memory.log, [an_event(1)], [broken], [an_event(3)])
        await asyncio.sleep(0)
    with pytest.raises(IntegrityError):
        await bad
    assert {(await call)[0].status for call in (before, after)} == {Status.ACCEPTED}
    assert (await memory.log.list("ann", None, 10)).last_sequence == 2
    assert (await memory.log.list("bob", None, 10)).last_sequence == 0


async def test_a_call_that_ends_while_it_waits_is_not_written(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    async with _no_writer_can_begin(memory):
        first, left, last = _calls(memory.log, [an_event(1)], [an_event(2)], [an_event(3)])
        await asyncio.sleep(0.05)
        left.cancel()
    await asyncio.gather(first, last)
    page = await memory.log.list("ann", None, 10)
    assert [event.event_id for event in page.events] == ["e3", "e1"]


async def test_a_locked_user_holds_up_only_the_calls_with_events_of_theirs(
    memory_on_postgres: Memory,
) -> None:
    memory = memory_on_postgres
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(1)])
    async with writing(memory.database) as connection:
        await connection.run(lock_users, [Pseudonymizer(SECRET).user_keys("ann")])
        waits = _calls(memory.log, *([an_event(n), an_event(n, user="eve")] for n in (2, 3, 4)))
        for n in range(5):
            await memory.log.append([an_event(n, user="bob")])
        assert not any(call.done() for call in waits)
    outcomes = await asyncio.gather(*waits)
    assert sorted(ann.sequence for ann, _ in outcomes) == [2, 3, 4]
    assert sorted(eve.sequence for _, eve in outcomes) == [1, 2, 3]
