"""What becomes of an erased user in the database, in what comes late, and after a restore."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import select, text

from groundswell.profile_service.event_batch import NewEvent, Status
from groundswell.profile_service.identity.lineage import LineageKeeper
from groundswell.profile_service.outcomes.lists import NewList, ShownLists
from groundswell.profile_service.outcomes.popularity_counter import Popularity
from groundswell.profile_service.rights import erasures as module
from groundswell.profile_service.rights.erasures import Erasures
from groundswell.profile_service.store import erasures as statements
from groundswell.profile_service.store.database import now_us
from groundswell.profile_service.store.tables import item_popularity
from groundswell.profile_service.upkeep import rotate_secret
from groundswell.profile_service.visitors import Visitors
from groundswell.serving.attribution import Attribution, Draw, new_recommendation_id
from groundswell.serving.errors import Unavailable
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from groundswell.serving.vectors import pack_int64
from tests.integration.profile_service.support import (
    CountingEncoder,
    Memory,
    an_event,
    an_item,
    open_memory,
    reading,
    second_process,
    work_all,
)
from tests.integration.profile_service.test_restore import lineage_of, log_of, restored
from tests.support.backups import Backup
from tests.support.processes import SECRET
from tests.support.waiting import eventually

VISIT = subject_id("", "visit")


def erasures_of(memory: Memory, file: Path | None = None) -> Erasures:
    return Erasures(memory.database, Pseudonymizer(SECRET), file, drop=len, idle_poll_s=0.05)


async def fill(memory: Memory) -> None:
    """Ann with a linked session, a list, a profile and waiting work; and bob."""
    await memory.catalogue.upsert([an_item(name) for name in "abc"])
    await memory.log.append([an_event(n, user=VISIT) for n in range(2)])
    await memory.log.append([an_event(n, user=u, item="b") for u in ("ann", "bob") for n in (5, 6)])
    visitors = Visitors(memory.database, Pseudonymizer(SECRET), memory.signals, keep_s=3600)
    assert await visitors.link("visit", "ann") == 2
    await work_all(memory, CountingEncoder())
    await memory.log.append([an_event(9, user=VISIT)])
    lists = ShownLists(memory.database, Pseudonymizer(SECRET), keep_s=3600)
    await lists.store([a_list("ann"), a_list("bob"), a_list(VISIT)])


def a_list(subject: str) -> NewList:
    made = Attribution(new_recommendation_id(), "bundle", "", 0.5, Draw.NONE, 1.0)
    return NewList(made, subject, pack_int64([1, 2]))


async def listed(memory: Memory, subject: str) -> list[str]:
    return [one.event_id for one in (await memory.log.list(subject, None, 100)).events]


async def statuses(memory: Memory, *events: NewEvent) -> list[str]:
    return [one.reason or one.status.name for one in await memory.log.append(events)]


async def test_an_erasure_counts_first_and_then_deletes_the_same_rows_once(memory: Memory) -> None:
    await fill(memory)
    erasures = erasures_of(memory)
    await erasures.start()
    counted = await erasures.count("ann")
    assert counted["events"] == 5
    assert counted["users"] == 2
    assert counted["shown_lists"] == 2
    assert counted["profile_chunks"] == 1
    receipt = await erasures.erase("ann")
    assert dict(receipt.stored.counts) == counted
    assert receipt.stored.finished_us is not None
    assert not any((await erasures.count("ann")).values())
    assert (await erasures.count("bob"))["events"] == 2
    assert await listed(memory, "ann") == await listed(memory, VISIT) == []
    again = (await erasures.erase("ann")).stored
    assert (again.erasure_id, again.counts) == (receipt.stored.erasure_id, receipt.stored.counts)
    nobody = await erasures.erase("nobody")
    assert not any(nobody.stored.counts.values())
    await erasures.close()


async def test_who_follows_erasures_reads_again_only_when_one_is_asked_for(memory: Memory) -> None:
    reads: list[object] = []
    read = memory.database.read

    async def counted(work: Any) -> Any:
        reads.append(work)
        return await read(work)

    with patch.object(memory.database, "read", counted):
        erasures = Erasures(
            memory.database, Pseudonymizer(SECRET), None, drop=len, idle_poll_s=60.0
        )
        await erasures.start()
        await asyncio.sleep(0.3)
        assert 0 < len(reads) <= 10
        await erasures.close()


async def test_what_comes_late_is_refused_and_what_comes_after_starts_a_new_history(
    memory: Memory,
) -> None:
    await fill(memory)
    erasures = erasures_of(memory)
    lists = ShownLists(memory.database, Pseudonymizer(SECRET), keep_s=3600)
    visitors = Visitors(memory.database, Pseudonymizer(SECRET), memory.signals, keep_s=3600)
    waiting = [a_list("ann"), a_list(VISIT)]
    await memory.log.append([an_event(3, user=subject_id("", "other"))])
    await erasures.erase("ann")
    late = [an_event(5), an_event(50), an_event(9, user=VISIT)]
    assert await statuses(memory, *late) == ["EVENT_ERASED"] * 3
    await lists.store(waiting)
    # A session that is linked only now had its events and lists before.
    assert await visitors.link("other", "ann") == 0
    assert (await erasures.count("ann"))["events"] == 0
    assert (await erasures.count(VISIT))["users"] == 0
    await lists.store([*waiting, a_list("ann")])
    assert (await erasures.count("ann"))["shown_lists"] == 1
    new = an_event(7, time=now_us())
    assert await statuses(memory, an_event(5), new) == ["EVENT_ERASED", "ACCEPTED"]
    assert await listed(memory, "ann") == ["e7"]
    assert (await memory.log.list("ann", None, 9)).last_sequence == 1
    await erasures.erase("ann")
    assert await statuses(memory, new) == ["EVENT_ERASED"]


async def test_each_request_refuses_what_is_late_then_and_what_was_dated_later(
    memory: Memory, tmp_path: Path
) -> None:
    """Nothing new is stored between two requests; and one event was dated an hour ahead."""
    file = tmp_path / "tombstones"
    await memory.catalogue.upsert([an_item("a")])
    ahead = an_event(1, time=now_us() + 3600 * 10**6)
    sent = [an_event(0), ahead, an_event(1, user="bob")]
    assert await statuses(memory, *sent) == ["ACCEPTED"] * 3
    backup = Backup(memory.settings.database_url, tmp_path)
    erasures = erasures_of(memory, file)
    await erasures.start()
    receipt = await erasures.erase("ann")
    assert receipt.stored.erased_us <= now_us()
    assert await statuses(memory, ahead) == ["EVENT_ERASED"]
    await erasures.erase("bob")
    between = an_event(2, user="bob", time=now_us())
    again = await erasures.erase("bob")
    assert again.stored.erased_us > between.content.time_us
    assert await statuses(memory, between) == ["EVENT_ERASED"]
    await erasures.close()
    memory = await restored(memory, backup)
    erasures = erasures_of(memory, file)
    await erasures.start()
    assert await statuses(memory, ahead, between) == ["EVENT_ERASED"] * 2
    assert await listed(memory, "ann") == await listed(memory, "bob") == []
    await erasures.close()
    await memory.database.close()


async def test_a_new_secret_brings_nobody_back_into_a_restored_database(
    memory: Memory, tmp_path: Path
) -> None:
    file, url = tmp_path / "tombstones", memory.settings.database_url
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(0), an_event(0, user="bob")])
    backup = Backup(url, tmp_path)
    erasures = erasures_of(memory, file)
    await erasures.start()
    await erasures.erase("ann")
    await erasures.close()
    memory = await restored(memory, backup)
    await memory.database.close()
    assert await rotate_secret(url, [SECRET, "n" * 32], file, lambda *_: None) == 1


async def test_a_long_reader_stops_no_writer_and_the_old_bytes_go_after_it(tmp_path: Path) -> None:
    file = tmp_path / "groundswell.db"
    memory = await open_memory(f"sqlite+aiosqlite:///{file}", tmp_path)
    await memory.catalogue.upsert([an_item("a")])
    event_id = "an-id-that-is-found-in-files"
    await memory.log.append([an_event(0)._replace(event_id=event_id)])
    erasures = erasures_of(memory)
    log = file.with_name(f"{file.name}-wal")
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        erasing = asyncio.create_task(erasures.erase("ann"))
        waits_s: list[float] = []
        while not erasing.done():
            began_s = time.monotonic()
            await memory.log.append([an_event(len(waits_s), user="bob")])
            waits_s.append(time.monotonic() - began_s)
        await erasing
        # Each would wait for ten seconds, and so would the erasure.
        assert max(waits_s) < 8.0
        assert event_id.encode() in log.read_bytes()
    await erasures.finish()
    assert log.stat().st_size == 0
    assert event_id.encode() not in file.read_bytes()
    await memory.database.close()


async def test_an_erasure_is_no_restore_and_its_restore_is_one(
    memory: Memory, tmp_path: Path
) -> None:
    """The newest event that a process knows goes with its user."""
    await fill(memory)
    keeper = LineageKeeper(memory.database, tmp_path / "high-water")
    await keeper.start()
    before = await lineage_of(memory)
    backup = Backup(memory.settings.database_url, tmp_path)
    await log_of(memory, keeper).append([an_event(20)])
    await keeper.look()
    await erasures_of(memory).erase("ann")
    await keeper.look()
    assert await lineage_of(memory) == before
    await keeper.close()
    memory = await restored(memory, backup)
    keeper = LineageKeeper(memory.database, tmp_path / "high-water")
    await keeper.start()
    assert await lineage_of(memory) != before
    await keeper.close()
    await memory.database.close()


async def test_a_backup_of_before_brings_nobody_back(memory: Memory, tmp_path: Path) -> None:
    """Two processes with a file each: one erased, the other one only heard of it."""
    files = [tmp_path / "one", tmp_path / "other"]
    await fill(memory)
    backup = Backup(memory.settings.database_url, tmp_path)
    async with second_process(memory) as second:
        one, other = erasures_of(memory, files[0]), erasures_of(second, files[1])
        with pytest.raises(Unavailable):
            await anext(other.watch(0, ""))
        await one.start()
        await other.start()
        receipt = await one.erase("ann")
        async for erased in other.watch(0, ""):
            assert len(erased.marks) == 2
            break
        await asyncio.to_thread(eventually, files[1].exists)
        await one.close()
        await other.close()
    assert files[0].read_text() == files[1].read_text()
    files[1].write_text(files[1].read_text() + '["cut off by a cra')
    again = await restored(memory, backup)
    assert await listed(again, "ann") == ["e6", "e5", "e1", "e0"]
    new = an_event(30, time=now_us())
    await again.log.append([new])
    erasures = erasures_of(again, files[1])
    await erasures.start()
    # What came after the erasure, before the restore was noticed, is not lost.
    assert await listed(again, "ann") == ["e30"]
    assert await listed(again, VISIT) == []
    assert await listed(again, "bob") == ["e6", "e5"]
    assert await statuses(again, an_event(5), new) == ["EVENT_ERASED", "DUPLICATE"]
    assert sorted((await erasures.count("ann")).items()) == sorted(
        {
            **dict.fromkeys(("profile_chunks", "profiles", "shown_lists"), 0),
            **dict.fromkeys(("stale_users", "visitors"), 0),
            **dict.fromkeys(("events", "users"), 1),
        }.items()
    )
    async with reading(again.database) as connection:
        stored = await connection.run(statements.read_receipt, receipt.stored.erasure_id)
    assert stored.counts["events"] == 5
    await erasures.close()
    await again.database.close()


async def test_a_call_that_ended_amid_an_erasure_is_finished_by_whoever_comes_next(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(memory)
    monkeypatch.setattr(module, "_PART", 2)
    erasures, parts = erasures_of(memory), 0
    counted = await erasures.count("ann")
    part = statements.erase_some

    def fails(*args: object, **kwargs: object) -> bool:
        nonlocal parts
        parts += 1
        if parts == 2:
            raise Unavailable("STORE_UNAVAILABLE", "killed")
        return part(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(statements, "erase_some", fails)
    with pytest.raises(Unavailable):
        await erasures.erase("ann")
    assert await listed(memory, "ann") == []
    assert await statuses(memory, an_event(5)) == ["EVENT_ERASED"]
    new = an_event(8, time=now_us())
    await memory.log.append([new])
    async with second_process(memory) as second:
        others = erasures_of(second)
        assert await others.finish() == 1
        assert await others.finish() == 0
    async with reading(memory.database) as connection:
        (erasure_id,) = (
            await connection.execute(text("SELECT erasure_id FROM erasures"))
        ).scalars()
        stored = await connection.run(statements.read_receipt, erasure_id)
    assert dict(stored.counts) == counted
    assert await listed(memory, "ann") == ["e8"]


async def test_events_that_are_erased_count_no_more_for_what_is_popular(memory: Memory) -> None:
    popularity = Popularity(memory.database, half_life_s=3600, idle_poll_s=0.05)
    await popularity.start()
    await fill(memory)
    read = select(item_popularity.c.item_no, item_popularity.c.value)

    async def values() -> dict[int, float]:
        async with reading(memory.database) as connection:
            return {row.item_no: row.value for row in await connection.execute(read)}

    page = await memory.log.list("bob", None, 9)
    both = [*page.events, *(await memory.log.list("ann", None, 9)).events]
    popularity.stored(both)
    await popularity.count_waiting()
    counted = await values()
    await erasures_of(memory).erase("ann")
    watched = await anext(popularity.watch(0, "", 0))
    told = dict(zip(watched.item_nos.tolist(), watched.values.tolist(), strict=True))
    # The second item had two events of each at the same times, the first one two of ann's alone.
    assert counted[2] - told[2] == pytest.approx(1.0)
    assert told[1] == float("-inf")
    await popularity.close()


async def test_erasing_while_others_write_loses_no_later_event_and_keeps_no_earlier_one(
    memory: Memory,
) -> None:
    await memory.catalogue.upsert([an_item("a")])
    erasures = erasures_of(memory)
    accepted: list[tuple[str, int]] = []
    stop = asyncio.Event()

    async def write(side: int) -> None:
        for n in range(10_000):
            if stop.is_set():
                return
            event = an_event(n, time=now_us())._replace(event_id=f"{side}-{n}")
            (outcome,) = await memory.log.append([event])
            if outcome.status is Status.ACCEPTED:
                accepted.append((event.event_id, event.content.time_us))

    async def link(visitors: Visitors) -> None:
        for n in range(10_000):
            if stop.is_set():
                return
            session = an_event(n, user=subject_id("", f"v{n}"), time=now_us())
            await memory.log.append([session._replace(event_id=f"v-{n}")])
            await visitors.link(f"v{n}", "ann")

    visitors = Visitors(memory.database, Pseudonymizer(SECRET), memory.signals, keep_s=3600)
    tasks = [asyncio.create_task(write(side)) for side in range(2)]
    tasks.append(asyncio.create_task(link(visitors)))
    erased_us = 0
    for _ in range(3):
        await asyncio.sleep(0.05)
        erased_us = (await erasures.erase("ann")).stored.erased_us
    stop.set()
    await asyncio.gather(*tasks)
    times = {
        one.event_id: one.content.time_us
        for one in (await memory.log.list("ann", None, 1000)).events
    }
    assert all(time_us > erased_us for time_us in times.values())
    assert {name for name, time_us in accepted if time_us > erased_us} <= times.keys()
    async with reading(memory.database) as connection:
        left = await connection.execute(text("SELECT count(*) FROM erased_users"))
        assert left.scalar_one() == 0
