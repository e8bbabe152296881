"""The log of events, on SQLite and on PostgreSQL."""

import asyncio
import random

from groundswell.profile_service.event_batch import NewEvent, Status
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.users import count_users, has_users, lock_users
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.support import (
    Memory,
    an_event,
    an_item,
    reading,
    second_process,
    writing,
)
from tests.support.processes import SECRET


async def test_sequences_count_each_users_events_without_gaps(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    unknown = an_event(3, item="unknown")
    outcomes = await memory.log.append(
        [an_event(1), an_event(1, user="bob"), an_event(2), unknown, an_event(4)]
    )
    assert [o.sequence for o in outcomes] == [1, 1, 2, 0, 3]
    assert outcomes[3].reason == "ITEM_NOT_FOUND"
    assert (await memory.log.list("ann", None, 10)).last_sequence == 3


async def test_an_event_that_is_refused_makes_no_user(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    day_us = 86_400_000_000
    refused = [
        an_event(1, user="ann", time=now_us() + 2 * day_us),
        an_event(2, user="bob", item="unknown"),
    ]
    outcomes = await memory.log.append(refused)
    assert [outcome.status for outcome in outcomes] == [Status.REJECTED] * 2
    async with reading(memory.database) as connection:
        assert not await connection.run(has_users)


async def test_a_call_that_waits_for_one_of_its_users_has_made_no_other(
    memory_on_postgres: Memory,
) -> None:
    memory = memory_on_postgres
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(1, user="ann")])
    ann = Pseudonymizer(SECRET).user_keys("ann")
    async with writing(memory.database) as connection:
        await connection.run(lock_users, {ann})
        both = [an_event(2, user="ann"), an_event(3, user="bob")]
        appending = asyncio.create_task(memory.log.append(both))
        await asyncio.sleep(0.3)
        async with reading(memory.database) as other:
            assert await other.run(count_users, 1) == (1, 0)
    assert [outcome.sequence for outcome in await appending] == [2, 1]


