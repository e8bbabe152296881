"""The catalogue, on SQLite and on PostgreSQL."""

import asyncio
from dataclasses import replace

import pytest

from groundswell.profile_service.catalogue import StoredCatalogue, UpsertMode
from groundswell.profile_service.store.items import KnownItem
from groundswell.profile_service.store.signals import Signals
from groundswell.serving.errors import AlreadyExists, InvalidArgument, NotFound
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    second_process,
    work_all,
)


async def test_an_upsert_that_changes_nothing_keeps_its_revision(memory: Memory) -> None:
    (number,), first = await memory.catalogue.upsert([an_item("a", attributes={"price": 3.0})])
    again, second = await memory.catalogue.upsert([an_item("a", attributes={"price": 3.0})])
    assert (again, second) == ([number], first)
    _, third = await memory.catalogue.upsert([an_item("a", attributes={"price": 4.0})])
    assert third == first + 1
    stored = await memory.catalogue.get("a")
    assert stored.content.attributes == {"price": 4.0}
    assert stored.revision == third


async def test_a_mode_lets_in_new_items_alone_or_known_ones_alone(memory: Memory) -> None:
    (number,), revision = await memory.catalogue.upsert([an_item("a")], UpsertMode.INSERT)
    with pytest.raises(AlreadyExists, match=r"items\[1\].item_id"):
        await memory.catalogue.upsert([an_item("b"), an_item("a", "Another")], UpsertMode.INSERT)
    with pytest.raises(NotFound, match=r"items\[1\].item_id"):
        await memory.catalogue.upsert([an_item("a", "Another"), an_item("b")], UpsertMode.UPDATE)
    known = await memory.catalogue.get("a")
    assert (known.content, known.revision) == (an_item("a"), revision)
    await memory.catalogue.delete(["a"])
    with pytest.raises(NotFound):
        await memory.catalogue.upsert([an_item("a")], UpsertMode.UPDATE)
    assert (await memory.catalogue.upsert([an_item("a")], UpsertMode.INSERT))[0] == [number]


async def test_an_item_keeps_its_times_and_that_of_its_first_write(memory: Memory) -> None:
    timed = replace(an_item("a"), available_from_us=-5, available_until_us=2**52)
    _, first = await memory.catalogue.upsert([timed])
    created = (await memory.catalogue.get("a")).created_us
    assert created is not None
    assert (await memory.catalogue.upsert([timed]))[1] == first
    assert (await memory.catalogue.upsert([replace(timed, available_until_us=None)]))[1] > first
    known = await memory.catalogue.get("a")
    assert (known.content.available_from_us, known.content.available_until_us) == (-5, None)
    assert known.created_us == created


