"""Kills under load: what was acknowledged is never lost and never applied twice."""

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from groundswell.client import Deadlines, GroundswellClient, GroundswellError, event
from groundswell.common.v1.event_pb2 import Event
from groundswell.serving.channels import open_channel
from groundswell.session.v1.session_service_pb2 import RecordEventsRequest
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.bundles import ITEMS
from tests.support.postgres import Postgres, postgres
from tests.support.suite import Suite, tiny_items

KILLS = 20
USERS = 25
SEED = 7
_READY_S = 10.0
CALLERS = 64
ROUNDS = 5
_CARRIES_ON_S = 5.0


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


class Callers:
    """Callers at once, each with a user of its own, who send an event again until it is stored."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ends = asyncio.Event()
        self.acknowledged: dict[str, list[str]] = {}
        self.acknowledged_at = 0.0

    async def call(self) -> None:
        """Record events until the end."""
        async with open_channel(self._address) as channel:
            await asyncio.gather(*(self._call(channel, f"user-{n}") for n in range(CALLERS)))

    def end(self) -> None:
        """Let every caller end after its next acknowledged event."""
        self._ends.set()

    async def acknowledges_after(self, moment: float) -> float:
        """Return how long after a moment an event was acknowledged."""
        async with asyncio.timeout(30):
            while self.acknowledged_at < moment:  # noqa: ASYNC110 - it changes with every event
                await asyncio.sleep(0.01)
        return self.acknowledged_at - moment

    async def _call(self, channel: grpc.aio.Channel, user: str) -> None:
        stub, mine = SessionServiceStub(channel), self.acknowledged.setdefault(user, [])
        while not self._ends.is_set():
            one = event(user, ITEMS[0][0], event_id=f"event-{len(mine)}")
            answer = None
            while answer is None:
                try:
                    request = RecordEventsRequest(events=[one])
                    answer = await stub.RecordEvents(request, timeout=5)
                except grpc.aio.AioRpcError as error:
                    assert error.code() is not grpc.StatusCode.INTERNAL, error
                    await asyncio.sleep(0.02)
            assert [result.reason for result in answer.results] == [""]
            mine.append(one.event_id)
            self.acknowledged_at = time.monotonic()


async def _kill_again_and_again(server: Postgres, callers: Callers) -> list[float]:
    """Return how long it took after each start until an event was acknowledged."""
    calling, took_s = asyncio.create_task(callers.call()), []
    for number in range(ROUNDS):
        await asyncio.sleep(2)
        await asyncio.to_thread(server.kill if number % 2 == 0 else server.stop)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.start)
        took_s.append(await callers.acknowledges_after(time.monotonic()))
    await asyncio.sleep(1)
    callers.end()
    await calling
    return took_s


def test_a_database_that_is_killed_under_many_callers_loses_nothing(
    tmp_path: Path, bundles: Path
) -> None:
    with (
        postgres(tmp_path, durable=True) as server,
        Suite(
            tmp_path, bundles, ("profile", "session"), database_url=server.new_database()
        ) as suite,
    ):
        suite.client.upsert_items(tiny_items())
        callers = Callers(suite.targets.session)
        took_s = asyncio.run(_kill_again_and_again(server, callers))
        stored = {
            user: [one.event.event_id for one in suite.client.list_events(user)]
            for user in callers.acknowledged
        }
    num_acknowledged = sum(map(len, callers.acknowledged.values()))
    sys.stdout.write(f"\n{num_acknowledged} acknowledged; carried on after {took_s} s\n")
    for user, acknowledged in callers.acknowledged.items():
        assert sorted(stored[user]) == sorted(acknowledged)
    assert max(took_s) <= _CARRIES_ON_S
