"""A new text encoder reads everything stored while the old one goes on, through every fault."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from groundswell.artifacts.manifest import Manifest
from groundswell.artifacts.store import BundleStore
from groundswell.profile_service.bundles.first import covered_bundle
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.worker import backfill
from groundswell.profile_service.worker import loop as worker_module
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.backfilling import NEW, OLD, Process
from tests.integration.profile_service.support import (
    DAY_S,
    Memory,
    an_event,
    an_item,
    num_stale_users,
    second_process,
)
from tests.support.processes import SECRET

NUM_USERS, NUM_EVENTS = 14, 6


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


def user(n: int) -> str:
    return f"user-{n:02}"


@pytest.fixture
async def process(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    """One whose old encoder has read the histories of some users."""
    monkeypatch.setattr(backfill, "_WITHOUT_PROGRESS_S", 0.1)
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    for n in range(NUM_USERS):
        events = [an_event(e, user=user(n), item="abcd"[e % 4]) for e in range(NUM_EVENTS)]
        await memory.log.append(events)
    process = Process(memory)
    await process.begin()

    async def has_read() -> bool:
        return await process.num_uncovered(OLD) == 0

    await until(has_read)
    yield process
    await process.workers.close()


async def append_and_wait(process: Process, name: str) -> None:
    """Store one more event of a user; return when the old encoder has read it."""
    await process.memory.log.append([an_event(NUM_EVENTS, user=name)])

    async def is_read() -> bool:
        return await process.covered(name, OLD) == NUM_EVENTS + 1

    await until(is_read)


async def test_without_texts_of_histories_no_user_is_marked_or_claimed_until_they_are_read(
    memory: Memory,
) -> None:
    reads = False
    log = EventStore(
        memory.database,
        Pseudonymizer(SECRET),
        memory.signals,
        max_future_s=DAY_S,
        reads_histories=lambda: reads,
    )
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    await log.append([an_event(n, item="abcd"[n % 4]) for n in range(NUM_EVENTS)])
    assert await num_stale_users(memory) == 0
    # One that was marked before stays where it is.
    await memory.log.append([an_event(0, user="bob")])
    process = Process(memory)
    skipping = Spec(OLD.fingerprint, 0)
    await process.begin(skipping)

    async def has_read_items() -> bool:
        return len(process.old.texts) == 4

    await until(has_read_items)
    await asyncio.sleep(0.2)
    assert (await num_stale_users(memory), len(process.old.texts)) == (1, 4)
    # A bundle that reads them finds all that happened meanwhile, marked or not.
    reads = True
    await process.backfill()
    assert [await process.covered(name, NEW) for name in ("ann", "bob")] == [NUM_EVENTS, 1]
    await process.serve(NEW)
    assert await process.num_uncovered(NEW) == 0
    await process.workers.close()


async def test_what_comes_during_a_backfill_is_read_at_once_with_both_encoders(
    process: Process,
) -> None:
    process.new.delay_s = 0.05
    filling = asyncio.create_task(process.backfill())
    last = user(NUM_USERS - 1)
    await append_and_wait(process, last)
    assert not filling.done(), "it is read long before the backfill ends"

    async def reads_both() -> bool:
        return await process.covered(last, NEW) == NUM_EVENTS + 1

    await until(reads_both)
    await asyncio.wait_for(filling, 30)
    assert await process.num_uncovered(NEW) == await process.num_uncovered(OLD) == 0
    await process.serve(NEW)
    # Rankers may rank with the old one as long as they like.
    await append_and_wait(process, user(0))
    assert await process.covered(user(0), NEW) == NUM_EVENTS + 1


async def test_a_rollback_during_a_backfill_leaves_the_old_encoder_as_it_was(
    process: Process,
) -> None:
    process.new.delay_s = 0.05
    filling = asyncio.create_task(process.backfill())

    async def has_begun() -> bool:
        return bool(process.new.texts)

    await until(has_begun)
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
    await process.workers.keep(())
    num_read = len(process.new.texts)
    await append_and_wait(process, user(1))
    assert len(process.new.texts) == num_read
    assert await process.num_uncovered(NEW) > 0
    process.new.delay_s = 0.0
    await asyncio.wait_for(process.backfill(), 30)
    assert await process.num_uncovered(NEW) == 0


async def test_a_process_that_ends_during_a_backfill_goes_on_where_it_was(
    process: Process,
) -> None:
    process.new.delay_s = 0.02
    filling = asyncio.create_task(process.backfill())

    async def has_read_some() -> bool:
        return await process.num_uncovered(NEW) < NUM_USERS - 4

    await until(has_read_some)
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
    await process.workers.close()
    left = await process.num_uncovered(NEW)
    assert left > 0

    restarted = Process(process.memory)
    await restarted.begin()
    await asyncio.wait_for(restarted.backfill(), 30)
    assert await restarted.num_uncovered(NEW) == 0
    # A user of six events has two chunks, of which the second is not full; four items have a text.
    assert len(restarted.new.texts) <= 2 * left + 4
    await restarted.workers.close()


async def test_a_text_that_only_the_new_encoder_fails_on_holds_up_neither(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "MAX_DELAY_S", 0.02)
    await process.memory.catalogue.upsert([an_item("bad", "The poison")])
    await process.memory.log.append([an_event(99, user="victim", item="bad", time=99)])
    process.new.poison = "poison"
    await asyncio.wait_for(process.backfill(), 30)
    assert await process.num_uncovered(OLD) == 0
    await append_and_wait(process, user(2))


async def test_a_new_encoder_that_reads_nothing_at_all_is_never_served_and_harms_nobody(
    process: Process,
) -> None:
    process.new.poison = ""
    filling = asyncio.create_task(process.backfill())
    for n in range(3):
        await append_and_wait(process, user(n))
    await asyncio.sleep(0.3)
    assert not filling.done()
    process.new.poison = None
    await asyncio.wait_for(filling, 30)
    assert await process.num_uncovered(NEW) == 0


async def test_a_service_without_a_worker_waits_for_one_that_reads_with_the_new_encoder(
    process: Process,
) -> None:
    async with second_process(process.memory) as other:
        service = Process(other, has_worker=False)
        await service.begin()
        waiting = asyncio.create_task(service.backfill())
        await asyncio.sleep(1.0)
        assert not waiting.done(), "the worker does not know the new encoder yet"
        await append_and_wait(process, user(3))
        await asyncio.wait_for(process.backfill(), 30)
        await asyncio.wait_for(waiting, 30)
        assert await service.num_uncovered(NEW) == 0
        await service.workers.close()


class _Store(BundleStore):
    """A folder of bundles of each encoder, one of which reads no histories."""

    def manifests(self) -> dict[str, Manifest]:
        skips = Spec(NEW.fingerprint, 0)
        made = {"a": (OLD, 1), "b": (NEW, 2), "older": (OLD, 0), "skips": (skips, 3)}
        return {
            bundle_id: cast(
                Manifest,
                SimpleNamespace(
                    chunk_spec=(spec.fingerprint, spec.chunk_length),
                    created_at=datetime.fromtimestamp(day, UTC),
                ),
            )
            for bundle_id, (spec, day) in made.items()
        }


async def test_a_process_begins_with_the_bundle_whose_encoder_has_read_everything(
    process: Process, tmp_path: Path
) -> None:
    database, store = process.memory.database, _Store(tmp_path)
    assert await covered_bundle(database, store, "b") == "a", "the newest of that encoder"
    assert await covered_bundle(database, store, "skips") == "a", "its items are not read yet"
    assert await covered_bundle(database, store, "a") == "a"
    assert await covered_bundle(database, store, "older") == "older"
    assert await covered_bundle(database, store, "unknown") == "unknown"
    await process.backfill()
    for one in ("b", "skips"):
        assert await covered_bundle(database, store, one) == one
