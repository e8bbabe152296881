"""Profiles are answered from memory as long as they are right, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from groundswell.profile_service.profiles.cached import Profile
from groundswell.profile_service.profiles.models import ProfileModels
from groundswell.profile_service.profiles.reader import Profiles
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.identity import renew_lineage
from groundswell.profile_service.store.items import ItemContent
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.rights.test_retention import retention_of
from tests.integration.profile_service.support import (
    Memory,
    an_event,
    second_process,
    sent_statements,
    writing,
)
from tests.integration.profile_service.test_item_vectors import CountedModels, read_texts
from tests.support.bundles import ITEMS
from tests.support.processes import SECRET

TITLES = [ItemContent(i, title, "", list(names)) for i, title, names in ITEMS]
FIRST = TITLES[0].item_id


@pytest.fixture
async def models(bundles: Path) -> AsyncIterator[CountedModels]:
    loaded = CountedModels(bundles)
    yield loaded
    await loaded.close()


@pytest.fixture
async def filled(memory: Memory, models: ProfileModels) -> Memory:
    """A catalogue, and one user whose events are covered."""
    await memory.database.follow_changes()
    await memory.catalogue.upsert(TITLES)
    await memory.log.append([an_event(n, item=TITLES[n % 5].item_id) for n in range(20)])
    await read_texts(memory, models)
    await memory.database.changes_published()
    return memory


class Reader:
    """Reads profiles as the service does, and counts the statements that this takes."""

    def __init__(self, memory: Memory, models: ProfileModels) -> None:
        self.profiles = Profiles(
            memory.database, Pseudonymizer(SECRET), max_cached=100, max_bytes=1_000_000
        )
        self._models = models

    async def get(self, user: str = "ann") -> Profile:
        (profile,) = await self.profiles.get([user], self._models)
        return profile


@pytest.fixture
def reader(filled: Memory, models: ProfileModels) -> Reader:
    return Reader(filled, models)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that are sent inside, but those that keep the connections."""
    kept: list[str] = []
    with sent_statements(lambda text: kept.append(text) if _reads(text) else None):
        yield kept


def _reads(statement: str) -> bool:
    return "users" in statement or "items" in statement


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await look():  # noqa: ASYNC110 - what it waits for may be in another process
            await asyncio.sleep(0.002)


def same(one: Profile, other: Profile) -> bool:
    arrays = zip((one.vector, *one.seen), (other.vector, *other.seen), strict=True)
    return one[1:4] == other[1:4] and all(np.array_equal(a, b) for a, b in arrays)  # type: ignore[arg-type]


async def test_a_first_read_is_one_statement_besides_item_vectors_and_the_next_one_none(
    filled: Memory, reader: Reader
) -> None:
    await reader.get("nobody")
    with statements() as sent:
        first = await reader.get()
        # The second one reads the vectors of the items, which are not held yet.
        assert len(sent) == 2
        again = await reader.get()
        assert len(sent) == 2
        await filled.log.append([an_event(0, user="bob", item=FIRST)])
        del sent[:]
        await reader.get("bob")
        assert len(sent) == 1
    assert again is first
    assert (first.num_events, len(first.seen.item_nos), first.text_pending) == (20, 5, False)


async def test_events_that_were_deleted_by_their_age_do_not_count(
    filled: Memory, reader: Reader
) -> None:
    assert (await reader.get()).num_events == 20
    await filled.log.append([an_event(n, item=FIRST, time=now_us()) for n in (20, 21)])
    assert await retention_of(filled).expire() == 20
    await filled.log.append([an_event(22, item=TITLES[1].item_id, time=now_us())])
    await filled.database.changes_published()
    profile = await reader.get()
    assert (profile.num_events, profile.last_sequence) == (3, 24)
    # A ranker that holds the items up to the deletion lacks the newest one alone.
    assert len(profile.seen.after(23).item_nos) == 1


async def test_calls_for_one_user_at_once_read_once(reader: Reader) -> None:
    with statements() as sent:
        profiles = await asyncio.gather(*(reader.get() for _ in range(20)))
    assert len([s for s in sent if "users" in s]) == 1
    assert all(profile is profiles[0] for profile in profiles)


