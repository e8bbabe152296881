"""A very long history costs no more than its newest part, on SQLite and on PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from groundswell.profile_service.event_batch import NewEvent
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.tables import stale_users
from groundswell.profile_service.store.work import WorkList
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_event,
    fill,
    writing,
)
from tests.support.memory import set_heap_aside

NUM_EVENTS = 150_000
MAX_CHUNKS = 64
MAX_BLOCKED_S = 0.010

_EVENTS = """
INSERT INTO events (user_no, sequence, event_id, item_no, action, time_us, ordinal, session_id,
                    attribution_token, stored_us)
WITH RECURSIVE numbers(n) AS (SELECT 5 UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
SELECT 1, n, 'e' || n, n % 4 + 1, 2, 1000 * n, 0, '', '', 1 FROM numbers
"""


@asynccontextmanager
async def busy_times() -> AsyncIterator[list[float]]:
    """How long the event loop computes at a time inside, in seconds of its own thread."""
    set_heap_aside()
    times: list[float] = []

    async def tick() -> None:
        last_s = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now_s = time.thread_time()
            times.append(now_s - last_s)
            last_s = now_s

    ticking = asyncio.create_task(tick())
    try:
        yield times
    finally:
        ticking.cancel()


def squares_s() -> float:
    """The processor time of a fixed piece of work: 5 ms on a machine of usual speed."""
    began_s = time.thread_time()
    sum(n * n for n in range(100_000))
    return time.thread_time() - began_s


async def test_an_event_before_a_very_long_history_costs_what_the_head_reads(
    memory: Memory,
) -> None:
    await fill(memory, 4)
    async with writing(memory.database) as connection:
        await connection.execute(text(_EVENTS), {"last": NUM_EVENTS})
        await connection.execute(text(f"UPDATE users SET last_sequence = {NUM_EVENTS}"))
        await connection.run(WorkList(stale_users).mark, {1: NUM_EVENTS})
    encoder = CountingEncoder()
    worker = memory.worker(encoder, max_chunks=MAX_CHUNKS)
    while await worker.step():
        pass
    for new in (
        NewEvent("ann", "late", EventContent("d", 2, None, -1, 0, "", "")),
        an_event(NUM_EVENTS + 1, time=1000 * NUM_EVENTS + 1),
    ):
        await memory.log.append([new])
        del encoder.texts[:]
        async with busy_times() as times:
            while await worker.step():
                pass
        assert len(encoder.texts) <= MAX_CHUNKS + 4 + SPEC.chunk_length
        assert max(times) < max(MAX_BLOCKED_S, squares_s())
    await worker.close()
