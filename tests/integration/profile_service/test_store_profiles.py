"""What the worker stores of users, on SQLite and on PostgreSQL."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.features.text import chunk_text
from groundswell.features.window import MAX_RECENT
from groundswell.profile_service.event_batch import NewEvent
from groundswell.profile_service.store.events import EventContent, events_from
from groundswell.profile_service.store.profiles import find_profiles, read_profiles, stored_chunks
from groundswell.profile_service.worker.histories import Covered, cut, start_of
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    fill,
    reading,
    work_all,
)
from tests.support.processes import SECRET

USER_KEYS = Pseudonymizer(SECRET).user_keys("ann")


async def test_a_full_chunk_is_encoded_once(memory: Memory) -> None:
    encoder = CountingEncoder()
    await fill(memory, 9)
    await work_all(memory, encoder)
    items = ["The a. drama", "The b. drama", "The c. drama", "The d. drama"]
    chunk = chunk_text(["The a", "The b", "The c", "The d"])
    assert sorted(encoder.texts) == sorted([*items, chunk, chunk])
    await memory.log.append([an_event(n, item="abcd"[n % 4]) for n in range(9, 12)])
    await work_all(memory, encoder)
    assert encoder.texts[6:] == [chunk]


async def test_a_late_event_encodes_again_only_from_its_chunk_on(memory: Memory) -> None:
    encoder = CountingEncoder()
    await fill(memory, 12)
    await work_all(memory, encoder)
    del encoder.texts[:]
    late = NewEvent("ann", "late", EventContent("d", 2, None, 5, 0, "", ""))
    await memory.log.append([late])
    await work_all(memory, encoder)
    # It lands in the second of three chunks: that one and the third change, the first does not.
    assert len(encoder.texts) == 2


async def test_a_profile_covers_everything_that_was_stored(memory: Memory) -> None:
    encoder = CountingEncoder()
    await fill(memory, 10)
    await work_all(memory, encoder)
    async with reading(memory.database) as connection:
        (row,) = (await connection.run(find_profiles, [1], SPEC)).values()
        chunks = await connection.run(stored_chunks, [1], SPEC)
    assert (row.covered_sequence, row.num_chunks, row.last_event_us) == (10, 2, 9)
    assert [(c.chunk_no, c.last_time_us, c.last_event_id) for c in chunks[1]] == [
        (0, 3, "e3"),
        (1, 7, "e7"),
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_refreshes_in_any_order_end_where_one_reading_of_the_whole_history_does(
    memory: Memory, seed: int
) -> None:
    rng = random.Random(seed)
    encoder = CountingEncoder()
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    waiting = [
        NewEvent(
            "ann",
            f"e{n}",
            EventContent(rng.choice("abcd"), 1, None, rng.randrange(12), rng.randrange(2), "", ""),
        )
        for n in range(40)
    ]
    while waiting:
        batch = [waiting.pop() for _ in range(min(len(waiting), rng.randrange(1, 9)))]
        await memory.log.append(batch)
        await work_all(memory, encoder)
    async with reading(memory.database) as connection:
        (profile,) = (await connection.run(find_profiles, [1], SPEC)).values()
        stored = (await connection.run(stored_chunks, [1], SPEC))[1]
        start = start_of([], Covered(0, None), (0, 40), SPEC.chunk_length)
        whole = cut(await connection.run(events_from, {1: start.place}), {1: start}, SPEC)[0]
    assert [
        (c.chunk_no, c.content_hash, (c.last_time_us, c.last_ordinal, c.last_event_id))
        for c in stored
    ] == [(c.number, c.content_hash, c.last) for c in whole.chunks]
    assert (profile.num_chunks, profile.covered_sequence) == (10, 40)
    assert (profile.last_event_us, profile.recent) == (whole.last_event_us, whole.recent)


@pytest.mark.parametrize("late", [0, 151, 180])
async def test_a_late_event_encodes_no_more_than_a_head_reads(memory: Memory, late: int) -> None:
    """However long the history is; what is stored is that of one reading of the whole history."""
    encoder, max_chunks = CountingEncoder(), 3
    await fill(memory, 300)
    await _covered(memory, encoder, max_chunks)
    # As many events are read as the profile has at hand, so a few chunks more.
    most = max_chunks + 4 + (MAX_RECENT + 1) // SPEC.chunk_length + 1
    assert len(encoder.texts) <= most
    del encoder.texts[:]
    await memory.log.append([NewEvent("ann", "late", EventContent("d", 2, None, late, -1, "", ""))])
    await _covered(memory, encoder, max_chunks)
    assert len(encoder.texts) <= most
    await memory.log.append([an_event(n, item="abcd"[n % 4]) for n in range(300, 320)])
    await _covered(memory, encoder, max_chunks)
    async with reading(memory.database) as connection:
        (profile,) = (await connection.run(find_profiles, [1], SPEC)).values()
        stored = (await connection.run(stored_chunks, [1], SPEC))[1]
        start = start_of([], Covered(0, None), (0, 321), SPEC.chunk_length)
        whole = cut(await connection.run(events_from, {1: start.place}), {1: start}, SPEC)[0]
    due = {c.number: (c.content_hash, c.last) for c in whole.chunks}
    for c in stored:
        found = c.content_hash, (c.last_time_us, c.last_ordinal, c.last_event_id)
        assert found == due[c.chunk_no]
    assert [c.chunk_no for c in stored][-max_chunks:] == list(due)[-max_chunks:]
    assert (profile.num_chunks, profile.covered_sequence) == (80, 321)
    assert profile.recent == whole.recent


async def _covered(memory: Memory, encoder: CountingEncoder, max_chunks: int) -> None:
    worker = memory.worker(encoder, max_chunks=max_chunks)
    while await worker.step():
        pass
    await worker.close()


async def test_a_value_too_large_for_float16_is_stored_as_the_largest(memory: Memory) -> None:
    class Large(CountingEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return super().encode(texts) * np.float32(1e6)

    await fill(memory, 4)
    await work_all(memory, Large())
    async with reading(memory.database) as connection:
        _, stored = await connection.run(read_profiles, [USER_KEYS], SPEC, 64, 12)
    (values,) = stored[1].chunk_vectors
    assert np.isfinite(values).all()
    assert np.abs(values).max() == 65_504
