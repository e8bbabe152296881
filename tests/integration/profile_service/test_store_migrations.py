"""Databases of earlier releases, on SQLite and on PostgreSQL; and those releases on our tables."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.migrations import upgrade
from groundswell.profile_service.store.tables import stale_items, stale_users
from groundswell.profile_service.store.work import WorkList
from tests.integration.profile_service import earlier_releases as earlier
from tests.integration.profile_service.earlier_releases import FIRST, RELEASES, Release
from tests.integration.profile_service.support import (
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    open_memory,
    reading,
    work_all,
    writing,
)

_BY_REVISION = pytest.mark.parametrize("release", RELEASES, ids=lambda r: r.revision)
_KEY = b"k" * 32


async def _use(database: Database, release: Release, n: int) -> tuple[int, int]:
    """Do all that an earlier release does, once."""
    async with writing(database) as connection:
        item_no = await connection.run(earlier.write_item, f"item {n}")
        user_no = await connection.run(earlier.append_event, _KEY, item_no, n)
        await connection.run(earlier.work, release, user_no, item_no, n)
        await connection.run(earlier.append_event, _KEY, item_no, n + 1)
        await connection.run(earlier.write_item, f"item {n + 1}")
    return user_no, item_no


async def num_stale(memory: Memory) -> list[int]:
    async with reading(memory.database) as connection:
        return [await connection.run(WorkList(t).count, 2**62) for t in (stale_users, stale_items)]


@_BY_REVISION
async def test_a_database_of_an_earlier_release_keeps_all_and_is_worked_off(
    release: Release, database_url: str, tmp_path: Path
) -> None:
    before = Database(database_url)
    async with writing(before) as connection:
        await connection.run(upgrade, release.revision)
    await _use(before, release, 1)
    await before.close()
    memory = await open_memory(database_url, tmp_path)
    assert await num_stale(memory) == [1, 1]
    await memory.log.append([an_event(3, item="item 2")])
    await memory.catalogue.upsert([an_item("item 1", "A third title"), an_item("item 3")])
    worker = memory.worker(CountingEncoder())
    await worker.mark_uncovered()
    await worker.close()
    await work_all(memory, CountingEncoder())
    async with reading(memory.database) as connection:
        rows = await connection.execute(
            text("SELECT item_no, title, revision FROM items ORDER BY item_no")
        )
        found = [row.title for row in rows]
        events = (await connection.execute(text("SELECT count(*) FROM events"))).scalar_one()
        covered = await connection.execute(
            text("SELECT max(covered_sequence) FROM profiles WHERE recent IS NOT NULL")
        )
        assert covered.scalar_one() == 2
    assert (found, events) == (["A third title", "Another", "The item 3"], 3)
    assert await num_stale(memory) == [0, 0]
    await memory.database.close()


@_BY_REVISION
async def test_an_earlier_release_goes_on_working_on_the_newest_tables(
    release: Release, memory: Memory
) -> None:
    user_no, _ = await _use(memory.database, release, 1)
    # Ours writes the same rows in between.
    await work_all(memory, CountingEncoder())
    assert await num_stale(memory) == [0, 0]
    assert await _use(memory.database, release, 3) == (user_no, 3)
    await work_all(memory, CountingEncoder())
    assert await num_stale(memory) == [0, 0]


async def test_a_profile_that_an_earlier_release_wrote_over_ours_is_covered_again(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(1)])
    await work_all(memory, CountingEncoder())
    async with writing(memory.database) as connection:
        item_no = await connection.run(earlier.write_item, "b")
        number = (await connection.execute(text("SELECT user_no FROM users"))).scalar_one()
        key = (await connection.execute(text("SELECT user_key FROM users"))).scalar_one()
        await connection.run(earlier.append_event, key, item_no, 2)
        await connection.run(earlier.work, FIRST, number, item_no, 2)
    worker = memory.worker(CountingEncoder())
    await worker.mark_uncovered()
    await worker.close()
    assert (await num_stale(memory))[0] == 1
    await work_all(memory, CountingEncoder())
    async with reading(memory.database) as connection:
        row = (await connection.execute(text("SELECT * FROM profiles"))).one()
    assert (row.covered_sequence, len(row.recent), row.tail_vector) == (2, 36, None)


async def test_the_newest_tables_have_every_column_that_an_earlier_release_had(
    database_url: str, tmp_path: Path
) -> None:
    database = Database(database_url)
    async with writing(database) as connection:
        await connection.run(upgrade, "0001")
        before = await connection.run(_columns)
    await database.close()
    memory = await open_memory(database_url, tmp_path)
    async with reading(memory.database) as connection:
        after = await connection.run(_columns)
    await memory.database.close()
    assert before <= after


def _columns(connection: Connection) -> set[tuple[str, str]]:
    inspector = inspect(connection)
    return {
        (table, column["name"])
        for table in inspector.get_table_names()
        for column in inspector.get_columns(table)
    }
