"""Marking what no worker has covered, beside writers: nothing is lost and nothing twice."""

import asyncio

import pytest

from groundswell.profile_service.store.coverage import uncovered_users
from groundswell.profile_service.store.profiles import find_profiles
from groundswell.profile_service.store.tables import stale_items, stale_users
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.worker import uncovered
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    fill,
    reading,
    work_all,
    writing,
)


async def test_marking_never_makes_a_version_older_than_a_concurrent_append_did(
    memory: Memory,
) -> None:
    await fill(memory, 3)
    found = await memory.database.read(
        lambda c: uncovered.page_of_uncovered(c, uncovered_users(SPEC), 0)
    )
    await memory.log.append([an_event(7)])
    async with writing(memory.database) as connection:
        await connection.run(WorkList(stale_users).mark, found[1])
        claim = await connection.run(WorkList(stale_users).claim, "a worker", 10, lease_s=60)
    assert (found[1], claim.versions) == ({1: 3}, {1: 4})


async def test_appends_beside_the_marking_of_what_is_uncovered_are_all_covered(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncovered, "PAGE", 3)
    await fill(memory, 4)
    users = [f"user {n}" for n in range(8)]
    worker = memory.worker(CountingEncoder())

    async def append() -> None:
        for n in range(12):
            await memory.log.append([an_event(n, user=user) for user in users])

    async def mark() -> None:
        for _ in range(6):
            await worker.mark_uncovered()

    await asyncio.gather(append(), mark(), append())
    await worker.close()
    await work_all(memory, CountingEncoder())
    async with reading(memory.database) as connection:
        profiles = await connection.run(find_profiles, range(1, 1000), SPEC)
    assert sorted(row.covered_sequence for row in profiles.values()) == [4, *[12] * 8]


async def test_marking_page_by_page_finds_everything_once(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncovered, "PAGE", 2)
    await memory.catalogue.upsert([an_item(name) for name in "abcdefg"])
    users = ("ann", "bob", "cat")
    await memory.log.append([an_event(n, user=user) for user in users for n in range(4)])
    await work_all(memory, CountingEncoder())
    worker = memory.worker(CountingEncoder(), spec=SPEC._replace(fingerprint="another:fp32:1"))
    await worker.mark_uncovered()
    await worker.mark_uncovered()
    await worker.close()
    async with reading(memory.database) as connection:
        left = [await connection.run(WorkList(t).count, 2**62) for t in (stale_users, stale_items)]
    assert left == [3, 7]
