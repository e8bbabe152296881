"""A rebuild on a real Ray cluster of two nodes makes the rows that a pool of processes makes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from tests.integration.profile_service.support import an_event, an_item, open_memory
from tests.support.cli import groundswell
from tests.support.postgres import Postgres
from tests.support.processes import ROOT

NUM_USERS, NUM_EVENTS = 210, 5


@pytest.fixture
def cluster() -> "Iterator[subprocess.Popen[str]]":
    """The cluster; it ends with the test."""
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.support.ray_cluster"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield running
    running.communicate(timeout=60)


@pytest.fixture
async def filled(server: Postgres, tmp_path: Path) -> str:
    url = server.new_database()
    memory = await open_memory(url, tmp_path)
    await memory.catalogue.upsert([an_item(name) for name in "abcd"])
    for n in range(NUM_EVENTS):
        await memory.log.append(
            [an_event(n, user=f"user {u}", item="abcd"[n % 4]) for u in range(NUM_USERS)]
        )
    await memory.database.close()
    return url


def test_two_nodes_make_what_one_machine_makes(
    cluster: "subprocess.Popen[str]", filled: str, bundles: Path
) -> None:
    arguments = ["profiles", "rebuild", "--bundles", str(bundles), "--database-url", filled]
    url = make_url(filled).set(drivername="postgresql").render_as_string(hide_password=False)

    def rows(connection: "psycopg.Connection[Any]") -> list[Any]:
        names = "user_no, fingerprint, covered_sequence, last_event_us, num_chunks, recent"
        found = connection.execute(f"SELECT {names} FROM profiles ORDER BY user_no").fetchall()
        return (
            found
            + connection.execute(
                "SELECT * FROM profile_chunks ORDER BY user_no, chunk_no"
            ).fetchall()
        )

    local = groundswell(*arguments, timeout=300)
    assert f"{NUM_USERS} users written" in local.stdout, local.stderr
    with psycopg.connect(url, autocommit=True) as connection:
        expected = rows(connection)
        connection.execute("DELETE FROM profile_chunks; DELETE FROM profiles")
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        on_ray = groundswell(*arguments, "--engine", "ray", "--address", address, timeout=300)
        assert on_ray.stdout == f"{NUM_USERS} users written, 0 were correct already\n", (
            on_ray.stderr
        )
        assert rows(connection) == expected
    told, _ = cluster.communicate(timeout=60)
    assert told == "2\n"
