"""Events of anonymous sessions move to the user that the session is linked to, or expire."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from groundswell.profile_service.event_batch import NewEvent, Status
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.store import visitors as statements
from groundswell.profile_service.store.tables import profile_chunks, profiles, stale_users
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.visitors import Visitors
from groundswell.serving.errors import FailedPrecondition, Unavailable
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from tests.integration.profile_service.support import (
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    reading,
    work_all,
    writing,
)
from tests.support.processes import SECRET

VISIT = subject_id("", "visit")


def visitors(memory: Memory, keep_s: float = 3600.0) -> Visitors:
    return Visitors(memory.database, Pseudonymizer(SECRET), memory.signals, keep_s=keep_s)


def _fail(*_: object) -> int:
    raise Unavailable("STORE_UNAVAILABLE", "the disk is gone")


async def listed(memory: Memory, subject: str) -> list[tuple[str, int]]:
    """The ids and sequences of a subject's events, in the order of the writes."""
    page = await memory.log.list(subject, None, 100)
    return sorted(((e.event_id, e.sequence) for e in page.events), key=lambda pair: pair[1])


async def encoded(memory: Memory) -> list[list[int]]:
    """The numbers of the users who have a profile, and of those whom each chunk belongs to."""
    async with reading(memory.database) as connection:
        return [
            list((await connection.execute(select(table.c.user_no))).scalars())
            for table in (profiles, profile_chunks)
        ]


async def test_the_events_of_a_session_move_to_one_user_once(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    store = visitors(memory)
    await memory.log.append([an_event(1), an_event(2)])
    await memory.log.append([an_event(n, user=VISIT) for n in (9, 2, 5)])
    assert await listed(memory, VISIT) == [("e9", 1), ("e2", 2), ("e5", 3)]

    assert await store.link("visit", "ann") == 2  # the user has the same event e2
    assert await listed(memory, "ann") == [("e1", 1), ("e2", 2), ("e9", 3), ("e5", 4)]
    assert await listed(memory, VISIT) == []
    assert await store.link("visit", "ann") == 0
    with pytest.raises(FailedPrecondition) as caught:
        await store.link("visit", "bob")
    assert caught.value.reason == "SESSION_LINKED"
    # What the session got late, and what the user does, goes on behind it.
    await memory.log.append([an_event(7, user=VISIT), an_event(8)])
    assert await store.link("visit", "ann") == 1
    assert (await listed(memory, "ann"))[-2:] == [("e8", 5), ("e7", 6)]


async def test_an_event_id_that_names_two_events_keeps_the_session_as_it_is(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    other = an_event(1, user=VISIT)
    other = other._replace(content=other.content._replace(value=2.0))
    await memory.log.append([an_event(1), an_event(0, user=VISIT), other])
    with pytest.raises(FailedPrecondition) as caught:
        await visitors(memory).link("visit", "ann")
    assert caught.value.reason == "EVENT_ID_CONFLICT"
    assert await listed(memory, VISIT) == [("e0", 1), ("e1", 2)]
    assert await listed(memory, "ann") == [("e1", 1)]
    assert await visitors(memory).link("visit", "bob") == 2  # it was not linked


async def test_a_link_locks_what_waits_for_the_encoder_in_the_order_of_the_worker(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(1, user="ann")])
    await memory.log.append([an_event(2, user=VISIT)])
    work = WorkList(stale_users)
    async with writing(memory.database) as connection:
        await connection.run(work.lock, [1])
        linking = asyncio.create_task(visitors(memory).link("visit", "ann"))
        await asyncio.sleep(0.2)
        await connection.run(work.lock, [2])
    assert await linking == 1


async def test_a_linked_history_is_encoded_again_and_that_of_the_session_is_gone(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(n, user=VISIT) for n in range(20)])
    first, again = CountingEncoder(), CountingEncoder()
    await work_all(memory, first)
    sessions, chunks = await encoded(memory)
    assert (len(sessions), chunks) == (1, sessions * 5)
    await visitors(memory).link("visit", "ann")
    await work_all(memory, again)
    _, *chunk_texts = first.texts  # that of the item comes first
    assert (len(chunk_texts), again.texts) == (5, chunk_texts)
    users, chunks = await encoded(memory)
    assert (len(users), chunks) == (1, users * 5)
    assert users != sessions


async def test_a_session_that_goes_on_after_its_link_is_encoded_as_any_other(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(n, user=VISIT) for n in range(3)])
    await visitors(memory).link("visit", "ann")
    for part in (range(3, 23), range(23, 27)):
        await memory.log.append([an_event(n, user=who) for who in (VISIT, "bob") for n in part])
        await work_all(memory, CountingEncoder())
    async with reading(memory.database) as connection:
        columns = select(profiles.c.recent, profiles.c.num_chunks, profiles.c.last_event_us)
        rows = (await connection.execute(columns.where(profiles.c.covered_sequence > 3))).all()
    assert len(rows) == 2
    assert rows[0] == rows[1]


