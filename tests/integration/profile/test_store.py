"""One suite for the memory of the suite, run on SQLite and on PostgreSQL."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import inspect, text

from groundswell.features.text import chunk_text
from groundswell.profile_service.events import NewEvent, Outcome, Status
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.items import Attribute, ItemContent, KnownItem
from groundswell.profile_service.store.profiles import find_profiles, stored_chunks
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.tables import metadata, stale_items, stale_users
from groundswell.serving.errors import InvalidArgument, NotFound, Unavailable
from tests.integration.profile.conftest import SPEC, CountingEncoder, Memory, open_memory


def _item(
    name: str, title: str = "", attributes: dict[str, Attribute] | None = None
) -> ItemContent:
    return ItemContent(name, title or f"The {name}", "", ["drama"], attributes or {})


def _event(n: int, *, user: str = "ann", item: str = "a", time: int | None = None) -> NewEvent:
    when = n if time is None else time
    return NewEvent(user, f"e{n}", EventContent(item, 2, None, when, 0, "", ""))


async def _fill(memory: Memory, num_events: int, user: str = "ann") -> list[Outcome]:
    await memory.catalogue.upsert([_item(name) for name in "abcd"])
    events = [_event(n, user=user, item="abcd"[n % 4]) for n in range(num_events)]
    return await memory.log.append(events)


async def _work_all(memory: Memory, encoder: CountingEncoder) -> None:
    worker = memory.worker(encoder)
    for _ in range(50):
        if not await worker.step():
            break
    await worker.close()


async def test_migrations_make_exactly_the_tables_that_the_code_knows(memory: Memory) -> None:
    def columns(connection: object) -> dict[str, set[str]]:
        inspector = inspect(connection)
        assert inspector is not None
        return {
            table: {column["name"] for column in inspector.get_columns(table)}
            for table in inspector.get_table_names()
            if table != "alembic_version"
        }

    async with memory.database.read() as connection:
        found = await connection.run_sync(columns)
    assert found == {t.name: {c.name for c in t.columns} for t in metadata.sorted_tables}
    await memory.database.close()
    await memory.database.open()


async def test_sequences_count_each_users_events_without_gaps(memory: Memory) -> None:
    await memory.catalogue.upsert([_item("a")])
    outcomes = await memory.log.append(
        [_event(1), _event(1, user="bob"), _event(2), _event(3, item="unknown"), _event(4)]
    )
    assert [o.sequence for o in outcomes] == [1, 1, 2, 0, 3]
    assert outcomes[3].reason == "ITEM_NOT_FOUND"
    assert (await memory.log.list("ann", None, 10)).last_sequence == 3


async def test_an_event_is_stored_once_however_often_it_is_sent(memory: Memory) -> None:
    await memory.catalogue.upsert([_item("a"), _item("b")])
    first = await memory.log.append([_event(1), _event(2), _event(1)])
    assert [o.status for o in first] == [Status.ACCEPTED, Status.ACCEPTED, Status.DUPLICATE]
    again = await memory.log.append([_event(2), _event(3)])
    assert [(o.status, o.sequence) for o in again] == [(Status.DUPLICATE, 2), (Status.ACCEPTED, 3)]
    conflict = await memory.log.append([_event(1, item="b")])
    assert conflict[0].reason == "EVENT_ID_CONFLICT"
    assert len((await memory.log.list("ann", None, 10)).events) == 3


async def test_two_writers_of_one_user_never_share_a_sequence(
    database_url: str, memory: Memory, tmp_path: Path
) -> None:
    await memory.catalogue.upsert([_item("a")])
    # With SQLite one process writes; PostgreSQL takes several.
    other = memory if memory.settings.is_sqlite else await open_memory(database_url, tmp_path)
    batches = [
        (memory if n % 2 else other).log.append([_event(10 * n + k) for k in range(10)])
        for n in range(8)
    ]
    outcomes = await asyncio.gather(*batches)
    sequences = sorted(o.sequence for batch in outcomes for o in batch)
    assert sequences == list(range(1, 81))
    if other is not memory:
        await other.database.close()


async def test_events_are_listed_in_the_one_order(memory: Memory) -> None:
    await memory.catalogue.upsert([_item("a")])
    content = EventContent("a", 1, None, 50, 0, "", "")
    events = [
        NewEvent("ann", "Zebra", content),
        NewEvent("ann", "apple", content),
        NewEvent("ann", "éclair", content),
        NewEvent("ann", "later", replace(content, ordinal=1)),
        NewEvent("ann", "early", replace(content, time_us=49, ordinal=9)),
    ]
    await memory.log.append(events)
    pages, before = [], None
    while page := (await memory.log.list("ann", before, 2)).events:
        pages += [e.event_id for e in page]
        last = page[-1]
        before = (last.content.time_us, last.content.ordinal, last.event_id)
    expected = sorted(events, key=lambda e: (e.content.time_us, e.content.ordinal, e.event_id))
    assert pages == [e.event_id for e in reversed(expected)]


async def test_an_upsert_that_changes_nothing_keeps_its_revision(memory: Memory) -> None:
    (number,), first = await memory.catalogue.upsert([_item("a", attributes={"price": 3.0})])
    again, second = await memory.catalogue.upsert([_item("a", attributes={"price": 3.0})])
    assert (again, second) == ([number], first)
    _, third = await memory.catalogue.upsert([_item("a", attributes={"price": 4.0})])
    assert third == first + 1
    stored = await memory.catalogue.get("a")
    assert stored.content.attributes == {"price": 4.0}
    assert stored.revision == third


async def test_an_attribute_keeps_its_kind_and_a_wrong_one_writes_nothing(memory: Memory) -> None:
    await memory.catalogue.upsert([_item("a", attributes={"price": 3.0})])
    with pytest.raises(InvalidArgument, match=r"items\[1\].attributes.price is a text"):
        await memory.catalogue.upsert([_item("b"), _item("c", attributes={"price": "cheap"})])
    with pytest.raises(NotFound):
        await memory.catalogue.get("b")


async def test_a_deleted_item_takes_no_events_and_comes_back_under_its_number(
    memory: Memory,
) -> None:
    (number,), _ = await memory.catalogue.upsert([_item("a")])
    assert (await memory.catalogue.delete(["a", "never"]))[0] == 1
    assert (await memory.log.append([_event(1)]))[0].reason == "ITEM_NOT_FOUND"
    with pytest.raises(NotFound):
        await memory.catalogue.get("a")
    assert (await memory.catalogue.delete(["a"]))[0] == 0
    assert (await memory.catalogue.upsert([_item("a")]))[0] == [number]


async def test_a_watcher_misses_nothing_while_several_write(
    database_url: str, memory: Memory, tmp_path: Path
) -> None:
    other = memory if memory.settings.is_sqlite else await open_memory(database_url, tmp_path)
    seen: dict[str, int] = {}
    revisions: list[int] = []

    async def follow() -> None:
        async for changes in memory.catalogue.watch(0, SPEC.fingerprint):
            for item in changes.items:
                seen[item.content.item_id] = item.revision
                revisions.append(item.revision)
            if len(seen) == 120 and changes.caught_up:
                return

    async def write(catalogue: Memory, prefix: str) -> None:
        for n in range(30):
            await catalogue.catalogue.upsert([_item(f"{prefix}{n}"), _item(f"{prefix}x{n}")])

    follower = asyncio.create_task(follow())
    await asyncio.gather(write(memory, "p"), write(other, "q"))
    await asyncio.wait_for(follower, 20)
    assert revisions == sorted(set(revisions))
    assert len(seen) == 120
    if other is not memory:
        await other.database.close()


async def test_a_full_chunk_is_encoded_once(memory: Memory) -> None:
    encoder = CountingEncoder()
    await _fill(memory, 9)
    await _work_all(memory, encoder)
    items = ["The a. drama", "The b. drama", "The c. drama", "The d. drama"]
    chunk = chunk_text(["The a", "The b", "The c", "The d"])
    assert sorted(encoder.texts) == sorted([*items, chunk, chunk])
    await memory.log.append([_event(n, item="abcd"[n % 4]) for n in range(9, 12)])
    await _work_all(memory, encoder)
    assert encoder.texts[6:] == [chunk]


async def test_a_late_event_encodes_again_only_from_its_chunk_on(memory: Memory) -> None:
    encoder = CountingEncoder()
    await _fill(memory, 12)
    await _work_all(memory, encoder)
    del encoder.texts[:]
    late = NewEvent("ann", "late", EventContent("d", 2, None, 5, 0, "", ""))
    await memory.log.append([late])
    await _work_all(memory, encoder)
    # It lands in the second of three chunks: that one and the third change, the first does not.
    assert len(encoder.texts) == 2


async def test_a_profile_covers_everything_that_was_stored(memory: Memory) -> None:
    encoder = CountingEncoder()
    await _fill(memory, 10)
    await _work_all(memory, encoder)
    async with memory.database.read() as connection:
        (row,) = (await find_profiles(connection, [1], SPEC)).values()
        chunks = await stored_chunks(connection, [1], SPEC)
    assert (row.covered_sequence, row.num_chunks, row.tail_length) == (10, 2, 2)
    assert [(c.chunk_no, c.last_time_us, c.last_event_id) for c in chunks[1]] == [
        (0, 3, "e3"),
        (1, 7, "e7"),
    ]
    tail = CountingEncoder().encode(["The a. drama", "The b. drama"]).mean(0)
    assert np.frombuffer(row.tail_vector, "<f4") == pytest.approx(tail, abs=1e-6)


async def test_text_that_changed_is_encoded_again_and_other_changes_are_not(
    memory: Memory,
) -> None:
    encoder = CountingEncoder()
    await memory.catalogue.upsert([_item("a")])
    await _work_all(memory, encoder)
    await memory.catalogue.upsert([_item("a", attributes={"price": 1.0})])
    await _work_all(memory, encoder)
    assert encoder.texts == ["The a. drama"]
    await memory.catalogue.upsert([_item("a", title="Another")])
    assert (await _first_changes(memory))[0].text_vector is None
    await _work_all(memory, encoder)
    assert encoder.texts == ["The a. drama", "Another. drama"]


async def _first_changes(memory: Memory) -> list[KnownItem]:
    async for changes in memory.catalogue.watch(0, SPEC.fingerprint):
        return changes.items
    raise AssertionError("the watch ended")


async def test_the_lease_of_a_dead_worker_runs_out_and_its_late_finish_is_void(
    memory: Memory,
) -> None:
    await _fill(memory, 3)
    work = WorkList(stale_users)
    async with memory.database.write() as connection:
        dead = await work.claim(connection, 10, lease_s=0.05)
        assert len(dead.versions) == 1
        assert not (await work.claim(connection, 10, lease_s=60)).versions
    await asyncio.sleep(0.1)
    async with memory.database.write() as connection:
        alive = await work.claim(connection, 10, lease_s=60)
        assert alive.versions == dead.versions
        assert alive.attempts == {1: 2}
        assert await work.still_held(connection, dead, [1]) == {}
        await work.finish(connection, dead, {1: 3})
        assert await work.still_held(connection, alive, [1]) == {1: 3}


async def test_what_is_written_while_a_claim_is_worked_off_stays_stale(memory: Memory) -> None:
    await _fill(memory, 3)
    work = WorkList(stale_users)
    async with memory.database.write() as connection:
        claim = await work.claim(connection, 10, lease_s=60)
    await memory.log.append([_event(7)])
    async with memory.database.write() as connection:
        await work.finish(connection, claim, claim.versions)
        again = await work.claim(connection, 10, lease_s=60)
    assert again.versions == {1: 4}


async def test_two_workers_share_the_work_and_finish_each_user_once(
    database_url: str, memory: Memory, tmp_path: Path
) -> None:
    encoder = CountingEncoder()
    await memory.catalogue.upsert([_item(name) for name in "abcd"])
    await _work_all(memory, encoder)
    users = [f"user {n}" for n in range(60)]
    await memory.log.append(
        [_event(n, user=user, item="abcd"[n % 4]) for user in users for n in range(5)]
    )
    memory.settings = memory.settings.model_copy(update={"worker_users": 7})
    other = memory if memory.settings.is_sqlite else await open_memory(database_url, tmp_path)
    other.settings = memory.settings
    await asyncio.gather(_work_all(memory, encoder), _work_all(other, encoder))
    async with memory.database.read() as connection:
        left = (await connection.execute(text("SELECT count(*) FROM stale_users"))).scalar_one()
        rows = (await connection.execute(text("SELECT count(*) FROM profiles"))).scalar_one()
    chunk = chunk_text(["The a", "The b", "The c", "The d"])
    assert (left, rows, encoder.texts.count(chunk)) == (0, 60, 60)
    if other is not memory:
        await other.database.close()


async def test_a_user_whose_item_has_no_vector_yet_is_looked_at_again(memory: Memory) -> None:
    encoder = CountingEncoder()
    await _fill(memory, 2)
    work = WorkList(stale_items)
    async with memory.database.write() as connection:
        claim = await work.claim(connection, 10, lease_s=60)
    await _work_all(memory, encoder)
    async with memory.database.write() as connection:
        assert await WorkList(stale_users).count(connection, 2**62) == 1
        await work.release(connection, claim, claim.versions, 0)
    await asyncio.sleep(0.6)
    await _work_all(memory, encoder)
    async with memory.database.read() as connection:
        assert await WorkList(stale_users).count(connection, 2**62) == 0
        (row,) = (await find_profiles(connection, [1], SPEC)).values()
    assert row.tail_length == 2


async def test_one_item_that_cannot_be_encoded_does_not_block_the_others(memory: Memory) -> None:
    encoder = CountingEncoder()
    encoder.poison = "The c"
    await memory.catalogue.upsert([_item(name) for name in "abcd"])
    worker = memory.worker(encoder)
    await worker.step()
    await worker.close()
    assert sorted(encoder.texts) == ["The a. drama", "The b. drama", "The d. drama"]
    async with memory.database.read() as connection:
        assert await WorkList(stale_items).count(connection, 2**62) == 1


async def test_another_encoder_puts_everything_on_the_lists_again(memory: Memory) -> None:
    encoder = CountingEncoder()
    await _fill(memory, 4)
    await _work_all(memory, encoder)
    worker = memory.worker(encoder)
    worker.spec = SPEC._replace(fingerprint="another:fp32:1")
    await worker.mark_uncovered()
    async with memory.database.read() as connection:
        assert await WorkList(stale_items).count(connection, 2**62) == 4
        assert await WorkList(stale_users).count(connection, 2**62) == 1
    await worker.close()


async def test_an_error_in_a_transaction_leaves_nothing_behind(memory: Memory) -> None:
    with pytest.raises(RuntimeError):
        async with memory.database.write() as connection:
            await connection.execute(text("DELETE FROM counters"))
            raise RuntimeError
    assert (await memory.catalogue.upsert([_item("a")]))[1] == 1


async def test_a_database_that_cannot_be_reached_is_said_to_be_unavailable() -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="does not answer"):
        await database.open()
    await database.close()
