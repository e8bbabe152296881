"""The newest events that a profile keeps at hand, on SQLite and on PostgreSQL."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text

from groundswell.features.window import MAX_RECENT
from groundswell.profile_service.event_batch import NewEvent
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.profiles import find_profiles, stored_chunks
from groundswell.profile_service.store.recent import unpack
from groundswell.profile_service.store.tables import stale_users
from groundswell.profile_service.store.work import WorkList
from tests.integration.profile_service.support import (
    SPEC,
    CountingEncoder,
    Memory,
    an_event,
    fill,
    open_memory,
    reading,
    work_all,
    writing,
)

LONG = MAX_RECENT + 47


async def profiles_of(memory: Memory) -> list[Any]:
    """Everyone's, in the order in which they came."""
    async with reading(memory.database) as connection:
        found = await connection.run(find_profiles, range(1, 10), SPEC)
    return [found[user_no] for user_no in sorted(found)]


async def recent_of_ann(memory: Memory) -> NDArray[np.void]:
    (profile,) = await profiles_of(memory)
    return unpack(profile.recent)


async def test_the_newest_events_are_stored_with_the_profile_that_covers_them(
    memory: Memory,
) -> None:
    await fill(memory, LONG)
    await work_all(memory, CountingEncoder())
    events = await recent_of_ann(memory)
    newest = range(LONG - MAX_RECENT, LONG)
    assert events["time_us"].tolist() == list(newest)
    assert events["item_no"].tolist() == [n % 4 + 1 for n in newest]
    assert set(events["action"]) == {2}


async def test_newer_and_late_events_join_what_is_at_hand_in_the_one_order(
    memory: Memory,
) -> None:
    encoder = CountingEncoder()
    await fill(memory, LONG)
    await work_all(memory, encoder)
    late = EventContent("c", 5, None, LONG - 100, 7, "another session", "")
    await memory.log.append([NewEvent("ann", "late", late)])
    await memory.log.append([an_event(LONG, item="a")])
    await work_all(memory, encoder)
    events = await recent_of_ann(memory)
    place = MAX_RECENT - 101
    expected = [*range(LONG - MAX_RECENT + 2, LONG - 99), *range(LONG - 100, LONG + 1)]
    assert events["time_us"].tolist() == expected
    assert (events["item_no"][place], events["action"][place]) == (3, 5)
    assert events["item_no"][-1] == 1


async def test_a_database_of_the_release_before_is_covered_again_without_encoding(
    database_url: str, memory: Memory, tmp_path: Path
) -> None:
    encoder = CountingEncoder()
    await fill(memory, LONG)
    await fill(memory, 5, user="bob")
    await work_all(memory, encoder)
    before = await profiles_of(memory)
    user_nos = [row.user_no for row in before]
    async with writing(memory.database) as connection:
        chunks = await connection.run(stored_chunks, user_nos, SPEC)
        # That release leaves the column `recent` as it is.
        statement = "UPDATE profiles SET tail_length = 1, tail_vector = :vector"
        await connection.execute(text(statement), {"vector": b"\0"})
    await memory.database.close()
    del encoder.texts[:]

    opened = await open_memory(database_url, tmp_path)
    assert [row.recent for row in await profiles_of(opened)] == [None, None]
    worker = opened.worker(encoder)
    await worker.mark_uncovered()
    async with reading(opened.database) as connection:
        assert await connection.run(WorkList(stale_users).count, 2**62) == 2
    while await worker.step():
        pass
    await worker.mark_uncovered()
    async with reading(opened.database) as connection:
        assert await connection.run(WorkList(stale_users).count, 2**62) == 0
        assert await connection.run(stored_chunks, user_nos, SPEC) == chunks
    after = await profiles_of(opened)
    await worker.close()
    await opened.database.close()
    assert encoder.texts == []
    changed = {"covered_us"}
    for old, new in zip(before, after, strict=True):
        assert {k: v for k, v in old._mapping.items() if k not in changed} == {
            k: v for k, v in new._mapping.items() if k not in changed
        }


@pytest.mark.parametrize("num_new", [1, MAX_RECENT - 1, MAX_RECENT + 1])
async def test_what_is_at_hand_does_not_depend_on_when_it_was_covered(
    memory: Memory, num_new: int
) -> None:
    encoder = CountingEncoder()
    await fill(memory, 30)
    await work_all(memory, encoder)
    new = [an_event(n, item="abcd"[n % 4]) for n in range(30, 30 + num_new)]
    await memory.log.append(new)
    await work_all(memory, encoder)
    await memory.log.append([NewEvent("bob", e.event_id, e.content) for e in new])
    await fill(memory, 30, user="bob")
    await work_all(memory, encoder)
    step_by_step, at_once = await profiles_of(memory)
    assert step_by_step.recent == at_once.recent
