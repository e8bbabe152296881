"""Writers of every kind run at once over one PostgreSQL without a deadlock."""

import asyncio
from pathlib import Path

from tests.integration.profile_service.writers import (
    append_at_once,
    fill_catalogue,
    num_deadlocks,
    write_the_rest_at_once,
)
from tests.support.postgres import Postgres


async def test_writers_of_every_kind_never_deadlock(server: Postgres, tmp_path: Path) -> None:
    url = server.new_database()
    num_before = await num_deadlocks(server)
    await fill_catalogue(url, tmp_path)
    appended, rest = await asyncio.gather(
        append_at_once(url, tmp_path, 3.0, 5), write_the_rest_at_once(url, tmp_path, 3.0, 5)
    )
    assert min(*appended.done, *rest.done) >= 1
    assert await num_deadlocks(server) == num_before
