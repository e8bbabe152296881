"""Shown lists are stored once, under pseudonyms, and leave with their session or in time."""

import asyncio
import time
from collections.abc import Sequence
from typing import cast

import pytest
from sqlalchemy import select, text

from groundswell.profile.v1 import outcome_service_pb2 as pb
from groundswell.profile_service.expiry import Expiry
from groundswell.profile_service.outcomes.lists import NewList, ShownLists
from groundswell.profile_service.outcomes.popularity_counter import Popularity
from groundswell.profile_service.outcomes.reports import OutcomeReports
from groundswell.profile_service.servicers.outcome import OutcomeServicer
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.lists import ShownList, store_lists
from groundswell.profile_service.store.tables import shown_lists, users
from groundswell.profile_service.visitors import Visitors
from groundswell.serving.around import Context
from groundswell.serving.attribution import Attribution, AttributionTokens, id_at
from groundswell.serving.errors import InvalidArgument, ResourceExhausted
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from groundswell.serving.vectors import pack_int64, unpack_int64
from tests.integration.profile_service.support import Memory, an_event, an_item, reading, writing
from tests.support.processes import SECRET

BUNDLE = "ab" * 32
VISIT = subject_id("", "visit")
DAY_US = 86_400 * 1_000_000
PSEUDONYMS = Pseudonymizer(SECRET)


def made(n: int, *, ago_s: float = 0.0) -> Attribution:
    """The attribution of an answer some time ago."""
    begun = id_at(int((time.time() - ago_s) * 1000))
    return Attribution(f"{begun}{n:020x}", BUNDLE, fusion_weight=0.5)


def a_list(n: int, subject: str, items: Sequence[int], *, ago_s: float = 0.0) -> NewList:
    return NewList(made(n, ago_s=ago_s), subject, pack_int64(items))


@pytest.fixture
async def lists(memory: Memory) -> ShownLists:
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    return ShownLists(memory.database, PSEUDONYMS, keep_s=3600.0)


async def stored(memory: Memory) -> list[tuple[bytes | None, list[int], bool]]:
    """The key of whom each list belongs to, its items, and whether it is confirmed."""
    c = shown_lists.c
    joined = shown_lists.outerjoin(users, users.c.user_no == c.user_no)
    statement = select(users.c.user_key, c.item_nos, c.confirmed).select_from(joined)
    async with reading(memory.database) as connection:
        rows = (await connection.execute(statement.order_by(c.recommendation_id))).all()
    return [(row.user_key, unpack_int64(row.item_nos).tolist(), row.confirmed) for row in rows]


async def test_a_list_is_stored_once_under_a_pseudonym(memory: Memory, lists: ShownLists) -> None:
    await memory.log.append([an_event(1)])
    first = [a_list(0, "ann", [1, 2]), a_list(1, "new", [2, 3]), a_list(2, "", [4])]
    await lists.store(first)
    keys = [PSEUDONYMS.user_key("ann"), PSEUDONYMS.user_key("new"), None]
    assert await stored(memory) == [
        (key, items, False) for key, items in zip(keys, ([1, 2], [2, 3], [4]), strict=True)
    ]
    # Again, as after an answer that was lost; and another one of the user who is known now.
    await lists.store([*first, a_list(3, "new", [3])])
    assert len(await stored(memory)) == 4
    counted = await lists.impressions("new", DAY_US)
    assert counted.counts == {2: 1, 3: 2}
    assert not (await lists.impressions("nobody", DAY_US)).counts
    outcomes = await memory.log.append([an_event(1, user="new")])
    assert outcomes[0].sequence == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_what_a_backend_showed_replaces_what_was_answered_in_any_order(
    memory: Memory, lists: ShownLists, order: tuple[int, int]
) -> None:
    answered = a_list(0, "ann", [1, 2, 3])
    shown = NewList(answered.made, "", item_ids=["c", "unknown", "a"])
    for n in order:
        await lists.store([(answered, shown)[n]])
    assert await stored(memory) == [(PSEUDONYMS.user_key("ann"), [3, 1], True)]


async def test_lists_with_the_numbers_of_another_lineage_are_not_stored(
    memory: Memory, lists: ShownLists
) -> None:
    now = (await memory.log.list("ann", None, 1)).lineage
    await lists.store([a_list(0, "ann", [1])._replace(lineage="0" * 32)])
    assert await stored(memory) == []
    await lists.store([a_list(1, "ann", [1])._replace(lineage=now)])
    assert len(await stored(memory)) == 1