async def test_sessions_without_a_user_expire_and_users_do_not(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    many = [subject_id("", f"visit-{n}") for n in range(120)]
    await memory.log.append([an_event(n, user=user) for user in many for n in range(2)])
    await memory.log.append([an_event(1, user="ann"), an_event(2, user=VISIT)])
    await visitors(memory).link("visit", "ann")
    await work_all(memory, CountingEncoder())
    assert await visitors(memory).expire() == 0
    assert await visitors(memory, keep_s=-1).expire() == 121
    assert await listed(memory, many[0]) == []
    assert await listed(memory, "ann") == [("e1", 1), ("e2", 2)]
    outcomes = await memory.log.append([an_event(5, user=many[0])])
    assert [(o.status, o.sequence) for o in outcomes] == [(Status.ACCEPTED, 1)]


async def test_a_session_that_comes_back_has_another_history(memory: Memory) -> None:
    """Whoever holds something by the old sequences must be able to tell them from the new ones."""
    await memory.catalogue.upsert([an_item("a")])
    histories = set()
    for n in range(3):
        (outcome,) = await memory.log.append([an_event(n, user=VISIT)])
        page = await memory.log.list(VISIT, None, 1)
        assert (outcome.sequence, page.history) == (1, outcome.history)
        histories.add(outcome.history)
        assert await visitors(memory, keep_s=-1).expire() == 1
    assert len(histories) == 3


async def test_a_retry_of_an_event_that_was_moved_is_a_duplicate(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(1), an_event(1, user=VISIT), an_event(2, user=VISIT)])
    assert await visitors(memory).link("visit", "ann") == 1
    outcomes = await memory.log.append(
        [
            an_event(1, user=VISIT),
            an_event(2, user=VISIT),
            an_event(2, user=VISIT, time=9),
            an_event(3, user=VISIT),
            an_event(2, user=subject_id("", "another visit")),
        ]
    )
    assert [(o.status, o.sequence, o.reason) for o in outcomes] == [
        (Status.DUPLICATE, 0, ""),
        (Status.DUPLICATE, 0, ""),
        (Status.REJECTED, 0, "EVENT_ID_CONFLICT"),
        (Status.ACCEPTED, 3, ""),
        (Status.ACCEPTED, 1, ""),
    ]
    assert await listed(memory, "ann") == [("e1", 1), ("e2", 2)]
    assert await listed(memory, VISIT) == [("e3", 3)]


async def test_a_long_session_moves_in_parts_and_a_retry_moves_the_rest(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    monkeypatch.setattr("groundswell.profile_service.visitors.PART_EVENTS", 7)
    await memory.log.append([an_event(n) for n in (3, 11, 90)])
    await memory.log.append([an_event(n, user=VISIT) for n in range(20)])
    parts: Iterator[Callable[..., int]] = iter([statements.move_events, _fail])
    with monkeypatch.context() as failing:
        failing.setattr(statements, "move_events", lambda *of: next(parts)(*of))
        with pytest.raises(Unavailable):
            await visitors(memory).link("visit", "ann")
    assert len(await listed(memory, "ann")) == 3 + 6  # the user has e3 too
    assert await visitors(memory).link("visit", "ann") == 12
    assert await listed(memory, VISIT) == []
    rest = [f"e{n}" for n in range(20) if n not in (3, 11)]
    expected = enumerate(["e3", "e11", "e90", *rest], start=1)
    assert await listed(memory, "ann") == [(event_id, n) for n, event_id in expected]


async def test_an_event_that_may_move_is_no_evidence_of_a_restore(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    noted: list[int] = []
    log = EventStore(
        memory.database,
        Pseudonymizer(SECRET),
        memory.signals,
        max_future_s=1.0,
        on_stored=lambda _, witness: noted.append(witness.sequence),
    )
    await log.append([an_event(1, user=VISIT)])
    assert noted == []
    await log.append([an_event(2), an_event(3), an_event(4, user=VISIT)])
    assert noted == [2]


async def test_a_session_and_a_user_of_one_id_are_two(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item("a")])
    written: list[NewEvent] = [an_event(1, user="visit"), an_event(2, user=VISIT)]
    await memory.log.append(written)
    assert await listed(memory, "visit") == [("e1", 1)]
    assert await listed(memory, VISIT) == [("e2", 1)]
