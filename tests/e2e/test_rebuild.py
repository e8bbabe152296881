"""`groundswell profiles rebuild` makes lost profiles again, and a candidate bundle backfilled."""

import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from groundswell.artifacts.store import BundleStore, load_bundle
from tests.integration.profile_service.support import profile_service
from tests.support.bundles import ITEMS, own_copy, with_manifest
from tests.support.in_process import run
from tests.support.processes import SECRET
from tests.support.suite import Suite, sqlite_url, tiny_items

NUM_USERS, NUM_EVENTS = 30, 9
TABLES = ("profiles", "profile_chunks", "item_texts")


def log_of(folder: Path) -> Path:
    """A log of Parquet; two events of each user have the same time."""
    rows = [
        (f"user-{user}", ITEMS[(user + 7 * n) % len(ITEMS)][0], "click", 1_000_000 + 60 * (n // 2))
        for n in range(NUM_EVENTS)
        for user in range(NUM_USERS)
    ]
    path = folder / "events.parquet"
    columns = ["user_id", "item_id", "action", "timestamp"]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(path)
    return path


def rows_of(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, without the times at which they were written."""
    with sqlite3.connect(folder / "groundswell.db") as database:
        database.execute("CREATE TEMP TABLE timeless AS SELECT * FROM profiles")
        database.execute("ALTER TABLE timeless DROP COLUMN covered_us")
        names = ("timeless", *TABLES[1:])
        return {name: sorted(database.execute(f"SELECT * FROM {name}")) for name in names}


def rebuild(suite: Suite, *more: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in this process, which has loaded all that it takes but its pool."""
    known = {"GROUNDSWELL_DATABASE_URL": sqlite_url(suite.folder), "GROUNDSWELL_SECRET": SECRET}
    with patch.dict(os.environ, known):
        return run("profiles", "rebuild", "--bundles", str(suite.bundles), *more)


def test_lost_profiles_come_back_and_a_candidate_is_backfilled(
    bundles: Path, tmp_path: Path
) -> None:
    own = own_copy(bundles, tmp_path / "bundles")
    log = log_of(tmp_path)
    with profile_service(tmp_path, own) as suite:
        suite.client.upsert_items(tiny_items())
        imported = run("events", "import", str(log), "--profile", suite.targets.profile)
        assert imported.returncode == 0, imported.stderr
        suite.refresh()
        refused = rebuild(suite)
        assert refused.returncode == 1
        assert "another process holds" in refused.stderr
    expected = rows_of(tmp_path)
    assert len(expected["profile_chunks"]) == NUM_USERS * (NUM_EVENTS // 4)
    for source in ((), ("--events", str(log))):
        with sqlite3.connect(tmp_path / "groundswell.db") as database:
            for table in TABLES:
                database.execute(f"DELETE FROM {table}")
        done = rebuild(suite, *source)
        assert done.returncode == 0, done.stderr
        assert f"{NUM_USERS} users written, 0 were correct already" in done.stdout
        assert rows_of(tmp_path) == expected

    bundle = load_bundle(own)
    text = bundle.manifest.text.model_copy(update={"fingerprint": "another:fp32:1"})
    candidate = with_manifest(bundle.path, own, text=text)
    done = rebuild(suite, "--bundle", candidate.name)
    assert f"{len(ITEMS)} items written" in done.stdout
    rows = rows_of(tmp_path)
    assert {name: len(found) for name, found in rows.items()} == {
        name: 2 * len(found) for name, found in expected.items()
    }
    BundleStore(own).set_current(candidate.name)
    with profile_service(tmp_path, own) as again:
        # Had it anything to wait for, it would begin with the other one.
        assert again.client.model("profile").model.bundle_id == candidate.name
    assert rows_of(tmp_path) == rows
