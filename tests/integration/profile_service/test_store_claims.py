"""Claims that end without their work: which ones count as lost, on both databases."""

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text

from groundswell.profile_service.event_batch import AppendOutcome
from groundswell.profile_service.profiles.reader import Profiles
from groundswell.profile_service.store.profiles import find_profiles
from groundswell.profile_service.store.tables import stale_items
from groundswell.profile_service.store.work import SET_ASIDE, SUSPECT, WorkList
from groundswell.profile_service.worker import encode_users
from groundswell.profile_service.worker.loop import EncoderError, Worker
from groundswell.serving.errors import Unavailable
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    fill,
    num_stale_users,
    open_memory,
    reading,
    work_all,
    writing,
)
from tests.support.postgres import Postgres
from tests.support.processes import SECRET


class Killed(BaseException):
    """Ends a worker as a signal does: nothing of it runs any more."""


class DeadlyEncoder(CountingEncoder):
    """Kills whoever encodes a certain text."""

    deadly = "The b"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, unless one of them is deadly."""
        if any(self.deadly in one for one in texts):
            raise Killed
        return super().encode(texts)


class BrokenEncoder(CountingEncoder):
    """Fails on every text, as one whose file is damaged does."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Fail."""
        raise RuntimeError(f"cannot read {len(texts)} texts")


async def _attempts(memory: Memory, table: str) -> list[int]:
    async with reading(memory.database) as connection:
        found = await connection.execute(text(f"SELECT attempt FROM {table}"))
        return list(found.scalars())


async def _append(memory: Memory, *users: str) -> list[AppendOutcome]:
    return await memory.log.append([an_event(n, user=u) for u in users for n in range(4)])


class HeldEncoder(CountingEncoder):
    """Encodes nothing before it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.through = threading.Event()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Wait, then encode."""
        self.begun.set()
        self.through.wait(20)
        return super().encode(texts)


async def _step_when_it_is_back(worker: Worker) -> bool:
    async with asyncio.timeout(20):
        while True:
            try:
                return await worker.step()
            except Unavailable:
                await asyncio.sleep(0.1)


async def _let_leases_end(memory: Memory) -> None:
    async with writing(memory.database) as connection:
        for table in ("stale_users", "stale_items"):
            await connection.execute(text(f"UPDATE {table} SET due_us = 0 WHERE owner <> ''"))


@pytest.mark.parametrize("ahead_s", [60, 1_800, 2_000_000_000])
async def test_work_is_due_at_once_though_the_clock_of_whoever_marked_it_was_wrong(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await work_all(memory, CountingEncoder())
    wrong_ns = time.time_ns() + ahead_s * 10**9
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: wrong_ns)
        await memory.log.append([an_event(1)])
    await work_all(memory, CountingEncoder())
    assert await num_stale_users(memory) == 0


