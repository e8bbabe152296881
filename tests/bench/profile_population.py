"""profile.population: all profiles of users with 100 events each made again, without their texts.

GROUNDSWELL_BENCH_USERS is how many users there are at most, 100,000 by default.
"""

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from groundswell.artifacts.manifest import HistoryTextSpec
from groundswell.artifacts.store import load_bundle
from groundswell.profile_service.store.database import Database
from tests.bench.harness import Line
from tests.support.bundles import tiny_bundle, with_manifest
from tests.support.cli import groundswell
from tests.support.postgres import postgres
from tests.support.shared import use_run_folder
from tests.support.suite import sqlite_url

_MOST = int(os.environ.get("GROUNDSWELL_BENCH_USERS", "100000"))
_SIZES = (1_000, 10_000, 100_000)
_ON_POSTGRESQL = 10_000
_NUM_EVENTS, _NUM_ITEMS = 100, 1_000
_MAX_MINUTES = 10.0
_TIMEOUT_S = 3_000.0
_CLICK = 2

Row = tuple[Any, ...]

_COLUMNS = {
    "users": "user_no, user_key, last_sequence",
    "items": "item_no, item_id, title, description, categories, attributes, available, deleted, "
    "revision",
    "item_texts": "item_no, fingerprint, content_hash, vector",
    "events": "user_no, sequence, event_id, item_no, action, value, time_us, ordinal, session_id, "
    "attribution_token, stored_us",
}


def measure(folder: Path) -> list[Line]:
    """Measure populations of growing size over SQLite, and one over PostgreSQL."""
    folder.chmod(0o755)
    use_run_folder(folder / "shared")
    bundles = folder / "bundles"
    bundles.mkdir()
    # No model of it runs.
    skip = HistoryTextSpec(mode="skip")
    bundle = with_manifest(tiny_bundle(bundles), bundles, history_text=skip)
    lines = []
    for size in (size for size in _SIZES if size <= _MOST):
        place = folder / str(size)
        place.mkdir()
        took_s = _rebuild(sqlite_url(place), bundle, size)
        unit = f"minutes, {size / took_s:,.0f} users/s on {os.cpu_count()} cores, SQLite"
        lines.append(Line(f"profile.population.{size}", took_s / 60, unit))
        (place / "groundswell.db").unlink()
    lines[-1] = lines[-1].at_most(_MAX_MINUTES)
    (folder / "server").mkdir(mode=0o755)
    with postgres(folder / "server", durable=True) as server:
        size = min(_ON_POSTGRESQL, _MOST)
        took_s = _rebuild(server.new_database(), bundle, size)
    unit = f"minutes, {size / took_s:,.0f} users/s, PostgreSQL"
    return [*lines, Line(f"profile.population.postgresql.{size}", took_s / 60, unit)]


def _rebuild(url: str, bundle: Path, num_users: int) -> float:
    """Fill a new database; return how many seconds the command takes."""
    asyncio.run(_make_tables(url))
    _fill(url, load_bundle(bundle).manifest.text.fingerprint, num_users)
    arguments = ["--bundles", str(bundle.parent), "--bundle", bundle.name, "--database-url", url]
    began_s = time.perf_counter()
    done = groundswell("profiles", "rebuild", *arguments, timeout=_TIMEOUT_S)
    took_s = time.perf_counter() - began_s
    if f"{num_users:,} users written" not in done.stdout:
        raise RuntimeError(f"not every profile was made: {done.stdout}{done.stderr}")
    return took_s


async def _make_tables(url: str) -> None:
    database = Database(url)
    await database.open()
    await database.close()


def _fill(url: str, fingerprint: str, num_users: int) -> None:
    """Insert users, items with vectors, and events."""
    rows: dict[str, Iterator[Row]] = {
        "users": ((n, n.to_bytes(32), _NUM_EVENTS) for n in range(1, num_users + 1)),
        "items": (
            (n, f"item-{n}", f"Title {n}", "", "[]", "{}", True, False, n)
            for n in range(1, _NUM_ITEMS + 1)
        ),
        "item_texts": ((n, fingerprint, b"?", bytes(4)) for n in range(1, _NUM_ITEMS + 1)),
        "events": _events(num_users),
    }
    if make_url(url).get_backend_name() == "sqlite":
        with sqlite3.connect(str(make_url(url).database)) as database:
            database.execute("PRAGMA synchronous=OFF")
            for table, columns in _COLUMNS.items():
                places = ",".join("?" * len(columns.split(",")))
                insert = f"INSERT INTO {table} ({columns}) VALUES ({places})"
                database.executemany(insert, rows[table])
        return
    driver = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(driver) as connection:
        # Neither foreign keys nor the triggers that tell of changes: nobody has read these users.
        connection.execute("SET session_replication_role = replica")
        for table, columns in _COLUMNS.items():
            with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows[table]:
                    copy.write_row(row)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")


def _events(num_users: int) -> Iterator[Row]:
    rng = random.Random(0)
    names = [f"e{n}" for n in range(_NUM_EVENTS)]
    for user_no in range(1, num_users + 1):
        time_us = 1_700_000_000_000_000
        for n, item_no in enumerate(rng.choices(range(1, _NUM_ITEMS + 1), k=_NUM_EVENTS)):
            # A day goes by after every tenth event.
            time_us += 60_000_000 if n % 10 else 86_400_000_000
            yield user_no, n + 1, names[n], item_no, _CLICK, None, time_us, n, "", "", time_us
