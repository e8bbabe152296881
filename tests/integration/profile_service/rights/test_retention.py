"""Events that are over their time are deleted, with all that was made of them."""

from collections import Counter

import pytest
from sqlalchemy import text

from groundswell.profile_service.rights import retention as module
from groundswell.profile_service.rights.retention import Retention
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.erasures import (
    StoredSubject,
    count_rows,
    lock_subjects,
    newest_time,
    with_sessions,
)
from groundswell.profile_service.store.lists import lock_lists
from groundswell.profile_service.store.tables import stale_users, users
from groundswell.profile_service.store.tables import visitors as visitors_table
from groundswell.profile_service.store.visitors import forget
from groundswell.profile_service.store.work import WorkList
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
    writing,
)
from tests.integration.profile_service.test_store_recent import recent_of_ann
from tests.integration.profile_service.test_visitors import visitors

HOUR_S = 3600.0


def retention_of(memory: Memory, keep_s: float = HOUR_S) -> Retention:
    return Retention(memory.database, memory.signals, keep_s=keep_s, reads_histories=lambda: True)


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


async def test_what_is_at_hand_of_a_user_stays_whole_after_events_were_deleted(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    encoder, now = CountingEncoder(), now_us()
    times = [*range(20), *range(now, now + 30)]
    await memory.log.append([an_event(n, time=time) for n, time in enumerate(times)])
    await work_all(memory, encoder)
    assert await retention_of(memory).expire() == 20
    await work_all(memory, encoder)
    await memory.log.append([an_event(50, time=now + 30)])
    await work_all(memory, encoder)
    recent = await recent_of_ann(memory)
    assert recent["time_us"].tolist() == list(range(now, now + 31))


async def test_a_user_may_have_more_sessions_than_a_statement_has_parameters(
    memory: Memory,
) -> None:
    many = range(1, 70_001)
    async with writing(memory.database) as connection:
        assert await connection.run(with_sessions, many) == []
        assert set((await connection.run(count_rows, many)).values()) == {0}
        subjects = [StoredSubject(number, b"", 1) for number in many]
        await connection.run(lock_subjects, subjects)
        assert await connection.run(newest_time, subjects) is None
        await connection.run(WorkList(stale_users).lock, many)
        await connection.run(lock_lists, many)
        await connection.run(forget, many, [visitors_table, users])


async def test_a_user_leaves_with_linked_sessions_once_none_of_them_has_events(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROUNDS", 10**10)  # each call is the next round
    await memory.catalogue.upsert([an_item("a")])
    visits = [subject_id("", name) for name in ("of ann", "of bob", "bob goes on")]
    await memory.log.append([an_event(n, user=visit) for n, visit in enumerate(visits)])
    links = visitors(memory)
    for name, user in (("of ann", "ann"), ("of bob", "bob"), ("bob goes on", "bob")):
        assert await links.link(name, user) == 1
    await memory.log.append([an_event(9, user=visits[-1], time=now_us())])
    assert await retention_of(memory).expire() == 3
    assert await num_rows(memory) == {"users": 3, "visitors": 2}
    assert await links.link("bob goes on", "bob") == 1
    assert await retention_of(memory, keep_s=-HOUR_S).expire() == 1
    assert await num_rows(memory) == {"users": 0, "visitors": 0}


async def test_a_user_of_whom_only_a_link_is_known_leaves_with_the_last_session(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(1, user="bob")])
    for name, user in (("one", "ann"), ("two", "ann"), ("three", "bob")):
        await visitors(memory).link(name, user)
    assert await num_rows(memory) == {"users": 5, "visitors": 3}
    assert await visitors(memory, keep_s=-1).expire() == 3
    assert await num_rows(memory) == {"users": 1, "visitors": 0}


async def num_rows(memory: Memory) -> dict[str, int]:
    async with reading(memory.database) as connection:
        counts = await connection.run(count_rows, range(1, 99))
    return {name: counts[name] for name in ("users", "visitors")}
