"""Writers of every kind at once over one PostgreSQL."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

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

ITEMS = [f"item {n}" for n in range(500)]
USERS = [f"user {n}" for n in range(40)]


class Counts(NamedTuple):
    """What was done, and how often the server ended a circle of waiting transactions."""

    done: list[int]
    """Calls of each writer but the encoder workers."""
    append_s: list[float]
    num_deadlocks: int


async def write_at_once(server: Postgres, folder: Path, seconds: float, seed: int) -> Counts:
    """Append, upsert, delete, mark and encode over two processes' worth of connections.

    An error of any of them is raised.
    """
    url = server.new_database()
    num_before = await _num_deadlocks(server)
    memories = [await open_memory(url, folder) for _ in range(2)]
    await memories[0].catalogue.upsert([an_item(name) for name in ITEMS])
    until_s = time.monotonic() + seconds
    append_s: list[float] = []

    async def append(memory: Memory, rng: random.Random, number: int) -> None:
        begun = time.monotonic()
        await _append(memory, rng, number)
        append_s.append(time.monotonic() - begun)

    kinds = [append, append, append, _upsert, _delete, _mark]
    writers = [
        _again_and_again(memories[n % 2], kind, random.Random(f"{seed} {n}"), n, until_s)
        for n, kind in enumerate(kinds)
    ]
    workers = [_work(memory, until_s) for memory in memories]
    done, _ = await asyncio.gather(asyncio.gather(*writers), asyncio.gather(*workers))
    for memory in memories:
        await memory.database.close()
    return Counts(done, append_s, await _num_deadlocks(server) - num_before)


async def _again_and_again(
    memory: Memory,
    what: Callable[[Memory, random.Random, int], Coroutine[Any, Any, None]],
    rng: random.Random,
    name: int,
    until_s: float,
) -> int:
    number = 0
    while time.monotonic() < until_s:
        number += 1
        await what(memory, rng, number * 100 + name)
    return number


async def _append(memory: Memory, rng: random.Random, number: int) -> None:
    users, items = rng.sample(USERS, 8), rng.sample(ITEMS, 8)
    pairs = zip(users, items, strict=True)
    await memory.log.append([an_event(number, user=u, item=i, time=number) for u, i in pairs])


async def _upsert(memory: Memory, rng: random.Random, number: int) -> None:
    names = rng.sample(ITEMS, len(ITEMS))
    await memory.catalogue.upsert([an_item(name, f"{name} {number}") for name in names])


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
    while time.monotonic() < until_s:
        await worker.step()
    await worker.close()


async def _num_deadlocks(server: Postgres) -> int:
    """Count those of the whole server; a connection reports its own by the time it is closed."""
    database = Database(server.new_database())
    statement = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    async with reading(database) as connection:
        number = (await connection.execute(statement)).scalar_one()
    await database.close()
    return int(number)
