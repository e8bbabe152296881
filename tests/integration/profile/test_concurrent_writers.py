"""Writers of every kind at once over one PostgreSQL: nobody waits for another in a circle."""

from pathlib import Path

from tests.integration.profile.writers import write_at_once
from tests.support.postgres import Postgres


async def test_writers_of_every_kind_never_deadlock(server: Postgres, tmp_path: Path) -> None:
    counts = await write_at_once(server, tmp_path, seconds=3.0, seed=5)
    assert min(counts.done) >= 1
    assert counts.num_deadlocks == 0