async def test_a_write_is_seen_by_the_next_read_of_the_same_process(
    filled: Memory, reader: Reader, models: ProfileModels
) -> None:
    before = await reader.get()
    for n in range(20, 40):
        await filled.log.append([an_event(n, item=TITLES[7].item_id)])
        profile = await reader.get()
        assert profile.num_events == n + 1
        assert profile.seen.item_nos[-1] == 8
        assert profile.text_pending
    assert np.abs(profile.vector - before.vector).max() > 1e-3  # type: ignore[operator]
    await read_texts(filled, models)
    await filled.database.changes_published()
    covered = await reader.get()
    assert not covered.text_pending
    fresh = await Reader(filled, models).get()
    assert same(covered, fresh)
    assert np.abs(covered.vector - profile.vector).max() > 1e-3  # type: ignore[operator]


async def test_a_write_of_another_process_is_seen_soon(filled: Memory, reader: Reader) -> None:
    async with second_process(filled) as other:
        for n in range(20, 25):
            await reader.get()
            await other.log.append([an_event(n, item=FIRST)])

            async def arrived(number: int = n + 1) -> bool:
                return (await reader.get()).num_events == number

            await eventually(arrived)


async def test_another_text_of_an_item_changes_the_vectors_that_read_it(
    filled: Memory, reader: Reader, models: ProfileModels
) -> None:
    before = await reader.get()
    await filled.catalogue.upsert([ItemContent(TITLES[20].item_id, "Not read by ann")])
    await read_texts(filled, models)
    await filled.database.changes_published()
    assert await reader.get() is before
    await filled.catalogue.upsert([ItemContent(FIRST, "Quite Another Title")])
    await read_texts(filled, models)
    await filled.database.changes_published()
    after = await reader.get()
    assert np.abs(after.vector - before.vector).max() > 1e-4  # type: ignore[operator]


async def test_a_commit_between_a_read_and_what_it_holds_leaves_nothing_old(
    filled: Memory, reader: Reader, models: CountedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing, go_on = asyncio.Event(), asyncio.Event()
    compute = models.long_vectors

    async def slow(histories: object) -> object:
        computing.set()
        await go_on.wait()
        return await compute(histories)  # type: ignore[arg-type]

    monkeypatch.setattr(models, "long_vectors", slow)
    reading = asyncio.create_task(reader.get())
    await computing.wait()
    await filled.log.append([an_event(20, item=FIRST)])
    # This call comes after the write, and must not wait for the read that began before it.
    later = asyncio.create_task(reader.get())
    await asyncio.sleep(0)
    go_on.set()
    assert (await reading).num_events == 20
    assert (await later).num_events == 21
    assert (await reader.get()).num_events == 21


async def test_random_writes_and_reads_give_what_a_fresh_reader_gives(
    filled: Memory, reader: Reader, models: ProfileModels
) -> None:
    rng = np.random.default_rng(5)
    users = ("ann", "bob", "cat")
    number = 100

    async def write() -> None:
        nonlocal number
        for _ in range(30):
            number += 1
            item = TITLES[int(rng.integers(9))].item_id
            await filled.log.append([an_event(number, user=users[number % 3], item=item)])

    async def read() -> None:
        for _ in range(60):
            await reader.get(users[int(rng.integers(3))])

    await asyncio.gather(write(), read(), read(), read_texts(filled, models))
    await read_texts(filled, models)
    await filled.database.changes_published()
    for user in users:
        assert same(await reader.get(user), await Reader(filled, models).get(user))


async def test_of_a_history_whose_rows_are_gone_no_vector_is_left(
    filled: Memory, reader: Reader
) -> None:
    assert (await reader.get()).vector is not None
    async with writing(filled.database) as connection:
        for table in ("profile_chunks", "profiles", "events"):
            await connection.execute(text(f"DELETE FROM {table}"))
    await filled.database.changes_published()
    profile = await reader.get()
    assert profile.vector is None


async def test_a_user_who_was_deleted_and_a_new_lineage_leave_nothing_held(
    filled: Memory, reader: Reader
) -> None:
    before = await reader.get()
    async with writing(filled.database) as connection:
        await connection.run(renew_lineage)
    await filled.database.changes_published()
    assert (await reader.get()).lineage != before.lineage
    async with writing(filled.database) as connection:
        for table in ("profile_chunks", "profiles", "stale_users", "events", "users"):
            await connection.execute(text(f"DELETE FROM {table}"))
    await filled.database.changes_published()
    gone = await reader.get()
    assert (gone.vector, gone.num_events, len(gone.seen.item_nos)) == (None, 0, 0)
