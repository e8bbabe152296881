"""A rebuild makes the rows that a worker makes, whatever is stored, and while others write."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import delete, select, update

from groundswell.profile_service.rebuild.users import Counts, Logs, RebuildUsers
from groundswell.profile_service.store import rebuilds
from groundswell.profile_service.store.coverage import uncovered_users
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.tables import profile_chunks, profiles
from groundswell.profile_service.visitors import Visitors
from groundswell.profile_service.worker.encoder_thread import EncoderThread
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    open_memory,
    reading,
    work_all,
    writing,
)
from tests.support.processes import SECRET

SKIP = Spec(SPEC.fingerprint, 0)
NUM_EVENTS = {"ann": 10, "bob": 3, "cem": 290, "dea": 4}
ALL = range(1, 100)

Rows = list[tuple[Any, ...]]


async def stored_rows(memory: Memory) -> tuple[Rows, Rows]:
    """All rows of profiles and chunks, without the time at which they were written."""
    wanted = [column for column in profiles.c if column.name != "covered_us"]
    async with reading(memory.database) as connection:
        found = await connection.execute(select(*wanted).order_by(*profiles.primary_key))
        chunks = await connection.execute(
            select(profile_chunks).order_by(*profile_chunks.primary_key)
        )
        return [tuple(row) for row in found], [tuple(row) for row in chunks]


async def rebuild(
    memory: Memory,
    encoder: CountingEncoder,
    *,
    spec: Spec = SPEC,
    logs: Logs | None = None,
    max_chunks: int = 1_000,
) -> Counts:
    encoding = EncoderThread(encoder)
    work = RebuildUsers(memory.database, encoding, spec, max_chunks)
    try:
        return await work.run(ALL, logs or {})
    finally:
        await encoding.close()


async def delete_rows(memory: Memory) -> None:
    async with writing(memory.database) as connection:
        for table in (profile_chunks, profiles):
            await connection.execute(delete(table))


async def append(memory: Memory, user: str, numbers: Sequence[int], first_us: int = 0) -> None:
    events = [
        an_event(n, user=user, item="abcd"[n * len(user) % 4], time=first_us + n) for n in numbers
    ]
    await memory.log.append(events)


@pytest.fixture
async def covered(memory: Memory) -> Memory:
    """Users whose profiles a worker made in two steps, with events that came late."""
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    for user, number in NUM_EVENTS.items():
        await append(memory, user, range(100, 100 + number))
    await work_all(memory, CountingEncoder())
    await append(memory, "ann", range(5), first_us=102)
    await append(memory, "bob", range(200, 202))
    await work_all(memory, CountingEncoder())
    return memory


async def test_lost_rows_are_made_again_and_right_ones_are_not_written(covered: Memory) -> None:
    expected = await stored_rows(covered)
    await delete_rows(covered)
    encoder = CountingEncoder()
    assert await rebuild(covered, encoder) == Counts(written=4)
    assert await stored_rows(covered) == expected
    assert len(encoder.texts) == len(expected[1]) > 60
    assert await rebuild(covered, encoder) == Counts(correct=4)
    assert len(encoder.texts) == len(expected[1])


async def test_what_is_wrong_is_made_right_and_the_rest_is_not_encoded(covered: Memory) -> None:
    expected = await stored_rows(covered)
    chunk = profile_chunks.c
    async with writing(covered.database) as connection:
        for number, values in ((0, {"content_hash": b"?"}), (1, {"chunk_no": 9})):
            wrong = update(profile_chunks).where(chunk.user_no == 1, chunk.chunk_no == number)
            await connection.execute(wrong.values(**values))
        bob = update(profiles).where(profiles.c.user_no == 2)
        await connection.execute(bob.values(recent=b"", covered_sequence=1))
    encoder = CountingEncoder()
    assert await rebuild(covered, encoder) == Counts(written=2, correct=2)
    assert await stored_rows(covered) == expected
    assert len(encoder.texts) == 2


async def test_of_a_long_history_no_more_is_encoded_than_the_head_reads(covered: Memory) -> None:
    await delete_rows(covered)
    worker = covered.worker(CountingEncoder(), max_chunks=3)
    await worker.mark_uncovered()
    while await worker.step():
        pass
    await worker.close()
    expected = await stored_rows(covered)
    await rebuild(covered, CountingEncoder())
    assert await stored_rows(covered) != expected
    await rebuild(covered, CountingEncoder(), max_chunks=3)
    assert await stored_rows(covered) == expected


async def test_a_bundle_that_reads_no_texts_gets_the_newest_events_alone(covered: Memory) -> None:
    recent = {row[0]: row for row in (await stored_rows(covered))[0]}
    await delete_rows(covered)
    encoder = CountingEncoder()
    assert await rebuild(covered, encoder, spec=SKIP) == Counts(written=4)
    rows, chunks = await stored_rows(covered)
    assert (encoder.texts, chunks) == ([], [])
    place = [c.name for c in profiles.c if c.name != "covered_us"].index("recent")
    assert {row[0]: row[place] for row in rows} == {n: row[place] for n, row in recent.items()}
    assert await rebuild(covered, encoder, spec=SKIP) == Counts(correct=4)


async def test_an_event_that_comes_while_its_user_is_encoded_is_not_lost(covered: Memory) -> None:
    await delete_rows(covered)
    loop = asyncio.get_running_loop()

    class Appending(CountingEncoder):
        """During each of the first two batches an event comes that is older than all others."""

        late = iter((800, 801))

        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            for n in islice(self.late, 1):
                coming = append(covered, "ann", [n], first_us=-800)
                asyncio.run_coroutine_threadsafe(coming, loop).result()
            return super().encode(texts)

    assert await rebuild(covered, Appending()) == Counts(written=4)
    found = await stored_rows(covered)
    place = [c.name for c in profiles.c if c.name != "covered_us"].index("covered_sequence")
    assert found[0][0][place] == NUM_EVENTS["ann"] + 5 + 2
    await delete_rows(covered)
    await rebuild(covered, CountingEncoder())
    assert await stored_rows(covered) == found


async def test_a_user_whose_text_cannot_be_encoded_is_left_out_alone(covered: Memory) -> None:
    await covered.catalogue.upsert([an_item("x", "poison")])
    await covered.log.append([an_event(n, user="eve", item="x") for n in range(4)])
    await delete_rows(covered)
    encoder = CountingEncoder()
    encoder.poison = "poison"
    assert await rebuild(covered, encoder) == Counts(written=4, failed=1)
    encoder.poison = ""  # nothing works
    with pytest.raises(RuntimeError, match="poison"):
        await rebuild(covered, encoder)


async def test_a_session_that_was_linked_has_no_profile_and_is_not_waited_for(
    covered: Memory,
) -> None:
    visitors = Visitors(covered.database, Pseudonymizer(SECRET), covered.signals, keep_s=1e6)
    session = subject_id("", "a visit")
    await covered.log.append([an_event(n, user=session) for n in range(900, 905)])
    await visitors.link("a visit", "ann")
    await work_all(covered, CountingEncoder())
    expected = await stored_rows(covered)
    await delete_rows(covered)
    await rebuild(covered, CountingEncoder())
    assert await stored_rows(covered) == expected
    async with reading(covered.database) as connection:
        assert (await connection.execute(uncovered_users(SPEC).between(0, 2**62))).all() == []
        assert await connection.run(rebuilds.count_users, 0) == (4, 4)


async def test_the_history_is_taken_from_a_log_that_has_the_same_events(covered: Memory) -> None:
    expected = await stored_rows(covered)

    def rows(numbers: Sequence[int]) -> list[dict[str, Any]]:
        return [
            {
                "event_id": f"e{n}",
                "item_id": "abcd"[n * 3 % 4],
                "action": 2,
                "session_id": "",
                "time_us": n,
                "ordinal": 0,
            }
            for n in numbers
        ]

    same = {2: rows([*range(100, 103), 200, 201]), 3: rows(range(100, 390))}
    await delete_rows(covered)
    assert await rebuild(covered, CountingEncoder(), logs=same) == Counts(written=4)
    assert await stored_rows(covered) == expected
    # Other actions show where they are read from.
    for log in same.values():
        for row in log:
            row["action"] = 3
    more = same | {3: [*same[3], *rows([999])]}
    assert await rebuild(covered, CountingEncoder(), logs=more) == Counts(written=1, correct=3)
    newest_lacks = {2: same[2][:-1] + rows([555])}
    assert await rebuild(covered, CountingEncoder(), logs=newest_lacks) == Counts(
        written=1, correct=3
    )
    one_twice = {2: [*same[2][1:], same[2][-1]]}
    assert await rebuild(covered, CountingEncoder(), logs=one_twice) == Counts(correct=4)
    assert await stored_rows(covered) == expected


async def test_a_worker_and_writers_beside_it_lose_nothing(
    memory_on_postgres: Memory, tmp_path: Path
) -> None:
    memory = memory_on_postgres
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    for n in range(12):
        await append(memory, f"user {n}", range(100, 108 + n))
    until = asyncio.get_running_loop().time() + 2.5

    async def write() -> None:
        n = 1_000
        while asyncio.get_running_loop().time() < until:
            # Every second one is older than all others.
            await append(memory, f"user {n % 12}", [n], first_us=-1_000 if n % 2 else 0)
            n += 1

    async def work() -> None:
        worker = memory.worker(CountingEncoder())
        while asyncio.get_running_loop().time() < until:
            await worker.step()
        await worker.close()

    async def again_and_again() -> Counts:
        other = await open_memory(memory.settings.database_url, tmp_path)
        counts = Counts()
        while asyncio.get_running_loop().time() < until:
            encoder = CountingEncoder()
            encoder.delay_s = 0.005
            counts = counts.plus(await rebuild(other, encoder))
            await asyncio.sleep(0.01)
        await other.database.close()
        return counts

    _, _, counts = await asyncio.gather(write(), work(), again_and_again())
    assert counts.written > 0
    await work_all(memory, CountingEncoder())
    found = await stored_rows(memory)
    await delete_rows(memory)
    assert await rebuild(memory, CountingEncoder()) == Counts(written=12)
    assert await stored_rows(memory) == found


async def test_a_running_service_learns_of_what_was_rebuilt(
    memory_on_postgres: Memory, tmp_path: Path
) -> None:
    memory = memory_on_postgres
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    await append(memory, "ann", range(4))
    service = await open_memory(memory.settings.database_url, tmp_path)
    await service.database.follow_changes()
    await service.database.changes_published()
    changes = service.database.changes
    before = changes.generation
    assert changes.user_unchanged(1, before)
    await rebuild(memory, CountingEncoder())
    await service.database.changes_published()
    assert not changes.user_unchanged(1, before)
    await service.database.close()
