"""A failover, a restart and a full disk of the database, after each of which all works again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.serving.errors import ResourceExhausted, ServiceError, Unavailable
from tests.integration.profile_service.support import (
    Memory,
    an_event,
    an_item,
    open_memory,
    wait_inside,
)
from tests.support.postgres import Postgres

T = TypeVar("T")


async def healed(call: Callable[[], Awaitable[T]], within_s: float = 5.0) -> T:
    """The answer of a call once the outage is over."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await call()
        except ServiceError:
            assert time.monotonic() < deadline, f"still failing after {within_s} s"
        await asyncio.sleep(0.02)


@pytest.fixture
async def memory(server: Postgres, tmp_path: Path) -> AsyncIterator[Memory]:
    opened = await open_memory(server.new_database(), tmp_path)
    await opened.catalogue.upsert([an_item("a")])
    yield opened
    await opened.database.close()


@pytest.fixture
def read_only(server: Postgres) -> Iterator[Callable[[bool], None]]:
    yield server.set_read_only
    server.set_read_only(False)


async def test_while_the_database_takes_no_writes_reads_go_on(
    memory: Memory, read_only: Callable[[bool], None]
) -> None:
    num_refused = num_read = 0
    refused = asyncio.Event()

    async def write(first: int) -> list[int]:
        """Append until the end of the outage; return what was acknowledged."""
        nonlocal num_refused
        stored: list[int] = []
        number = first
        while not (refused.is_set() and stored and stored[-1] > num_stored):
            number += 1
            try:
                await memory.log.append([an_event(number, user=f"user {first}")])
            except Unavailable as error:
                assert (error.reason, bool(error.retry_after_s)) == ("STORE_UNAVAILABLE", True)
                assert "takes no writes" in error.message
                num_refused += 1
                refused.set()
            else:
                stored.append(number)
            await asyncio.sleep(0.002)
        return stored

    num_stored = 10**9
    writers = [asyncio.create_task(write(first)) for first in (0, 10_000)]
    await asyncio.sleep(0.1)
    await asyncio.to_thread(read_only, True)
    async with asyncio.timeout(10):
        await refused.wait()
        for _ in range(20):
            assert (await memory.catalogue.get("a")).item_no
            num_read += 1
    await asyncio.to_thread(read_only, False)
    num_stored = -1
    async with asyncio.timeout(10):
        stored = await asyncio.gather(*writers)
    assert num_refused > 0
    assert num_read == 20
    for first, own in zip((0, 10_000), stored, strict=True):
        page = await memory.log.list(f"user {first}", None, 1_000)
        assert sorted(int(e.event_id[1:]) for e in page.events) == own


async def test_a_server_without_room_lets_a_call_wait_for_a_connection_of_the_pool(
    server: Postgres, memory: Memory
) -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(connection: DatabaseConnection) -> None:
        connection.execute(text("SELECT 1"))
        begun.set()
        wait_inside(connection, loop, over)

    other = Database(server.new_database(), pool_size=4)
    await other.open()
    holding = asyncio.create_task(other.read(hold))
    await begun.wait()
    with server.no_room_for_connections():
        waiting = [asyncio.create_task(other.read(_one)) for _ in range(3)]
        await asyncio.sleep(0.3)
        over.set()
        await holding
        assert await asyncio.gather(*waiting) == [1, 1, 1]
    await other.close()
    assert (await memory.catalogue.get("a")).item_no


async def test_a_server_without_room_refuses_a_call_whose_wait_is_over(server: Postgres) -> None:
    other = Database(server.new_database(), pool_size=4, pool_timeout_s=0.2)
    await other.open()
    begun, over = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(connection: DatabaseConnection) -> None:
        connection.execute(text("SELECT 1"))
        begun.set()
        wait_inside(connection, loop, over)

    holding = asyncio.create_task(other.read(hold))
    await begun.wait()
    with server.no_room_for_connections():
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await other.read(_one)
        assert 0.2 <= time.monotonic() - began < 1.5
        over.set()
        await holding
        assert await other.read(_one) == 1
    await other.close()


def _one(connection: DatabaseConnection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


async def test_connections_to_a_server_that_became_read_only_are_not_used_again(
    memory: Memory, read_only: Callable[[bool], None]
) -> None:
    """A name may lead to the new leader by now, but a connection still leads to the old one."""

    async def backend() -> int:
        def look(connection: DatabaseConnection) -> int:
            return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())

        return await memory.database.read(look)

    before = await backend()
    assert await backend() == before
    await asyncio.to_thread(read_only, True)
    deadline = time.monotonic() + 5
    while True:
        try:
            await memory.catalogue.upsert([an_item("b", f"title {time.monotonic()}")])
        except Unavailable:
            break
        assert time.monotonic() < deadline
    assert await backend() != before


