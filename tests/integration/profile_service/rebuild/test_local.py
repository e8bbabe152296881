"""A rebuild that was killed ends at once with its pool, and the next one goes on where it was."""

import os
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from groundswell.artifacts.manifest import HistoryTextSpec
from tests.integration.profile_service.support import an_event, an_item, open_memory
from tests.support.bundles import own_copy, with_manifest
from tests.support.cli import COMMAND, groundswell
from tests.support.postgres import Postgres
from tests.support.waiting import eventually

NUM_USERS = 350
LOCKED = 250
"""The rebuild waits for this user, in its third page."""


def running_in_group(group: int) -> list[str]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(path.parent.name)
    return found


@pytest.fixture
async def filled(server: Postgres, tmp_path: Path) -> str:
    url = server.new_database()
    memory = await open_memory(url, tmp_path)
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    for n in range(3):
        await memory.log.append(
            [an_event(n, user=f"user {u}", item="abcd"[(n + u) % 4]) for u in range(NUM_USERS)]
        )
    await memory.database.close()
    return url


def test_after_a_kill_it_goes_on_where_it_was(filled: str, bundles: Path, tmp_path: Path) -> None:
    own = own_copy(bundles, tmp_path / "bundles")
    (current,) = (path for path in own.iterdir() if path.is_dir())
    skip = with_manifest(current, own, history_text=HistoryTextSpec(mode="skip")).name
    arguments = ["profiles", "rebuild", "--bundles", str(own), "--bundle", skip]
    arguments += ["--database-url", filled, "--processes", "2"]
    url = make_url(filled).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as locking, psycopg.connect(url, autocommit=True) as looking:
        locking.execute("SELECT 1 FROM users WHERE user_no = %s FOR UPDATE", [LOCKED])
        running = subprocess.Popen([*COMMAND, *arguments], start_new_session=True)
        kept = "SELECT value FROM counters WHERE name LIKE 'rebuild %'"
        eventually(lambda: looking.execute(kept).fetchone(), 120)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        eventually(lambda: not running_in_group(running.pid))
        num_done = looking.execute("SELECT count(*) FROM profiles").fetchone()
        assert num_done is not None
        assert 100 <= num_done[0] < NUM_USERS
    done = groundswell(*arguments)
    assert done.returncode == 0, done.stderr
    assert "went on after 100 users of an earlier run" in done.stdout
    done = groundswell(*arguments)
    assert done.stdout == f"0 users written, {NUM_USERS} were correct already\n"
