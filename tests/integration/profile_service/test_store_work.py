"""The encoder's work lists, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from groundswell.features.text import chunk_text
from groundswell.profile_service.store import profiles as statements
from groundswell.profile_service.store.database import DatabaseConnection
from groundswell.profile_service.store.tables import stale_items, stale_users
from groundswell.profile_service.store.work import WorkList
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    fill,
    num_stale_users,
    reading,
    second_process,
    work_all,
    writing,
)


async def test_the_lease_of_a_dead_worker_runs_out_and_its_late_finish_is_void(
    memory: Memory,
) -> None:
    await fill(memory, 3)
    work = WorkList(stale_users)
    async with writing(memory.database) as connection:
        dead = await connection.run(work.claim, "dead", 10, lease_s=0.5)
        assert len(dead.versions) == 1
        assert not (await connection.run(work.claim, "alive", 10, lease_s=60)).versions
    await asyncio.sleep(0.6)
    async with writing(memory.database) as connection:
        alive = await connection.run(work.claim, "alive", 10, lease_s=60)
        assert alive.versions == dead.versions
        assert alive.attempts == {1: 2}
        assert await connection.run(work.still_held, dead, [1]) == {}
        await connection.run(work.finish, dead, {1: 3})
        assert await connection.run(work.still_held, alive, [1]) == {1: 3}


async def test_what_is_written_while_a_claim_is_worked_off_stays_stale(memory: Memory) -> None:
    await fill(memory, 3)
    work = WorkList(stale_users)
    async with writing(memory.database) as connection:
        claim = await connection.run(work.claim, "a worker", 10, lease_s=60)
    await memory.log.append([an_event(7)])
    async with writing(memory.database) as connection:
        await connection.run(work.finish, claim, claim.versions)
        again = await connection.run(work.claim, "a worker", 10, lease_s=60)
    assert again.versions == {1: 4}


async def test_who_acts_now_is_claimed_first_and_a_backlog_last(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    work, users = WorkList(stale_users), ["ann", "bob", "cat", "dan", "eve"]
    for user in users:
        await memory.log.append([an_event(1, user=user)])
    await work_all(memory, CountingEncoder())
    async with writing(memory.database) as connection:
        await connection.run(work.mark, {1: 1, 2: 1}, behind=True)
    for user in users[1:]:
        await memory.log.append([an_event(2, user=user)])
    await memory.log.append([an_event(3, user="cat")])
    async with writing(memory.database) as connection:
        await connection.run(work.mark, dict.fromkeys((1, 2, 5), 1), behind=True)
        claims = [
            await connection.run(work.claim, "me", limit, lease_s=60, oldest=oldest)
            for limit, oldest in ((2, False), (1, True), (9, False))
        ]
    assert [list(claim.versions.items()) for claim in claims] == [
        [(3, 3), (5, 2)],
        [(1, 1)],
        [(4, 2), (2, 2)],
    ]


async def test_the_events_of_few_users_wait_for_one_transaction_of_the_worker(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(memory, 4)
    await work_all(memory, CountingEncoder())
    await memory.log.append([an_event(n, user=f"user {n}") for n in range(100)])
    num_stored: list[int] = []
    put_profiles = statements.put_profiles

    def put(connection: DatabaseConnection, rows: Sequence[Mapping[str, Any]]) -> None:
        num_stored.append(len(rows))
        put_profiles(connection, rows)

    monkeypatch.setattr(statements, "put_profiles", put)
    worker = memory.worker(CountingEncoder())
    await worker.step()
    await worker.close()
    assert sum(num_stored) == 100
    assert max(num_stored) <= 32
    assert await num_stale_users(memory) == 0


async def test_two_workers_share_the_work_and_finish_each_user_once(memory: Memory) -> None:
    encoder = CountingEncoder()
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    await work_all(memory, encoder)
    users = [f"user {n}" for n in range(60)]
    await memory.log.append(
        [an_event(n, user=user, item="abcd"[n % 4]) for user in users for n in range(5)]
    )
    # A claim has seven users at most.
    memory.settings = memory.settings.model_copy(update={"worker_claim_tokens": 728})
    async with second_process(memory) as other:
        other.settings = memory.settings
        await asyncio.gather(work_all(memory, encoder), work_all(other, encoder))
    async with reading(memory.database) as connection:
        rows = (await connection.execute(text("SELECT count(*) FROM profiles"))).scalar_one()
    chunk = chunk_text(["The a", "The b", "The c", "The d"])
    assert (await num_stale_users(memory), rows, encoder.texts.count(chunk)) == (0, 60, 60)


async def test_a_lease_is_renewed_while_its_work_takes_longer(memory: Memory) -> None:
    slow, quick = CountingEncoder(), CountingEncoder()
    await fill(memory, 4)
    await work_all(memory, CountingEncoder(), items_only=True)
    # A third of a second passes between renewals: a machine that stalls for a while loses no lease.
    slow.delay_s = 1.6
    async with second_process(memory) as other:
        first, second = memory.worker(slow, lease_s=1.0), other.worker(quick)
        working = asyncio.create_task(first.step())
        await asyncio.sleep(1.3)
        assert not await second.step()
        assert await working
        await first.close()
        await second.close()
    assert (len(slow.texts), quick.texts, await num_stale_users(memory)) == (1, [], 0)


async def test_a_worker_that_is_told_to_stop_gives_its_claim_back(memory: Memory) -> None:
    encoder = CountingEncoder()
    await fill(memory, 4)
    await work_all(memory, encoder, items_only=True)
    encoder.delay_s = 0.3
    worker = memory.worker(encoder, lease_s=600)
    working = asyncio.create_task(worker.step())
    await asyncio.sleep(0.15)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await worker.close()
    assert await num_stale_users(memory) == 1
    await work_all(memory, CountingEncoder())
    assert await num_stale_users(memory) == 0


async def test_one_item_that_cannot_be_encoded_does_not_block_the_others(memory: Memory) -> None:
    encoder = CountingEncoder()
    encoder.poison = "The c"
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    worker = memory.worker(encoder)
    await worker.step()
    await worker.close()
    assert [f"The {name}. drama" for name in "abd"] == sorted(encoder.texts)[:3]
    async with reading(memory.database) as connection:
        assert await connection.run(WorkList(stale_items).count, 2**62) == 1


async def test_another_encoder_puts_everything_on_the_lists_again(memory: Memory) -> None:
    encoder = CountingEncoder()
    await fill(memory, 4)
    await work_all(memory, encoder)
    worker = memory.worker(encoder, spec=SPEC._replace(fingerprint="another:fp32:1"))
    await worker.mark_uncovered()
    async with reading(memory.database) as connection:
        assert await connection.run(WorkList(stale_items).count, 2**62) == 4
        assert await connection.run(WorkList(stale_users).count, 2**62) == 1
    await worker.close()


async def test_a_user_that_cannot_be_encoded_waits_longer_each_time_and_blocks_nobody(
    memory: Memory,
) -> None:
    encoder = CountingEncoder()
    await fill(memory, 4)
    await fill(memory, 4, user="bob", items="dcba")
    encoder.poison = "The a; The b"
    await work_all(memory, encoder)
    async with reading(memory.database) as connection:
        statement = text("SELECT user_no, attempt, owner, due_us - marked_us FROM stale_users")
        ((user_no, attempt, owner, delay_us),) = (await connection.execute(statement)).all()
    assert (user_no, attempt, owner) == (1, 1, "")
    assert delay_us > 1_500_000
    async with writing(memory.database) as connection:
        await connection.execute(text("UPDATE stale_users SET due_us = 0, attempt = 2000"))
    await work_all(memory, encoder)
    encoder.poison = None
    async with writing(memory.database) as connection:
        await connection.execute(text("UPDATE stale_users SET due_us = 0"))
    await work_all(memory, encoder)
    assert await num_stale_users(memory) == 0


async def test_a_user_does_not_wait_for_an_item_that_cannot_be_encoded(memory: Memory) -> None:
    encoder = CountingEncoder()
    encoder.poison = "The b"
    await fill(memory, 2)
    await work_all(memory, encoder)
    assert await num_stale_users(memory) == 0


async def test_another_encoder_reads_deleted_items_too_for_the_users_who_had_them(
    memory: Memory,
) -> None:
    await fill(memory, 2)
    await work_all(memory, CountingEncoder())
    await memory.catalogue.delete(["a"])
    spec = SPEC._replace(fingerprint="another:fp32:1")
    encoder = CountingEncoder()
    worker = memory.worker(encoder, spec=spec)
    await worker.mark_uncovered()
    while await worker.step():
        pass
    await worker.close()
    assert "The a. drama" in encoder.texts
    assert await num_stale_users(memory) == 0
