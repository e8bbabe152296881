"""Events that are over their time are deleted, with all that was made of them."""

from collections import Counter

import pytest
from sqlalchemy import text

from groundswell.profile_service.rights import retention as module
from groundswell.profile_service.rights.retention import Retention
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.erasures import count_rows
from groundswell.serving.subjects import subject_id
from tests.integration.profile_service.rights.test_erasures import listed
from tests.integration.profile_service.support import (
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    num_stale_users,
    reading,
    second_process,
    work_all,
)

HOUR_S = 3600.0


def retention_of(memory: Memory) -> Retention:
    return Retention(memory.database, memory.signals, keep_s=HOUR_S, reads_histories=lambda: True)


async def test_old_events_go_by_parts_and_users_without_events_leave(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PART_EVENTS", 3)
    monkeypatch.setattr(module, "_USERS_AT_ONCE", 2)
    await memory.catalogue.upsert([an_item(name) for name in "ab"])
    now = now_us()
    await memory.log.append([an_event(n, user="old") for n in range(7)])
    # An import wrote the old ones last.
    await memory.log.append([an_event(n, user="ann", time=now + n) for n in range(2)])
    await memory.log.append([an_event(n, user="ann", item="b") for n in range(10, 14)])
    await memory.log.append([an_event(1, user="bob", time=now), an_event(1, user="bea", time=now)])
    await memory.log.append([an_event(1, user=subject_id("", "visit"))])
    await work_all(memory, CountingEncoder())
    async with second_process(memory) as second:
        assert await retention_of(memory).expire() == 12
        assert await retention_of(second).expire() == 0  # it is not its turn
    assert await listed(memory, "ann") == ["e1", "e0"]
    page = await memory.log.list("ann", None, 9)
    assert [one.sequence for one in page.events] == [8, 1]
    assert page.last_sequence == 8
    assert await num_stale_users(memory) == 1
    async with reading(memory.database) as connection:
        rows = await connection.execute(text("SELECT user_no FROM users ORDER BY user_no"))
        left = list(rows.scalars())
        counts = await connection.run(count_rows, range(1, 99))
    assert len(left) == 3
    assert Counter(counts) == Counter(events=4, users=3, stale_users=1, profiles=2)
    (outcome,) = await memory.log.append([an_event(5, user="ann", time=now)])
    assert outcome.sequence == 9
