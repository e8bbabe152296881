"""profile.append: AppendEvents in batches of 100 against a bare INSERT of the same rows."""

import asyncio
import sqlite3
import time
from contextlib import closing
from itertools import count, cycle
from pathlib import Path
from typing import Any

import psycopg

from groundswell.client import event
from groundswell.common.v1.event_pb2 import Event
from groundswell.profile.v1.event_service_pb2 import AppendEventsRequest
from groundswell.profile.v1.event_service_pb2_grpc import EventServiceStub
from groundswell.serving.channels import open_channel
from tests.bench.harness import OURS, THEIRS, Line, Side, calls_per_s
from tests.bench.stores import KINDS, NUM_USERS, item_ids, suite_over

_BATCH = 100
_MIN_SHARE = 0.3
_TABLE = """
CREATE TABLE bare_events (
    user_no bigint, sequence bigint, event_id text, item_no bigint, action smallint,
    value double precision, time_us bigint, ordinal bigint, session_id text,
    attribution_token text, stored_us bigint,
    PRIMARY KEY (user_no, sequence), UNIQUE (user_no, event_id)
)"""
_INDEX = "CREATE INDEX bare_order ON bare_events (user_no, time_us, ordinal, event_id)"
_NUM_COLUMNS = 11


def measure(folder: Path) -> list[Line]:
    """Measure one caller, over both databases."""
    lines = []
    for kind in KINDS:
        with (
            suite_over(kind, folder, ("profile",)) as suite,
            closing(_bare(kind, suite.database_url, folder)) as bare,
        ):
            lines += asyncio.run(_measure(kind, suite.targets.profile, bare))
    return lines


def _bare(kind: str, url: str, folder: Path) -> Any:
    """Open a table like that of events: in the same database, or in another file of SQLite.

    The service lets no other process write its own file.
    """
    connection: Any
    if kind == "postgresql":
        connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
    else:
        file = folder / "bare.db"
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    connection.execute(_TABLE)
    connection.execute(_INDEX)
    return connection


async def _measure(kind: str, address: str, bare: Any) -> list[Line]:
    numbers, items = count(), cycle(item_ids())
    mark = "%s" if kind == "postgresql" else "?"
    row = f"({', '.join([mark] * _NUM_COLUMNS)})"
    insert = f"INSERT INTO bare_events VALUES {', '.join([row] * _BATCH)}"

    def batch() -> list[Event]:
        users = (f"user-{next(numbers) % NUM_USERS}" for _ in range(_BATCH))
        return [event(user, next(items), "view") for user in users]

    async with open_channel(address) as channel:
        stub = EventServiceStub(channel)
        sides = {
            OURS: Side(lambda: stub.AppendEvents(AppendEventsRequest(events=batch()))),
            THEIRS: Side(lambda: asyncio.to_thread(bare.execute, insert, _values(batch()))),
        }
        per_s = await calls_per_s(sides, callers=1)
    share = per_s[OURS] / per_s[THEIRS]
    name, unit = f"profile.append.{kind}", f"× a bare INSERT's rows/s, {_BATCH} rows each"
    rates = {key: _BATCH * value for key, value in per_s.items()}
    return [
        Line(name, share, unit, _MIN_SHARE, share >= _MIN_SHARE),
        Line(f"{name}.rate", rates[OURS], f"events/s, where INSERT has {rates[THEIRS]:.0f}"),
    ]


def _values(batch: list[Event]) -> list[Any]:
    """The parameters of the bare INSERT; each event is a user's next one."""
    now_us, values = time.time_ns() // 1000, []
    for one in batch:
        user_no = int(one.user_id.removeprefix("user-"))
        values += [user_no, next(_SEQUENCES), one.event_id, 1, one.action, None]
        values += [now_us, 0, one.session_id, one.attribution_token, now_us]
    return values


_SEQUENCES = count(1)
