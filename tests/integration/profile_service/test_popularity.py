"""Popularity is that of the stored events, after a restart too, and watchers hear of changes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import numpy as np
import pytest

from groundswell.features.popularity_values import relative
from groundswell.profile_service.event_batch import NewEvent
from groundswell.profile_service.event_store import EventStore
from groundswell.profile_service.outcomes.popularity_counter import Popularity, PopularityChanges
from groundswell.profile_service.store import popularity as statements
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.events import EventContent
from groundswell.profile_service.store.identity import renew_lineage
from groundswell.profile_service.store.popularity import FILLED
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.support import DAY_S, Memory, an_item, second_process
from tests.support.processes import SECRET

CLICK, DISLIKE = 2, 6
DAY_US = 86_400_000_000


def events(*what: tuple[str, float], user: str = "ann", action: int = CLICK) -> list[NewEvent]:
    """Events with items, each some days ago."""
    return [
        NewEvent(
            user,
            f"{user}{action}{n}",
            EventContent(item, action, None, now_us() - int(days * DAY_US), 0, "", ""),
        )
        for n, (item, days) in enumerate(what)
    ]


@asynccontextmanager
async def counting(
    memory: Memory, days: float = 7.0
) -> AsyncIterator[tuple[Popularity, EventStore]]:
    """A counter and the log that hands it events, as one process has them."""
    popularity = Popularity(memory.database, half_life_s=days * 86_400, idle_poll_s=0.05)
    log = EventStore(
        memory.database,
        Pseudonymizer(SECRET),
        memory.signals,
        max_future_s=DAY_S,
        on_new=popularity.stored,
    )
    await popularity.start()
    yield popularity, log
    await popularity.close()


async def values(memory: Memory) -> dict[int, float]:
    page = await memory.database.read(lambda c: statements.changed_values(c, (0, 0), limit=1_000))
    return {row.item_no: row.value for row in page.rows}


async def filled(memory: Memory) -> None:
    async with asyncio.timeout(10):
        while (await memory.database.read(statements.read_state)).filled_to != FILLED:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def shares(found: dict[int, float]) -> dict[int, float]:
    highest = max(found.values())
    share = relative(np.array(list(found.values())), highest)
    return dict(zip(found, share.round(5).tolist(), strict=True))


async def test_events_are_counted_with_decay_and_a_restart_changes_nothing(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    async with counting(memory) as (popularity, log):
        await log.append(events(("a", 0), ("b", 7), ("b", 7), ("b", 14), ("c", -0.5)))
        await log.append(events(("a", 7), ("d", 0), user="visitor", action=DISLIKE))
        await log.append(events(("a", 0)))  # again: not stored, so not counted
        await popularity.count_waiting()
        before = await values(memory)
        # Of a click in the future only as much as of one now.
        assert shares(before) == pytest.approx({1: 1 / 1.25, 2: 1.0, 3: 1 / 1.25}, abs=1e-4)
    async with counting(memory):
        await filled(memory)
        assert await values(memory) == before


async def test_a_stop_counts_what_was_handed_over(memory: Memory) -> None:
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    async with counting(memory) as (_, log):
        await log.append(events(*[(item, 0) for item in "aabbbc"]))
        await asyncio.sleep(0)
        await log.append(events(("c", 0), user="bob"))
    assert shares(await values(memory)) == pytest.approx({1: 2 / 3, 2: 1.0, 3: 2 / 3}, abs=1e-4)


async def test_stored_events_are_counted_once_when_counting_begins_or_changes(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundswell.profile_service.outcomes.popularity_counter._PART", 2)
    monkeypatch.setattr("groundswell.profile_service.outcomes.popularity_counter._EVENT_PAGE", 2)
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    await memory.log.append(events(("a", 0), ("b", 7), ("c", 14), ("d", 21), ("a", 21)))
    async with second_process(memory) as other, counting(memory) as (_, log):
        if other is not memory:  # two processes that begin at once
            async with counting(other) as (_, other_log):
                await other_log.append(events(("b", 0), user="bob"))
        else:
            await log.append(events(("b", 0), user="bob"))
        await filled(memory)
    due = {1: 1.125, 2: 1.5, 3: 0.25, 4: 0.125}
    expected = {item: share / 1.5 for item, share in due.items()}
    assert shares(await values(memory)) == pytest.approx(expected, abs=1e-3)
    async with counting(memory, days=3.5):
        await filled(memory)
        due = {1: 1 + 1 / 64, 2: 1.25, 3: 1 / 16, 4: 1 / 64}
        expected = {item: share / 1.25 for item, share in due.items()}
        assert shares(await values(memory)) == pytest.approx(expected, abs=1e-3)


async def take(
    watched: AsyncIterator[PopularityChanges], num: int = 1
) -> Sequence[PopularityChanges]:
    async with asyncio.timeout(10):
        return [await anext(watched) for _ in range(num)]


async def test_a_watcher_hears_of_all_values_then_of_changes_and_of_a_restore(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundswell.profile_service.outcomes.popularity_counter.WATCH_PAGE", 2)
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    async with second_process(memory) as other, counting(memory) as (popularity, log):
        await filled(memory)
        await log.append(events(("a", 0), ("b", 0), ("c", 0)))
        await popularity.count_waiting()
        following = Popularity(other.database, half_life_s=7 * 86_400, idle_poll_s=0.05)
        async with aclosing(following.watch(0, "", 0)) as watched:
            first, second = await take(watched, 2)
            assert first.item_nos.tolist() + second.item_nos.tolist() == [1, 2, 3]
            assert (first.caught_up, second.caught_up) == (False, True)
            assert first.revision < second.revision
            await log.append(events(("c", 0), user="bob"))
            await popularity.count_waiting()
            [third] = await take(watched)
            assert third.item_nos.tolist() == [3]
            assert third.values[0] == pytest.approx(second.values[0] + 1, abs=1e-4)
            assert not any(one.reset for one in (first, second, third))
            await memory.database.write(renew_lineage)
            await popularity.count_waiting()
            await log.append(events(("d", 0), user="eve"))
            await popularity.count_waiting()
            again = await take(watched, 3)
            assert [one.reset for one in again] == [True, False, False]
            assert [one.caught_up for one in again] == [False, False, True]
            assert sorted(n for one in again for n in one.item_nos) == [1, 2, 3, 4]
        resumed = following.watch(third.revision, third.lineage, third.half_life_us)
        async with aclosing(resumed) as watched:
            assert (await take(watched))[0].reset
