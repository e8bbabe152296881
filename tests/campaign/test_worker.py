"""The encoder worker for minutes: killed again and again, and its memory over many users."""

import asyncio
import re
import sys
from pathlib import Path

from tests.integration.profile_service.killed_workers import (
    assert_same,
    fill,
    kill_in_the_middle,
    num_waiting,
    rows_of,
    until_done,
    worker_process,
)
from tests.integration.profile_service.support import open_memory
from tests.support.postgres import Postgres
from tests.support.processes import Process

SEED = 11
KILLS = 10
KILLED_USERS = 2_000
FLAT_USERS = 50_000
_SETTLED_USERS = 10_000
MAX_GROWTH_MB = 20


def _tell(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")


async def test_a_worker_that_is_killed_ten_times_leaves_the_rows_of_an_undisturbed_one(
    server: Postgres, bundles: Path, tmp_path: Path
) -> None:
    rows = []
    for name, num_kills in (("undisturbed", 0), ("killed", KILLS)):
        memory = await open_memory(server.new_database(), tmp_path)
        await fill(memory, KILLED_USERS, num_events=18, seed=SEED)
        worker = worker_process(memory.settings.database_url, bundles, tmp_path / name, {})
        held = await kill_in_the_middle(memory, worker, num_kills, SEED, within_s=0.5)
        _tell(f"{name}: users held at each kill: {held}")
        with worker:
            await until_done(memory)
        assert await num_waiting(memory) == 0, "nothing is set aside"
        rows.append(await rows_of(memory))
        await memory.database.close()
    assert len(rows[0]["profile_chunks"].exact) == 4 * KILLED_USERS
    assert_same(rows[1], rows[0])


async def test_the_memory_of_a_worker_does_not_grow_with_the_users_it_has_read(
    server: Postgres, bundles: Path, tmp_path: Path
) -> None:
    memory = await open_memory(server.new_database(), tmp_path)
    await fill(memory, FLAT_USERS, num_events=4, seed=SEED)
    worker = worker_process(memory.settings.database_url, bundles, tmp_path / "log", {})
    sizes = list[float]()
    with worker:
        while left := await num_waiting(memory):
            if left < FLAT_USERS - _SETTLED_USERS:
                sizes.append(_resident_mb(worker))
            await asyncio.sleep(1)
    await memory.database.close()
    _tell(f"worker: {sizes[0]:.0f} MB after {_SETTLED_USERS} users, at most {max(sizes):.0f} MB")
    assert max(sizes) - sizes[0] < MAX_GROWTH_MB


def _resident_mb(worker: Process) -> float:
    status = Path(f"/proc/{worker.popen.pid}/status").read_text()
    (kb,) = re.findall(r"VmRSS:\s+(\d+)", status)
    return int(kb) / 1024