async def test_an_event_is_stored_once_however_often_it_is_sent(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a"), an_item("b")])
    first = await memory.log.append([an_event(1), an_event(2), an_event(1)])
    assert [o.status for o in first] == [Status.ACCEPTED, Status.ACCEPTED, Status.DUPLICATE]
    again = await memory.log.append([an_event(2), an_event(3)])
    assert [(o.status, o.sequence) for o in again] == [(Status.DUPLICATE, 2), (Status.ACCEPTED, 3)]
    assert len((await memory.log.list("ann", None, 10)).events) == 3


async def test_rows_for_windows_are_those_of_the_listed_events(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    assert (await memory.log.list_rows("ann", None, 10)).events == []
    for_ann = [an_event(n) for n in (3, 1, 2)]
    for_ann[1] = for_ann[1]._replace(content=for_ann[1].content._replace(session_id='ä "s"'))
    await memory.log.append([*for_ann, an_event(4, user="bob")])
    whole, rows = await memory.log.list("ann", None, 2), await memory.log.list_rows("ann", None, 2)
    described = [(page.last_sequence, page.lineage, page.history) for page in (whole, rows)]
    assert described[0] == described[1]
    place = (whole.events[-1].content.time_us, 0, whole.events[-1].event_id)
    (last,) = (await memory.log.list_rows("ann", place, 2)).events
    whole = await memory.log.list("ann", None, 10)
    assert [*rows.events, last] == [
        (e.item_no, e.sequence, e.content.time_us, e.content.action, e.content.session_id)
        for e in whole.events
    ]


async def test_an_event_id_with_another_content_is_rejected_and_changes_nothing(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a"), an_item("b")])
    first = an_event(1)
    changed = [
        first._replace(content=first.content._replace(**change))
        for change in (
            {"item_id": "b"},
            {"action": 5},
            {"value": 4.0},
            {"time_us": 2},
            {"ordinal": 1},
            {"session_id": "s"},
            {"attribution_token": "t"},
        )
    ]
    outcomes = await memory.log.append([first, *changed])
    assert [o.reason for o in outcomes] == ["", *["EVENT_ID_CONFLICT"] * len(changed)]
    again = await memory.log.append(changed)
    assert {(o.status, o.reason) for o in again} == {(Status.REJECTED, "EVENT_ID_CONFLICT")}
    (stored,) = (await memory.log.list("ann", None, 10)).events
    assert stored.content == first.content


async def test_an_event_of_a_deleted_item_is_still_known_as_a_duplicate(memory: Memory) -> None:
    (number,), _ = await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(1)])
    await memory.catalogue.delete(["a"])
    again, new, of_another = await memory.log.append(
        [an_event(1), an_event(2), an_event(1, user="bob")]
    )
    assert (again.status, again.sequence, again.item_no) == (Status.DUPLICATE, 1, number)
    assert (new.reason, of_another.reason) == ("ITEM_NOT_FOUND", "ITEM_NOT_FOUND")


async def test_two_writers_of_one_user_never_share_a_sequence(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    async with second_process(memory) as other:
        batches = [
            (memory if n % 2 else other).log.append([an_event(10 * n + k) for k in range(10)])
            for n in range(8)
        ]
        outcomes = await asyncio.gather(*batches)
    sequences = sorted(o.sequence for batch in outcomes for o in batch)
    assert sequences == list(range(1, 81))


async def test_writers_of_the_same_users_in_any_order_never_block_each_other(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    users = [f"user {n}" for n in range(40)]

    async def write(process: Memory, seed: int) -> None:
        shuffled = random.Random(seed)
        for n in range(6):
            order = shuffled.sample(users, len(users))
            await process.log.append([an_event(100 * seed + n, user=user) for user in order])

    async with second_process(memory) as other:
        await asyncio.gather(*(write(memory if n % 2 else other, n) for n in range(6)))
    for user in (users[0], users[-1]):
        assert (await memory.log.list(user, None, 1)).last_sequence == 36


async def test_a_list_never_shows_an_event_beyond_its_last_sequence(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(0)])

    async def write(process: Memory) -> None:
        for n in range(1, 60):
            await process.log.append([an_event(n)])

    async with second_process(memory) as other:
        writing = asyncio.create_task(write(other))
        while not writing.done():
            page = await memory.log.list("ann", None, 1_000)
            assert sorted(e.sequence for e in page.events) == [
                n + 1 for n in range(page.last_sequence)
            ]
        await writing


async def test_events_are_listed_in_the_one_order(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    content = EventContent("a", 1, None, 50, 0, "", "")
    events = [
        NewEvent("ann", "Zebra", content),
        NewEvent("ann", "apple", content),
        NewEvent("ann", "éclair", content),
        NewEvent("ann", "later", content._replace(ordinal=1)),
        NewEvent("ann", "early", content._replace(time_us=49, ordinal=9)),
    ]
    await memory.log.append(events)
    pages, before = [], None
    while page := (await memory.log.list("ann", before, 2)).events:
        pages += [e.event_id for e in page]
        last = page[-1]
        before = (last.content.time_us, last.content.ordinal, last.event_id)
    expected = sorted(events, key=lambda e: (e.content.time_us, e.content.ordinal, e.event_id))
    assert pages == [e.event_id for e in reversed(expected)]


async def test_an_event_comes_back_as_it_was_written(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a\u202e 🦆 é")])
    content = EventContent("a\u202e 🦆 é", 7, -0.1, -(2**50), 2**62, "s ' \" %", "t\\ :x")
    await memory.log.append([NewEvent("ann", "'; DROP TABLE events; --", content)])
    (stored,) = (await memory.log.list("ann", None, 10)).events
    assert (stored.event_id, stored.content) == ("'; DROP TABLE events; --", content)


async def test_an_event_of_the_far_future_is_rejected_but_known_again_when_it_is_stored(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    day_us = 86_400 * 10**6
    far = an_event(1, time=now_us() + 2 * day_us)
    (rejected,) = await memory.log.append([far])
    assert (rejected.status, rejected.reason) == (Status.REJECTED, "TIME_IN_FUTURE")
    without_bound = EventStore(
        memory.database, Pseudonymizer(SECRET), memory.signals, max_future_s=3e9
    )
    await without_bound.append([far, an_event(2, time=now_us() + day_us // 2)])
    again = await memory.log.append([far])
    assert [(o.status, o.sequence) for o in again] == [(Status.DUPLICATE, 1)]
