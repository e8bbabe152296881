"""After the restore of a backup, callers and caches of the profile service start over."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from groundswell.artifacts.store import load_bundle
from groundswell.profile_service.catalogue import Changes
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.identity.high_water import HighWater
from groundswell.profile_service.identity.lineage import LineageKeeper
from groundswell.profile_service.profiles.cached import Profile
from groundswell.profile_service.profiles.models import ProfileModels
from groundswell.profile_service.profiles.reader import Profiles
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.identity import Witness, read_lineage, renew_lineage
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.support import (
    DAY_S,
    SPEC,
    Memory,
    an_event,
    an_item,
    open_memory,
    reading,
    writing,
)
from tests.support.backups import Backup
from tests.support.processes import SECRET


async def lineage_of(memory: Memory) -> str:
    async with reading(memory.database) as connection:
        return await connection.run(read_lineage)


async def restored(memory: Memory, backup: Backup) -> Memory:
    """Put a backup back. The process over SQLite ends before; that over PostgreSQL stays."""
    settings = memory.settings
    if not settings.is_sqlite:
        await asyncio.to_thread(backup.restore)
        return memory
    await memory.database.close()
    await asyncio.to_thread(backup.restore)
    return await open_memory(settings.database_url, settings.bundles)


async def watched(memory: Memory, since: int = 0, lineage: str = "") -> list[Changes]:
    """What a watcher hears until it has caught up."""
    heard = []
    async for changes in memory.catalogue.watch(since, SPEC.fingerprint, lineage):
        heard.append(changes)
        if changes.caught_up:
            break
    return heard


def names(heard: Sequence[Changes]) -> list[str]:
    return [item.content.item_id for changes in heard for item in changes.items]


@pytest.fixture
async def models(bundles: Path) -> AsyncIterator[ProfileModels]:
    loaded = ProfileModels(
        load_bundle(bundles),
        1,
        max_batch=8,
        max_queue=8,
        max_queue_bytes=1_000_000,
        max_items=100,
        max_item_bytes=1_000_000,
        max_text_bytes=1_000_000,
    )
    yield loaded
    await loaded.close()


async def test_a_watcher_that_is_ahead_of_a_restored_catalogue_hears_everything_again(
    memory: Memory, tmp_path: Path
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    backup = Backup(memory.settings.database_url, tmp_path)
    await memory.catalogue.upsert([an_item("b"), an_item("c")])
    (before,) = await watched(memory)
    memory = await restored(memory, backup)
    await memory.catalogue.upsert([an_item("other")])
    heard = await watched(memory, before.revision, before.lineage)
    assert names(heard) == ["a", "other"]
    assert [changes.reset for changes in heard] == [True]
    assert heard[0].lineage != before.lineage
    # It is told once: from here on it follows the new lineage.
    (again,) = await watched(memory, heard[-1].revision, heard[-1].lineage)
    assert (again.items, again.reset) == ([], False)
    await memory.database.close()


async def test_a_running_watch_of_a_restored_catalogue_starts_over(
    memory_on_postgres: Memory, tmp_path: Path
) -> None:
    memory = memory_on_postgres
    await memory.catalogue.upsert([an_item("a")])
    backup = Backup(memory.settings.database_url, tmp_path)
    await memory.catalogue.upsert([an_item("b")])
    watch = memory.catalogue.watch(0, SPEC.fingerprint)
    assert names([await anext(watch)]) == ["a", "b"]
    await asyncio.to_thread(backup.restore)
    heard = await anext(watch)
    assert heard.reset
    assert names([heard]) == ["a"]


async def test_a_lineage_that_was_renewed_resets_a_watcher_whose_revision_is_passed_again(
    memory: Memory, tmp_path: Path
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    backup = Backup(memory.settings.database_url, tmp_path)
    await memory.catalogue.upsert([an_item("b")])
    (before,) = await watched(memory)
    memory = await restored(memory, backup)
    async with writing(memory.database) as connection:
        await connection.run(renew_lineage)
    await memory.catalogue.upsert([an_item(name) for name in "xyz"])
    heard = await watched(memory, before.revision, before.lineage)
    assert names(heard) == ["a", "x", "y", "z"]
    assert heard[0].reset
    await memory.database.close()


async def test_a_number_that_is_another_users_after_a_restore_shows_nothing_of_the_first(
    memory: Memory, models: ProfileModels, tmp_path: Path
) -> None:
    await memory.catalogue.upsert([an_item(name) for name in "abc"])
    await memory.log.append([an_event(1, user="ann", item="a")])
    backup = Backup(memory.settings.database_url, tmp_path)
    await memory.log.append([an_event(n, user="bob", item="b") for n in (1, 2)])
    profiles = profiles_of(memory.database)
    (bob,) = await profiles.get(["bob"], models)
    assert bob.num_events == 2
    again = await restored(memory, backup)
    if again is memory:
        await memory.log.append([an_event(n, user="eve", item="c") for n in (1, 2)])
    else:
        profiles = profiles_of(again.database)
        await again.log.append([an_event(n, user="eve", item="c") for n in (1, 2)])
    eve, bob = await profiles.get(["eve", "bob"], models)
    assert seen(eve) == [3]
    assert seen(bob) == []
    await again.database.close()


def profiles_of(database: Database) -> Profiles:
    return Profiles(database, Pseudonymizer(SECRET), max_cached=100, max_bytes=1_000_000)


def seen(profile: Profile) -> list[int]:
    item_nos: list[int] = profile.seen.item_nos.tolist()
    return item_nos


async def test_a_users_history_that_went_back_is_read_anew_in_a_new_lineage(
    memory: Memory, models: ProfileModels
) -> None:
    """As many events as before, but others: the version alone would not show it."""
    await memory.catalogue.upsert([an_item(name) for name in "abc"])
    await memory.log.append([an_event(1, item="a")])
    profiles = profiles_of(memory.database)
    (before,) = await profiles.get(["ann"], models)
    async with writing(memory.database) as connection:
        await connection.execute(text("UPDATE events SET item_no = 3"))
        await connection.run(renew_lineage)
    (after,) = await profiles.get(["ann"], models)
    assert (seen(before), seen(after)) == ([1], [3])
    assert before.num_events == after.num_events
    assert before.lineage != after.lineage


async def keeper_of(memory: Memory, file: Path | None) -> LineageKeeper:
    keeper = LineageKeeper(memory.database, file)
    await keeper.start()
    return keeper


def log_of(memory: Memory, keeper: LineageKeeper) -> EventStore:
    """The log of a process that has a keeper."""
    return EventStore(
        memory.database,
        Pseudonymizer(SECRET),
        memory.signals,
        max_future_s=DAY_S,
        on_stored=keeper.stored,
    )


async def restart(memory: Memory, file: Path) -> str:
    """What a start of the service makes of the database; returns the lineage after it."""
    await (await keeper_of(memory, file)).close()
    return await lineage_of(memory)


async def test_a_start_after_a_restore_begins_a_new_lineage_and_the_next_start_does_not(
    memory: Memory, tmp_path: Path
) -> None:
    file = tmp_path / "high-water"
    await memory.catalogue.upsert([an_item("a")])
    backup = Backup(memory.settings.database_url, tmp_path)
    await memory.catalogue.upsert([an_item("b")])
    before = await restart(memory, file)
    assert await restart(memory, file) == before
    memory = await restored(memory, backup)
    after = await restart(memory, file)
    assert after != before
    assert await restart(memory, file) == after
    await memory.database.close()


async def test_a_start_misses_an_event_that_it_knows_though_the_counters_were_passed_again(
    memory: Memory, tmp_path: Path
) -> None:
    file = tmp_path / "high-water"
    await memory.catalogue.upsert([an_item("a")])
    backup = Backup(memory.settings.database_url, tmp_path)
    keeper = await keeper_of(memory, file)
    before = await lineage_of(memory)
    await log_of(memory, keeper).append([an_event(1)])
    await keeper.close()
    assert await restart(memory, file) == before
    memory = await restored(memory, backup)
    await memory.log.append([an_event(2), an_event(3)])
    assert await restart(memory, file) != before
    await memory.database.close()


async def test_a_restore_under_a_running_process_is_noticed(
    memory_on_postgres: Memory, tmp_path: Path
) -> None:
    """Another process has written since, so that no counter is behind."""
    memory = memory_on_postgres
    await memory.catalogue.upsert([an_item("a")])
    backup = Backup(memory.settings.database_url, tmp_path)
    keeper = await keeper_of(memory, None)
    before = await lineage_of(memory)
    await log_of(memory, keeper).append([an_event(1)])
    await keeper.look()
    assert await lineage_of(memory) == before
    await asyncio.to_thread(backup.restore)
    await memory.log.append([an_event(2), an_event(3)])
    await keeper.look()
    assert await lineage_of(memory) != before
    await keeper.close()


async def test_a_backup_of_before_the_last_restore_gets_a_lineage_of_its_own(
    memory: Memory, tmp_path: Path
) -> None:
    """The backup brings its old lineage back, with counters that hide that it is old."""
    file = tmp_path / "high-water"
    backup = Backup(memory.settings.database_url, tmp_path)
    first = await restart(memory, file)
    async with writing(memory.database) as connection:
        second = await connection.run(renew_lineage)
    assert await restart(memory, file) == second
    memory = await restored(memory, backup)
    await memory.catalogue.upsert([an_item("a")])
    assert await lineage_of(memory) == first
    assert await restart(memory, file) not in (first, second)
    await memory.database.close()


async def test_a_lineage_that_someone_else_began_is_followed(
    memory: Memory, tmp_path: Path
) -> None:
    """Replicas that notice one restore together agree on one lineage."""
    await memory.catalogue.upsert([an_item("a")])
    before = await lineage_of(memory)
    keepers = [await keeper_of(memory, tmp_path / str(n)) for n in range(3)]
    for keeper in keepers:
        keeper.stored(before, Witness(1, 1, 1))
    for keeper in keepers:
        await keeper.look()
    after = await lineage_of(memory)
    assert after != before
    for keeper in keepers:
        await keeper.look()
        await keeper.close()
    assert await lineage_of(memory) == after
    marks = [HighWater(tmp_path / str(n)).load() for n in range(3)]
    assert [mark.lineage for mark in marks if mark is not None] == [after] * 3