async def test_an_attribute_keeps_its_kind_and_a_wrong_one_writes_nothing(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a", attributes={"price": 3.0})])
    with pytest.raises(InvalidArgument, match=r"items\[1\].attributes.price is a text"):
        await memory.catalogue.upsert([an_item("b"), an_item("c", attributes={"price": "cheap"})])
    with pytest.raises(NotFound):
        await memory.catalogue.get("b")


async def test_a_deleted_item_takes_no_events_and_comes_back_under_its_number(
    memory: Memory,
) -> None:
    (number,), _ = await memory.catalogue.upsert([an_item("a")])
    assert (await memory.catalogue.delete(["a", "never"]))[0] == 1
    assert (await memory.log.append([an_event(1)]))[0].reason == "ITEM_NOT_FOUND"
    with pytest.raises(NotFound):
        await memory.catalogue.get("a")
    assert (await memory.catalogue.delete(["a"]))[0] == 0
    assert (await memory.catalogue.upsert([an_item("a")]))[0] == [number]


async def test_a_watcher_misses_nothing_while_several_write(memory: Memory) -> None:
    seen: dict[str, int] = {}
    revisions: list[int] = []

    async def follow() -> None:
        async for changes in memory.catalogue.watch(0, SPEC.fingerprint):
            for item in changes.items:
                seen[item.content.item_id] = item.revision
                revisions.append(item.revision)
            if len(seen) == 120 and changes.caught_up:
                return

    async def write(process: Memory, prefix: str) -> None:
        for n in range(30):
            await process.catalogue.upsert([an_item(f"{prefix}{n}"), an_item(f"{prefix}x{n}")])

    follower = asyncio.create_task(follow())
    async with second_process(memory) as other:
        await asyncio.gather(write(memory, "p"), write(other, "q"))
    await asyncio.wait_for(follower, 20)
    assert revisions == sorted(set(revisions))
    assert len(seen) == 120


async def test_a_watcher_is_woken_by_a_write_and_polls_for_those_of_others(memory: Memory) -> None:
    memory.catalogue = StoredCatalogue(memory.database, memory.signals, idle_poll_s=60)
    answers = memory.catalogue.watch(0, SPEC.fingerprint)
    assert (await anext(answers)).caught_up
    waiting = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0.05)
    await memory.catalogue.upsert([an_item("a")])
    changes = await asyncio.wait_for(waiting, 5)
    assert [item.content.item_id for item in changes.items] == ["a"]
    async with second_process(memory) as other:
        await other.catalogue.upsert([an_item("b")])
        polling = StoredCatalogue(memory.database, Signals(), idle_poll_s=0.05)
        polled = polling.watch(changes.revision, SPEC.fingerprint)
        found = await asyncio.wait_for(anext(polled), 5)
        assert [item.content.item_id for item in found.items] == ["b"]
        await other.catalogue.delete(["b"])
        assert (await asyncio.wait_for(anext(polled), 5)).items[0].deleted


async def test_a_long_catalogue_comes_in_pages_and_says_when_the_caller_has_it_all(
    memory: Memory,
) -> None:
    for start in (0, 600):
        await memory.catalogue.upsert([an_item(f"i{n}") for n in range(start, start + 600)])
    sizes, ends = [], []
    async for changes in memory.catalogue.watch(0, SPEC.fingerprint):
        sizes.append(len(changes.items))
        ends.append((changes.revision, changes.caught_up))
        if changes.caught_up:
            break
    assert sizes == [500, 500, 200]
    assert ends == [(500, False), (1_000, False), (1_200, True)]


async def test_text_that_changed_is_encoded_again_and_other_changes_are_not(
    memory: Memory,
) -> None:
    encoder = CountingEncoder()
    await memory.catalogue.upsert([an_item("a")])
    await work_all(memory, encoder)
    await memory.catalogue.upsert([an_item("a", attributes={"price": 1.0})])
    await work_all(memory, encoder)
    assert encoder.texts == ["The a. drama"]
    await memory.catalogue.upsert([an_item("a", title="Another")])
    assert (await first_changes(memory))[0].text_vector is None
    await work_all(memory, encoder)
    assert encoder.texts == ["The a. drama", "Another. drama"]


async def first_changes(memory: Memory) -> list[KnownItem]:
    async for changes in memory.catalogue.watch(0, SPEC.fingerprint):
        return list(changes.items)
    raise AssertionError("the watch ended")


async def test_a_write_of_one_item_twice_at_once_keeps_one_number(memory: Memory) -> None:
    async with second_process(memory) as other:
        answers = await asyncio.gather(
            *(
                process.catalogue.upsert([an_item("a", title=f"Title {n}")])
                for n, process in enumerate([memory, other] * 4)
            )
        )
    assert len({number for (number,), _ in answers}) == 1
    assert sorted(revision for _, revision in answers) == list(range(1, 9))


async def test_a_deletion_while_the_text_is_read_stays_a_deletion(memory: Memory) -> None:
    encoder = CountingEncoder()
    await memory.catalogue.upsert([an_item("a")])
    await memory.catalogue.delete(["a"])
    await work_all(memory, encoder)
    (item,) = await first_changes(memory)
    assert item.deleted
    assert (await memory.log.append([an_event(1)]))[0].reason == "ITEM_NOT_FOUND"
