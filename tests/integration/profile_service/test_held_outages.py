"""While PostgreSQL does not tell of changes, no held profile is answered as if it were right."""

import asyncio
from contextlib import suppress
from pathlib import Path

from groundswell.serving.errors import Unavailable
from tests.integration.profile_service.support import an_event, open_memory, second_process
from tests.integration.profile_service.test_held_profiles import FIRST, TITLES, Reader, eventually
from tests.integration.profile_service.test_item_vectors import CountedModels
from tests.support.postgres import Postgres


async def test_without_a_connection_that_listens_nothing_held_is_used(
    server: Postgres, tmp_path: Path, bundles: Path
) -> None:
    memory = await open_memory(server.new_database(), tmp_path)
    loaded = CountedModels(bundles)
    reader = Reader(memory, loaded)
    await memory.catalogue.upsert(TITLES)
    await memory.log.append([an_event(0, item=FIRST)])
    assert not memory.database.changes.live
    assert await reader.get() is not await reader.get()
    await memory.database.follow_changes()
    assert memory.database.changes.live
    assert await reader.get() is await reader.get()
    async with second_process(memory) as other:
        await asyncio.to_thread(server.end_connections)

        async def lost() -> bool:
            return not memory.database.changes.live

        await eventually(lost)
        await asyncio.sleep(0)

        async def written() -> bool:
            with suppress(Unavailable):
                await other.log.append([an_event(1, item=FIRST)])
                return True
            return False

        await eventually(written)

        async def seen() -> bool:
            with suppress(Unavailable):
                return memory.database.changes.live and (await reader.get()).num_events == 2
            return False

        await eventually(seen)
    await loaded.close()
    await memory.database.close()


async def test_while_the_database_hangs_what_is_held_is_marked_after_some_seconds(
    server: Postgres, tmp_path: Path, bundles: Path
) -> None:
    memory = await open_memory(server.new_database(), tmp_path)
    loaded = CountedModels(bundles)
    reader = Reader(memory, loaded)
    await memory.catalogue.upsert(TITLES)
    await memory.log.append([an_event(0, item=FIRST)])
    await memory.database.follow_changes()
    assert (await reader.get()).as_of_us is None
    with server.paused():

        async def marked() -> bool:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    return (await reader.get()).as_of_us is not None
            return False

        await eventually(marked)
    await loaded.close()
    await memory.database.close()
