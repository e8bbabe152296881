"""Kills under load: what was acknowledged is never lost and never applied twice."""

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from groundswell.client import Deadlines, GroundswellClient, GroundswellError, event
from groundswell.common.v1.event_pb2 import Event
from tests.support.bundles import ITEMS
from tests.support.suite import Suite, tiny_items

KILLS = 20
USERS = 25
SEED = 7
_READY_S = 10.0


class Journal:
    """What the client was told, on disk before its next call."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self.acknowledged: dict[str, list[str]] = {}
        self.sent: set[str] = set()

    def note(self, events: list[Event]) -> None:
        """Remember acknowledged events."""
        for one in events:
            self.acknowledged.setdefault(one.user_id, []).append(one.event_id)
            self._file.write(json.dumps([one.user_id, one.event_id]) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _write(client: GroundswellClient, journal: Journal, stop: threading.Event) -> None:
    """Record events until told to stop; after a failure the same ones are sent again."""
    rng = random.Random(SEED)
    number = 0
    while not stop.is_set():
        batch = []
        for _ in range(rng.randint(1, 5)):
            user, row = f"user-{rng.randrange(USERS)}", rng.randrange(len(ITEMS))
            batch.append(event(user, ITEMS[row][0], event_id=f"event-{number}"))
            number += 1
        journal.sent.update(one.event_id for one in batch)
        while not stop.is_set():
            try:
                results = client.record_events(batch)
            except GroundswellError:
                time.sleep(0.02)
                continue
            assert [r.reason for r in results] == [""] * len(batch)
            journal.note(batch)
            break


@contextmanager
def _writing(client: GroundswellClient, journal: Journal) -> Iterator[None]:
    """Record events in a thread as long as this is open."""
    stop = threading.Event()
    writer = threading.Thread(target=_write, args=(client, journal, stop))
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join(30)


@pytest.mark.parametrize("victim", ["session", "profile"])
def test_nothing_acknowledged_is_lost_or_applied_twice(
    victim: str, tmp_path: Path, bundles: Path
) -> None:
    deadlines = Deadlines(write_s=2.0)
    journal, slowest = Journal(tmp_path / "journal"), 0.0
    with Suite(tmp_path, bundles, ("profile", "session"), deadlines=deadlines) as suite:
        client = suite.client
        client.upsert_items(tiny_items())
        with _writing(client, journal):
            for _ in range(KILLS):
                time.sleep(0.4)
                suite.processes[victim].kill()
                started = time.monotonic()
                suite.start(victim)
                slowest = max(slowest, time.monotonic() - started)
            time.sleep(1)
        stored = {
            user: [s.event.event_id for s in client.list_events(user)]
            for user in journal.acknowledged
        }
    lost = {
        (user, event_id)
        for user, ids in journal.acknowledged.items()
        for event_id in set(ids) - set(stored[user])
    }
    twice = [user for user, ids in stored.items() if len(ids) != len(set(ids))]
    unsent = {event_id for ids in stored.values() for event_id in ids} - journal.sent
    assert sum(map(len, journal.acknowledged.values())) > KILLS
    assert (lost, twice, unsent) == (set(), [], set())
    assert slowest <= _READY_S
