"""Writers of every kind at once over one PostgreSQL.

`python -m tests.integration.profile_service.writers URL FOLDER SECONDS SEED` runs all but those of
events.
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text

from groundswell.profile_service.store.database import Database
from tests.integration.profile_service.support import (
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    open_memory,
    reading,
)
from tests.support.postgres import Postgres

ITEMS = [f"item {n}" for n in range(500)]
USERS = [f"user {n}" for n in range(400)]


Write = Callable[[Memory, random.Random, int], Coroutine[Any, Any, None]]


class Counts(NamedTuple):
    """How often each writer wrote, but the encoder workers, and how long each append took."""

    done: list[int]
    append_s: list[float]


async def append_at_once(url: str, folder: Path, seconds: float, seed: int) -> Counts:
    """Append events of the same users by three writers over two replicas' connections."""
    memories = [await open_memory(url, folder) for _ in range(2)]
    append_s: list[float] = []

    async def append(memory: Memory, rng: random.Random, number: int) -> None:
        begun = time.monotonic()
        await _append(memory, rng, number)
        append_s.append(time.monotonic() - begun)

    done = await _write([append] * 3, memories, seconds, seed)
    await _close(memories)
    return Counts(done, append_s)


async def write_the_rest_at_once(url: str, folder: Path, seconds: float, seed: int) -> Counts:
    """Upsert, delete, mark and encode, with two encoder workers. An error of any is raised."""
    memories = [await open_memory(url, folder) for _ in range(2)]
    workers = asyncio.gather(*(_work(memory, seconds) for memory in memories))
    writers = _write([_upsert, _delete, _mark], memories, seconds, seed)
    done, _ = await asyncio.gather(writers, workers)
    await _close(memories)
    return Counts(done, [])


async def fill_catalogue(url: str, folder: Path) -> None:
    """Store the items."""
    memory = await open_memory(url, folder)
    await memory.catalogue.upsert([an_item(name) for name in ITEMS])
    await memory.database.close()


async def _write(
    kinds: Sequence[Write], memories: Sequence[Memory], seconds: float, seed: int
) -> list[int]:
    until_s = time.monotonic() + seconds
    return await asyncio.gather(
        *(
            _again_and_again(memories[n % 2], kind, random.Random(f"{seed} {n}"), n, until_s)
            for n, kind in enumerate(kinds)
        )
    )


async def _close(memories: Sequence[Memory]) -> None:
    for memory in memories:
        await memory.database.close()


async def _again_and_again(
    memory: Memory,
    what: Write,
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


async def _work(memory: Memory, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    # So short a lease is renewed while others work.
    worker = memory.worker(CountingEncoder(), lease_s=0.1)
    while time.monotonic() < until_s:
        await worker.step()
    await worker.close()


async def num_deadlocks(server: Postgres) -> int:
    """Count those of the whole server; a connection reports its own by the time it is closed."""
    database = Database(server.new_database())
    statement = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    async with reading(database) as connection:
        number = (await connection.execute(statement)).scalar_one()
    await database.close()
    return int(number)


if __name__ == "__main__":
    url_, folder_, seconds_, seed_ = sys.argv[1:]
    rest = asyncio.run(write_the_rest_at_once(url_, Path(folder_), float(seconds_), int(seed_)))
    sys.stdout.write(" ".join(map(str, rest.done)))
