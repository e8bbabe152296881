"""A worker process that is killed in the middle of its work, and the rows that it has written."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from groundswell.profile_service.event_batch import NewEvent
from groundswell.profile_service.store.items import ItemContent
from tests.integration.profile_service.support import Memory, an_event, reading
from tests.support.bundles import ITEMS
from tests.support.processes import Process, free_port, service_process

LEASE_S = 3.0
"""A busy machine may be late to renew a shorter one."""
_TABLES = {
    "item_texts": "item_no, fingerprint, content_hash",
    "profiles": "user_no, fingerprint, covered_sequence, last_event_us, num_chunks, recent",
    "profile_chunks": "user_no, chunk_no, fingerprint, content_hash, last_time_us, last_event_id",
}
_VECTORS = {"item_texts": "vector", "profiles": "''::bytea", "profile_chunks": "vector"}
_TYPES = {"item_texts": "<f4", "profiles": "<f4", "profile_chunks": "<f2"}
_HALF_STEP = 2e-3
"""The most that a text's vector may differ: it depends a little on the rest of its batch."""
_TIMEOUT_S = 300.0


class Rows(NamedTuple):
    """What a worker has written into a table, but times."""

    exact: list[tuple[Any, ...]]
    vectors: NDArray[np.float32]
    """[n, t]; [n, 0] of a table without vectors."""


def assert_same(found: dict[str, Rows], due: dict[str, Rows]) -> None:
    """Assert that two runs have written the same rows."""
    for table, rows in due.items():
        assert found[table].exact == rows.exact, table
        np.testing.assert_allclose(found[table].vectors, rows.vectors, atol=_HALF_STEP)


async def fill(memory: Memory, num_users: int, num_events: int, seed: int) -> None:
    """Store the tiny bundle's items, and so many events of each user, at random."""
    rng = random.Random(seed)
    items = [ItemContent(name, title, "", [*names], {}) for name, title, names in ITEMS]
    await memory.catalogue.upsert(items)
    for first in range(0, num_users, 100):
        await memory.log.append(_events(rng, range(first, min(first + 100, num_users)), num_events))


def _events(rng: random.Random, users: Sequence[int], num_events: int) -> list[NewEvent]:
    return [
        an_event(n, user=f"user {user}", item=rng.choice(ITEMS)[0])
        for user in users
        for n in range(num_events)
    ]


def worker_process(url: str, bundles: Path, log: Path, settings: dict[str, str]) -> Process:
    """A worker of its own with short leases, not yet started."""
    known = {
        "GROUNDSWELL_DATABASE_URL": url,
        "GROUNDSWELL_ENCODER_BACKEND": "onnx",
        "GROUNDSWELL_LEASE_S": str(LEASE_S),
        "GROUNDSWELL_IDLE_POLL_S": "0.05",
    }
    module = "groundswell.profile_service"
    return service_process(module, free_port(), bundles, log, known | settings, ["encode"])


async def kill_in_the_middle(
    memory: Memory, worker: Process, num_kills: int, seed: int, within_s: float
) -> list[int]:
    """Kill a worker again and again soon after it has claimed users; return how many it held."""
    rng, held = random.Random(seed), dict[str, int]()
    # A kill between two claims does not count.
    while len(held) < num_kills:
        await asyncio.to_thread(worker.start)
        async with asyncio.timeout(_TIMEOUT_S):
            # What the ones before held has an owner too, until its lease ends.
            while not {*await _owners(memory)} - {*held}:  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.01)
        await asyncio.sleep(rng.uniform(0, within_s))
        worker.kill()
        held = {**await _owners(memory), **held}
    return [*held.values()]


async def _owners(memory: Memory) -> dict[str, int]:
    """Count the users that each worker holds."""
    statement = "SELECT owner, count(*) FROM stale_users WHERE owner <> '' GROUP BY owner"
    async with reading(memory.database) as connection:
        return {row[0]: row[1] for row in await connection.execute(text(statement))}


async def until_done(memory: Memory) -> None:
    """Wait until nothing is on the lists but what is set aside."""
    async with asyncio.timeout(_TIMEOUT_S):
        while await _count(memory, "lost_claims < 5"):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.05)


async def num_waiting(memory: Memory) -> int:
    """Count the users and items on the lists."""
    return await _count(memory, "true")


async def _count(memory: Memory, condition: str) -> int:
    tables = ("stale_users", "stale_items")
    parts = [f"(SELECT count(*) FROM {table} WHERE {condition})" for table in tables]
    async with reading(memory.database) as connection:
        found = await connection.execute(text(f"SELECT {' + '.join(parts)}"))
        return int(found.scalar_one())


async def rows_of(memory: Memory) -> dict[str, Rows]:
    """Read all that was written, by table."""
    found = {}
    async with reading(memory.database) as connection:
        for table, columns in _TABLES.items():
            statement = text(f"SELECT {columns}, {_VECTORS[table]} FROM {table} ORDER BY 1, 2")
            rows = (await connection.execute(statement)).all()
            vectors = np.frombuffer(b"".join(row[-1] for row in rows), _TYPES[table])
            found[table] = Rows(
                [tuple(row)[:-1] for row in rows],
                vectors.reshape(len(rows), -1).astype(np.float32),
            )
    return found
