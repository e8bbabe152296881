"""Writers of every kind at once over one PostgreSQL: nobody waits for another in a circle."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from sqlalchemy import text

from groundswell.profile_service.store.database import Database
from tests.integration.profile.support import (
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    open_memory,
    reading,
)
from tests.support.postgres import Postgres

SEED = 5
SECONDS = 3.0
ITEMS = [f"item {n}" for n in range(500)]
USERS = [f"user {n}" for n in range(40)]


async def _append(memory: Memory, rng: random.Random, number: int) -> None:
    users, items = rng.sample(USERS, 8), rng.sample(ITEMS, 8)
    pairs = zip(users, items, strict=True)
    await memory.log.append([an_event(number, user=u, item=i, time=number) for u, i in pairs])


async def _upsert(memory: Memory, rng: random.Random, number: int) -> None:
    names = rng.sample(ITEMS, len(ITEMS))
    await memory.catalogue.upsert([an_item(name, f"{name} {number % 2}") for name in names])


async def _delete(memory: Memory, rng: random.Random, _number: int) -> None:
    await memory.catalogue.delete(rng.sample(ITEMS, 20))
    await asyncio.sleep(0.1)


async def _mark(memory: Memory, _rng: random.Random, _number: int) -> None:
    worker = memory.worker(CountingEncoder())
    await worker.mark_uncovered()
    await worker.close()
    await asyncio.sleep(0.1)


async def _work(memory: Memory, until_s: float) -> None:
    # So short a lease is renewed while others work.
    worker = memory.worker(CountingEncoder(), lease_s=0.1)
    while asyncio.get_running_loop().time() < until_s:
        await worker.step()
    await worker.close()


async def _again_and_again(
    memory: Memory,
    what: Callable[[Memory, random.Random, int], Coroutine[Any, Any, None]],
    name: int,
    until_s: float,
) -> int:
    rng, number = random.Random(f"{SEED} {name}"), 0
    while asyncio.get_running_loop().time() < until_s:
        number += 1
        await what(memory, rng, number * 100 + name)
    return number


async def test_writers_of_every_kind_never_deadlock(server: Postgres, tmp_path: Path) -> None:
    url = server.new_database()
    num_before = await _num_deadlocks(server)
    memories = [await open_memory(url, tmp_path) for _ in range(2)]
    await memories[0].catalogue.upsert([an_item(name) for name in ITEMS])
    until_s = asyncio.get_running_loop().time() + SECONDS
    kinds = [_append, _append, _append, _upsert, _delete, _mark]
    writers = [_again_and_again(memories[n % 2], kind, n, until_s) for n, kind in enumerate(kinds)]
    workers = [_work(memory, until_s) for memory in memories]
    # A deadlock ends one of its transactions with an error, and so most probably one of these.
    counts = await asyncio.gather(*writers, *workers)
    for memory in memories:
        await memory.database.close()
    assert all(count is None or count >= 1 for count in counts)
    assert await _num_deadlocks(server) == num_before


async def _num_deadlocks(server: Postgres) -> int:
    """Count those of the whole server; a connection reports its own by the time it is closed."""
    database = Database(server.new_database())
    statement = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    async with reading(database) as connection:
        number = (await connection.execute(statement)).scalar_one()
    await database.close()
    return int(number)
