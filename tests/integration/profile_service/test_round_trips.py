"""A write makes few ways to the database: each one costs every caller that waits for it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from groundswell.serving.subjects import subject_id
from tests.integration.profile_service.support import Memory, an_event, an_item, sent_statements

VISIT = subject_id("", "visit")
# Begin, lock and look up; store and commit; for new users also lock the secrets and make them.
ON_POSTGRES = {"known": 2, "new": 3, "session": 0}
# Begin, find, look up, three tables; for new users also look for their tombstones, make and find
# them, for sessions note the time.
ON_FILE = {"known": 6, "new": 3 + 6, "session": 1}


async def test_a_write_makes_few_ways_to_the_database(memory: Memory, tmp_path: Path) -> None:
    await memory.catalogue.upsert([an_item("a")])
    await memory.log.append([an_event(0)])
    budget = ON_FILE if memory.settings.is_sqlite else ON_POSTGRES
    counted = _statements() if memory.settings.is_sqlite else _round_trips(tmp_path / "trace")
    with counted as num_ways:
        for kind, *users in (
            ("known", "ann"),
            ("new", "ann", "bob", "eve"),
            ("new", "ann", VISIT),
            ("known", VISIT, "bob", "ann", "eve"),
        ):
            before = num_ways()
            events = [an_event(n, user=user) for n in (num_ways() + 1, 10**6) for user in users]
            await memory.log.append(events)
            expected = budget[kind] + (budget["session"] if VISIT in users else 0)
            assert num_ways() - before == expected


@contextmanager
def _statements() -> Iterator[Callable[[], int]]:
    sent: list[str] = []
    with sent_statements(sent.append):
        yield lambda: len(sent)


@contextmanager
def _round_trips(file: Path) -> Iterator[Callable[[], int]]:
    """Let every connection note what it sends, and count after what it waits for the server."""
    with file.open("w") as noted:

        def trace(connection: Any, *_: object) -> None:
            connection.driver_connection.pgconn.trace(noted.fileno())

        event.listen(Pool, "checkout", trace)
        try:
            yield lambda: _num_waits(file.read_text())
        finally:
            event.remove(Pool, "checkout", trace)


def _num_waits(trace: str) -> int:
    """Count how often a connection waited for its server.

    In its pipeline mode the driver goes on after BEGIN and COMMIT.
    """
    num_sent = len(re.findall(r"\tF\t\d+\t(?:Sync|Query)", trace))
    return num_sent - len(re.findall(r"\tF\t\d+\tParse\t \S+ \"(?:BEGIN|COMMIT)\"", trace))