async def test_an_outage_in_the_middle_of_work_is_no_attempt(
    server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    memory = await open_memory(server.new_database(), tmp_path_factory.mktemp("outage"))
    await fill(memory, 4)
    await work_all(memory, CountingEncoder(), items_only=True)
    encoder = HeldEncoder()
    worker = memory.worker(encoder)
    working = asyncio.create_task(worker.step())
    await asyncio.to_thread(encoder.begun.wait, 20)
    await asyncio.to_thread(server.stop)
    encoder.through.set()
    with pytest.raises(Unavailable):
        await working
    await asyncio.to_thread(server.start)
    encoder.poison = "The a"
    assert await _step_when_it_is_back(worker)
    await worker.close()
    assert await _attempts(memory, "stale_users") == [1]
    await memory.database.close()


async def test_an_encoder_that_reads_nothing_uses_up_no_attempts(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a"), an_item("b")])
    worker = memory.worker(BrokenEncoder())
    for _ in range(2):
        with pytest.raises(EncoderError):
            await worker.step()
    await worker.close()
    assert await _attempts(memory, "stale_items") == [0, 0]


async def test_work_that_kills_its_workers_is_claimed_alone_and_then_set_aside(
    memory: Memory,
) -> None:
    encoder = DeadlyEncoder()
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    num_deaths = 0
    for _ in range(20):
        # Each round is a process of its own, which ends without a word when it dies.
        worker = memory.worker(encoder)
        try:
            while await worker.step():
                pass
            break
        except Killed:
            num_deaths += 1
            await _let_leases_end(memory)
    assert num_deaths == SET_ASIDE
    assert sorted(encoder.texts) == ["The a. drama", "The c. drama", "The d. drama"]
    async with reading(memory.database) as connection:
        assert await connection.run(WorkList(stale_items).count, 2**62) == 0
        rows = (await connection.execute(text("SELECT lost_claims FROM stale_items"))).all()
    assert rows == [(SET_ASIDE,)]
    await memory.catalogue.upsert([an_item("b", "Harmless")])
    await work_all(memory, encoder)
    assert "Harmless. drama" in encoder.texts


async def test_neighbours_of_deadly_work_wait_no_longer_than_until_it_is_suspected(
    memory: Memory,
) -> None:
    encoder = DeadlyEncoder()
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    for _ in range(SUSPECT):
        with pytest.raises(Killed):
            await memory.worker(encoder).step()
        await _let_leases_end(memory)
    await memory.catalogue.upsert([an_item("e")])
    await memory.worker(encoder).step()
    assert encoder.texts == ["The e. drama"]


async def test_items_and_users_share_the_worker_by_what_they_cost(memory: Memory) -> None:
    encoder = CountingEncoder()
    await memory.catalogue.upsert([an_item(name) for name in "abcdefghijkl"])
    await _append(memory, *(f"user {n}" for n in range(5)))
    # Two items cost 34 tokens, a user of four events 96.
    memory.settings = memory.settings.model_copy(update={"worker_claim_tokens": 35})
    worker, order = memory.worker(encoder), []
    for _ in range(7):
        num = len(encoder.texts)
        await worker.step()
        order.append(len(encoder.texts) - num)
    await worker.close()
    assert order == [2, 1, 2, 2, 1, 2, 2]
    assert await num_stale_users(memory) == 3


async def test_the_oldest_wait_for_a_few_claims_though_newer_ones_keep_coming(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    await work_all(memory, CountingEncoder())
    memory.settings = memory.settings.model_copy(update={"worker_claim_tokens": 96})
    worker = memory.worker(CountingEncoder())
    await _append(memory, "first")
    for n in range(4):
        await _append(memory, f"user {n}")
        await worker.step()
    await worker.close()
    async with reading(memory.database) as connection:
        left = (await connection.execute(text("SELECT user_no FROM stale_users"))).scalars()
    assert list(left) == [5]


async def test_a_long_history_keeps_nobody_waiting(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode_users, "PART_EVENTS", 8)
    monkeypatch.setattr(encode_users, "MAX_CHUNKS", 2)
    await fill(memory, 22, user="long")
    await _append(memory, "bob")
    await memory.log.append([an_event(n, user="cat", item="a") for n in range(4)])
    await work_all(memory, CountingEncoder(), items_only=True)
    encoder = CountingEncoder()
    memory.settings = memory.settings.model_copy(update={"worker_claim_tokens": 432})
    worker = memory.worker(encoder)
    await worker.step()
    assert (await num_stale_users(memory), len(encoder.texts)) == (1, 4)
    await memory.log.append([an_event(9, user="dan", item="d")])
    await worker.step()
    assert await num_stale_users(memory) == 1
    while await worker.step():
        pass
    await worker.close()
    async with reading(memory.database) as connection:
        found = await connection.run(find_profiles, [1], SPEC)
    assert (found[1].covered_sequence, found[1].num_chunks, len(encoder.texts)) == (22, 5, 7)


async def test_a_refresh_waits_for_nothing_newer_though_this_clock_is_ahead_of_the_databases(
    server: Postgres, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await open_memory(server.new_database(), tmp_path_factory.mktemp("ahead"))
    await fill(memory, 1)
    await work_all(memory, CountingEncoder(), items_only=True)
    monkeypatch.setattr(time, "time_ns", lambda: 4_073_000_000 * 10**9)
    progress = Profiles(
        memory.database, Pseudonymizer(SECRET), max_cached=10, max_bytes=1_000_000
    ).refresh(())
    assert await anext(progress) == (1, 0)
    await memory.log.append([an_event(1, user="bob")])
    async with writing(memory.database) as connection:
        await connection.execute(text("DELETE FROM stale_users WHERE user_no = 1"))
    async with asyncio.timeout(10):
        assert [left async for left in progress] == [(0, 0)]
    await memory.database.close()