async def test_connections_that_an_administrator_ends_are_replaced(
    server: Postgres, memory: Memory
) -> None:
    with capture_logs() as logged:
        for _ in range(3):
            await asyncio.to_thread(server.end_connections)
            assert (await healed(lambda: memory.catalogue.get("a"))).item_no
            assert await healed(lambda: memory.log.append([an_event(1)]))
    assert [line for line in logged if line["log_level"] == "error"] == []


async def test_while_the_database_is_down_calls_fail_at_once_and_few_lines_are_logged(
    server: Postgres, memory: Memory
) -> None:
    with capture_logs() as logged:
        await asyncio.to_thread(server.stop)
        try:
            for _ in range(20):
                with pytest.raises(Unavailable):
                    await memory.catalogue.get("a")
            begin = time.monotonic()
            for _ in range(100):
                for call in (memory.catalogue.get("a"), memory.log.append([an_event(1)])):
                    with pytest.raises(Unavailable):
                        await call
            # A hundredth of what one attempt to connect may take; mostly it is far less.
            assert (time.monotonic() - begin) / 200 < 0.05
        finally:
            await asyncio.to_thread(server.start)
        assert (await healed(lambda: memory.catalogue.get("a"))).item_no
        assert await healed(lambda: memory.log.append([an_event(1)]))
    events = [line["event"] for line in logged]
    assert events.count("store_down") == events.count("store_back") == 1
    assert len(events) <= 8


async def test_a_database_that_hangs_is_taken_for_gone_until_it_answers(
    server: Postgres, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundswell.profile_service.store.outages._SUSPECT_S", 0.1)
    monkeypatch.setattr("groundswell.profile_service.store.outages._PROBE_TIMEOUT_S", 0.2)
    assert (await memory.catalogue.get("a")).item_no
    with server.paused():
        waiting = asyncio.create_task(memory.catalogue.get("a"))
        await asyncio.sleep(1)
        begin = time.monotonic()
        for _ in range(100):
            with pytest.raises(Unavailable, match="does not answer"):
                await memory.catalogue.get("a")
        assert time.monotonic() - begin < 5
    assert (await asyncio.wait_for(waiting, 10)).item_no
    assert (await healed(lambda: memory.catalogue.get("a"))).item_no


async def test_a_server_without_room_for_more_connections_serves_those_that_there_are(
    memory: Memory, server: Postgres
) -> None:
    database = Database(memory.settings.database_url, pool_timeout_s=60)
    memory.log._database = database
    await memory.log.list("ann", None, 10)
    with server.no_room_for_connections(), capture_logs() as logs:
        # They need more connections than there are, and wait for each other.
        for _ in range(3):
            await asyncio.gather(*(memory.log.list("ann", None, 10) for _ in range(8)))
    assert "store_down" not in {entry["event"] for entry in logs}
    await database.close()


async def test_a_service_that_starts_before_its_database_waits_for_it(server: Postgres) -> None:
    database = Database(server.new_database())
    await asyncio.to_thread(server.stop)
    opening = asyncio.create_task(database.open(wait_s=20))
    await asyncio.sleep(0.3)
    assert not opening.done()
    await asyncio.to_thread(server.start)
    await asyncio.wait_for(opening, 10)
    await database.close()


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Memory]:
    """SQLite over one connection, which can be told what the disk would."""
    opened = await open_memory(f"sqlite+aiosqlite:///{tmp_path / 'groundswell.db'}", tmp_path)
    await opened.database.close()
    opened.database = Database(opened.settings.database_url, pool_size=1)
    await opened.database.open()
    opened.log._database = opened.catalogue._database = opened.database
    await opened.catalogue.upsert([an_item("a")])
    yield opened
    await opened.database.close()


async def pragma(memory: Memory, statement: str) -> int:
    def run(connection: DatabaseConnection) -> int:
        found = connection.execute(text(f"PRAGMA {statement}"))
        return int(found.scalar() or 0) if found.returns_rows else 0

    return await memory.database.read(run)


@pytest.mark.parametrize(
    ("broken", "mended", "error", "reason"),
    [
        ("max_page_count = 1", "max_page_count = 1000000", ResourceExhausted, "STORAGE_FULL"),
        ("query_only = ON", "query_only = OFF", Unavailable, "STORE_UNAVAILABLE"),
    ],
    ids=["full", "read-only"],
)
async def test_a_file_that_takes_no_more_is_read_on_and_heals(
    small: Memory, broken: str, mended: str, error: type[ServiceError], reason: str
) -> None:
    await pragma(small, broken)
    # What fits into the pages that there are may still be written.
    large = [an_item(f"large {n}", "x" * 1_900) for n in range(50)]
    for _ in range(3):
        with pytest.raises(error) as caught:
            await small.catalogue.upsert(large)
        assert caught.value.reason == reason
        assert caught.value.retry_after_s is not None
        assert (await small.catalogue.get("a")).item_no
    await pragma(small, mended)
    assert (await small.catalogue.upsert(large))[1] == 51
    assert await small.log.append([an_event(1)])
