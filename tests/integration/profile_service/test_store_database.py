"""The database itself, on SQLite and on PostgreSQL: migrations, transactions, outages."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from groundswell.profile_service.store.changes import USER, changes_made
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.tables import metadata
from groundswell.serving.errors import ResourceExhausted, Unavailable
from groundswell.serving.server import StartError
from tests.integration.profile_service.support import (
    Memory,
    an_event,
    an_item,
    reading,
    wait_inside,
    writing,
)
from tests.support.postgres import Postgres


def _differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def test_migrations_make_exactly_the_tables_that_the_code_knows(memory: Memory) -> None:
    async with writing(memory.database) as connection:
        assert await connection.run(_differences) == []


async def test_a_write_that_fails_may_have_been_committed(memory: Memory) -> None:
    """What it changed is not answered from what was read before."""

    def work(connection: DatabaseConnection) -> None:
        changes_made(connection).add((USER, 7))
        raise ConnectionError

    changes = memory.database.changes
    before = changes.generation
    with pytest.raises(ConnectionError):
        await memory.database.write(work)
    assert not changes.user_unchanged(7, before)


async def test_what_was_stored_is_there_when_the_database_is_opened_again(
    database_url: str, memory: Memory
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(1)])
    await memory.database.close()
    again = Database(database_url)
    await again.open()
    async with reading(again) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM events"))).scalar_one() == 1
    await again.close()


async def test_replicas_that_start_together_migrate_one_after_the_other(
    server: Postgres,
) -> None:
    url = server.new_database()
    replicas = [Database(url) for _ in range(3)]
    await asyncio.gather(*(replica.open() for replica in replicas))
    for replica in replicas:
        async with reading(replica) as connection:
            assert (
                await connection.execute(text("SELECT value FROM counters"))
            ).scalars().all() == [0]
        await replica.close()


async def test_an_error_in_a_transaction_leaves_nothing_behind(memory: Memory) -> None:
    with pytest.raises(RuntimeError):
        async with writing(memory.database) as connection:
            await connection.execute(text("DELETE FROM counters"))
            raise RuntimeError
    assert (await memory.catalogue.upsert([an_item("a")]))[1] == 1


async def test_a_transaction_runs_to_its_end_though_its_caller_leaves(memory: Memory) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def write(connection: DatabaseConnection) -> None:
        connection.execute(text("UPDATE counters SET value = 7"))
        loop.call_soon_threadsafe(begun.set)
        wait_inside(connection, loop, go_on)

    caller = asyncio.create_task(memory.database.write(write))
    await begun.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert caller.cancelled()
    go_on.set()
    assert (await memory.catalogue.upsert([an_item("b")]))[1] == 8


async def test_a_caller_who_leaves_before_its_turn_starts_nothing(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    await database.open()
    started: list[str] = []

    def write(connection: DatabaseConnection) -> None:
        started.append("write")
        connection.execute(text("UPDATE counters SET value = 7"))

    async with reading(database):
        leaving = [asyncio.create_task(database.write(write)) for _ in range(20)]
        await asyncio.sleep(0.05)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
    async with reading(database) as connection:
        assert (await connection.execute(text("SELECT value FROM counters"))).scalar_one() == 0
    assert started == []
    await database.close()


async def test_closing_waits_for_a_transaction_whose_caller_left(database_url: str) -> None:
    database = Database(database_url)
    await database.open()
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def write(connection: DatabaseConnection) -> None:
        loop.call_soon_threadsafe(begun.set)
        wait_inside(connection, loop, go_on)
        connection.execute(text("UPDATE counters SET value = 7"))

    caller = asyncio.create_task(database.write(write))
    await begun.wait()
    caller.cancel()
    loop.call_later(0.1, go_on.set)
    await database.close()
    await database.open()
    async with reading(database) as connection:
        assert (await connection.execute(text("SELECT value FROM counters"))).scalar_one() == 7
    await database.close()


async def test_closing_starts_no_transaction_that_waits_for_its_turn(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    await database.open()
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    started: list[str] = []

    def read(connection: DatabaseConnection) -> None:
        loop.call_soon_threadsafe(begun.set)
        wait_inside(connection, loop, go_on)

    first = asyncio.create_task(database.read(read))
    await begun.wait()
    waiting = [asyncio.create_task(database.write(lambda _: started.append("x"))) for _ in range(3)]
    await asyncio.sleep(0.05)
    loop.call_later(0.1, go_on.set)
    await database.close()
    await first
    for ended in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(ended, Unavailable)
        assert ended.reason == "CLOSING"
    assert started == []


async def test_a_read_sees_one_state_however_often_it_looks(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    count = text("SELECT count(*) FROM events")
    async with reading(memory.database) as connection:
        assert (await connection.execute(count)).scalar_one() == 0
        await memory.log.append([an_event(1)])
        assert (await connection.execute(count)).scalar_one() == 0
    async with reading(memory.database) as connection:
        assert (await connection.execute(count)).scalar_one() == 1


async def test_a_database_that_cannot_be_reached_is_said_to_be_unavailable() -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="does not answer"):
        await database.open()
    await database.close()


async def test_a_pool_that_is_used_up_refuses_and_recovers(database_url: str) -> None:
    database = Database(database_url, pool_size=1, pool_timeout_s=0.1)
    await database.open()
    async with reading(database):
        with pytest.raises(ResourceExhausted) as caught:
            async with reading(database):
                pass
    assert (caught.value.reason, caught.value.retry_after_s) == ("OVERLOADED", 0.1)
    async with reading(database) as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await database.close()


async def test_a_file_of_sqlite_serves_one_process(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'groundswell.db'}"
    first, second = Database(url), Database(url)
    await first.open()
    with pytest.raises(StartError, match="another process holds") as caught:
        await second.open()
    assert caught.value.reason == "DATABASE_IN_USE"
    await first.close()
    await second.open()
    await second.close()


async def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'no folder' / 'x.db'}")
    with pytest.raises(StartError, match="no folder") as caught:
        await database.open()
    assert caught.value.reason == "DATABASE_UNUSABLE"


async def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "groundswell.db"
    file.write_bytes(b"this was a database once" * 1_000)
    database = Database(f"sqlite+aiosqlite:///{file}")
    with pytest.raises(StartError) as refused:
        await database.open()
    await database.close()
    assert refused.value.reason == "DATABASE_UNUSABLE"
    assert str(refused.value).startswith(f"{file}: file is not a database; it is damaged: restore")