async def test_calls_that_wait_share_a_transaction_a_second(
    memory: Memory, lists: ShownLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[float] = []
    write = memory.database.write_when_free

    async def counted(work: object) -> object:
        begun.append(asyncio.get_running_loop().time())
        return await write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(memory.database, "write_when_free", counted)
    await lists.store([a_list(0, "ann", [1])])
    await asyncio.gather(*(lists.store([a_list(n, f"u{n}", [1])]) for n in range(1, 30)))
    assert len(begun) == 2
    assert begun[1] - begun[0] >= 0.99
    assert len(await stored(memory)) == 30
    with pytest.raises(ResourceExhausted):
        await lists.store([a_list(n, "ann", [1]) for n in range(20_001)])


async def test_lists_leave_after_their_time(
    memory: Memory, lists: ShownLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [a_list(n, "ann", [1], ago_s=3700.0 + n) for n in range(5)]
    await lists.store([*old, a_list(9, "ann", [2], ago_s=3500.0)])
    assert (await lists.impressions("ann", 90 * DAY_US)).counts == {2: 1}
    # The job that the service starts, over several transactions.
    monkeypatch.setattr("groundswell.profile_service.outcomes.lists._DELETED_AT_ONCE", 2)
    expiry = Expiry(lists=lists.expire)
    await expiry.start()
    async with asyncio.timeout(10.0):
        while len(await stored(memory)) > 1:  # noqa: ASYNC110 - of the database
            await asyncio.sleep(0.01)
    await expiry.close()
    assert [items for _, items, _ in await stored(memory)] == [[2]]
    assert await lists.expire() == 0


async def test_the_lists_of_a_session_go_to_its_user_or_end_with_it(
    memory: Memory, lists: ShownLists
) -> None:
    await lists.store([a_list(0, VISIT, [1]), a_list(1, subject_id("", "other"), [2])])
    linking = Visitors(memory.database, PSEUDONYMS, memory.signals, keep_s=3600.0)
    assert await linking.link("visit", "ann") == 0
    assert (await lists.impressions("ann", DAY_US)).counts == {1: 1}
    assert not (await lists.impressions(VISIT, DAY_US)).counts
    expiring = Visitors(memory.database, PSEUDONYMS, memory.signals, keep_s=0.0)
    assert await expiring.expire() == 2
    assert [items for _, items, _ in await stored(memory)] == [[1]]


async def until_one_waits(database: Database) -> None:
    """Return when a transaction waits for another one."""
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with reading(database) as connection, asyncio.timeout(5.0):
        while not (await connection.execute(waits)).scalar_one():  # noqa: ASYNC110 - of the database
            await asyncio.sleep(0.01)


async def test_two_processes_store_the_same_lists_in_any_order(memory_on_postgres: Memory) -> None:
    first, last = (ShownList(made(n), None, pack_int64([n]), confirmed=False) for n in (1, 2))
    database = memory_on_postgres.database
    async with writing(database) as one:
        await one.run(store_lists, lists=[first])
        other = asyncio.create_task(database.write(lambda c: store_lists(c, [last, first])))
        await until_one_waits(database)
        await one.run(store_lists, lists=[last])
    await other
    assert [items for _, items, _ in await stored(memory_on_postgres)] == [[1], [2]]


async def test_sessions_that_expire_lock_their_lists_in_the_order_of_all(
    memory_on_postgres: Memory,
) -> None:
    database = memory_on_postgres.database
    lists = ShownLists(database, PSEUDONYMS, keep_s=3600.0)
    first, last = (made(n) for n in (1, 2))
    # The later list comes first, by its place in the table and by the number of its session.
    for answer in (last, first):
        subject = subject_id("", f"visit {answer.recommendation_id}")
        await lists.store([NewList(answer, subject, pack_int64([1]))])
    again = [ShownList(each, None, pack_int64([1]), confirmed=False) for each in (first, last)]
    expiring = Visitors(database, PSEUDONYMS, memory_on_postgres.signals, keep_s=0.0)
    async with writing(database) as one:
        await one.run(store_lists, lists=again[:1])
        other = asyncio.create_task(expiring.expire())
        await until_one_waits(database)
        await one.run(store_lists, lists=again[1:])
    assert await other == 2
    assert await stored(memory_on_postgres) == []


@pytest.mark.parametrize("numbers", [[1] * 201, [1, 0], [-5]])
async def test_a_list_that_no_answer_can_have_is_refused(
    memory: Memory, lists: ShownLists, numbers: Sequence[int]
) -> None:
    tokens = AttributionTokens(SECRET)
    servicer = OutcomeServicer(
        lists, OutcomeReports(memory.database, tokens), cast(Popularity, None), tokens
    )
    token = tokens.issue(made(0))

    async def record(*lists: Sequence[int]) -> None:
        sent = [pb.RecommendedList(attribution_token=token, item_nos=pack_int64(n)) for n in lists]
        await servicer.RecordLists(pb.RecordListsRequest(lists=sent), cast(Context, None))

    with pytest.raises(InvalidArgument) as caught:
        await record([1], numbers)
    assert (caught.value.reason, caught.value.field) == ("LISTS_INVALID", "lists[1].item_nos")
    assert await stored(memory) == []
    await record([1] * 200)
    assert len(await stored(memory)) == 1


async def test_a_user_of_lists_alone_leaves_with_the_last_one(
    memory: Memory, lists: ShownLists
) -> None:
    linking = Visitors(memory.database, PSEUDONYMS, memory.signals, keep_s=3600.0)
    await memory.log.append([an_event(1, user="has events")])
    await lists.store([a_list(0, VISIT, [1]), a_list(1, "new", [1])])
    await linking.link("visit", "has a session")
    subjects = ["gone", "new", "has events", "has a session", VISIT]
    old = [a_list(n, subject, [1], ago_s=3700.0) for n, subject in enumerate(subjects, start=2)]
    await lists.store(
        [*old, a_list(9, "gone", [2], ago_s=3800.0), a_list(10, "", [1], ago_s=3800.0)]
    )
    assert await lists.expire() == 7
    async with reading(memory.database) as connection:
        left = set((await connection.execute(select(users.c.user_key))).scalars().all())
    assert left == {PSEUDONYMS.user_key(subject) for subject in subjects[1:]}
