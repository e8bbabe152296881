"""A service that is killed amid an erasure finishes it after its next start."""

import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from groundswell.client import GroundswellError, event
from tests.integration.profile_service.support import profile_service
from tests.support.suite import Suite, tiny_items
from tests.support.waiting import eventually

NUM_EVENTS = 12_000


def number(suite: Suite, table: str) -> int:
    """The number of rows of a table, as another program sees it."""
    with closing(sqlite3.connect(suite.folder / "groundswell.db")) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(found)


def erase(suite: Suite) -> None:
    with suppress(GroundswellError):
        suite.client.erase_user("ann")


def test_an_erasure_goes_on_after_a_kill(tmp_path: Path, bundles: Path) -> None:
    with profile_service(tmp_path, bundles) as suite:
        client = suite.client
        client.upsert_items(tiny_items())
        item_id = next(tiny_items()).item_id
        began_s = time.time() - NUM_EVENTS
        for start in range(0, NUM_EVENTS, 1_000):
            numbers = range(start, start + 1_000)
            events = [event("ann", item_id, time=began_s + n, event_id=f"{n}") for n in numbers]
            assert all(result.sequence for result in client.append_events(events))
        erasing = threading.Thread(target=erase, args=(suite,))
        erasing.start()
        while number(suite, "events") == NUM_EVENTS:
            pass
        suite.profile.kill()
        erasing.join()
        assert 0 < number(suite, "events") < NUM_EVENTS
        assert number(suite, "erased_users") == 1
        suite.start("profile")
        assert list(client.list_events("ann")) == []
        eventually(lambda: number(suite, "erased_users") == 0)
        receipt = client.erase_user("ann")
        assert {one.store: one.num_rows for one in receipt.stores}["events"] == NUM_EVENTS
        assert receipt.HasField("finished_at")
        late = event("ann", item_id, time=began_s, event_id="late")
        assert [one.reason for one in client.append_events([late])] == ["EVENT_ERASED"]
        assert number(suite, "events") == number(suite, "users") == 0
