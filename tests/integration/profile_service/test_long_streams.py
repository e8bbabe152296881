"""Streams that last longer than the connections of a real server go on and lose nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from groundswell.client import AsyncGroundswellClient, Targets, event, item
from groundswell.common.v1 import event_pb2
from tests.integration.profile_service.support import profile_service
from tests.support.suite import Suite

AGE_S = 0.4
"""A connection is told to end after this time, and is closed after as much again."""
STREAM_S = 2.5
BATCH = 20
EVENTS = 600


@pytest.fixture(scope="module")
def short_lived(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("short")
    settings = {"GROUNDSWELL_MAX_CONNECTION_AGE_S": str(AGE_S)}
    with profile_service(folder, bundles, settings) as running:
        running.client.upsert_items([item("i1", "One")])
        yield running


def slow_log(user: str) -> Iterator[event_pb2.Event]:
    """A log that takes as long to read as several connections live."""
    begin = time.monotonic()
    for number in range(EVENTS):
        if number % BATCH == 0:
            time.sleep(max(0.0, begin + STREAM_S * number / EVENTS - time.monotonic()))
        yield event(user, "i1", event_id=str(number), time=number)


async def slow_async_log(user: str) -> AsyncIterator[event_pb2.Event]:
    for number, one in enumerate(event(user, "i1", event_id=str(n), time=n) for n in range(EVENTS)):
        if number % BATCH == 0:
            await asyncio.sleep(STREAM_S * BATCH / EVENTS)
        yield one


def stored_ids(service: Suite, user: str) -> list[int]:
    stored = service.client.list_events(user, page_size=1_000)
    return sorted(int(one.event.event_id) for one in stored)


def test_an_import_outlives_its_connections(short_lived: Suite) -> None:
    answers = list(short_lived.client.import_events(slow_log("anna"), batch_size=BATCH))
    assert len(answers) == EVENTS // BATCH
    assert sum(a.num_accepted + a.num_duplicate for a in answers) == EVENTS
    assert stored_ids(short_lived, "anna") == list(range(EVENTS))


async def test_an_import_of_the_aio_client_outlives_its_connections(short_lived: Suite) -> None:
    targets = Targets(profile=short_lived.targets.profile)
    async with AsyncGroundswellClient(targets) as client:
        imported = client.import_events(slow_async_log("bert"), batch_size=BATCH)
        answers = [answer async for answer in imported]
    assert len(answers) == EVENTS // BATCH
    assert sum(a.num_accepted + a.num_duplicate for a in answers) == EVENTS
    assert stored_ids(short_lived, "bert") == list(range(EVENTS))


def test_a_watch_outlives_its_connections(short_lived: Suite) -> None:
    watch = short_lived.client.watch_items()
    begin, seen = time.monotonic(), 0
    while time.monotonic() < begin + STREAM_S:
        short_lived.client.upsert_items([item("i1", f"Title {seen}")])
        while True:
            changes = next(watch)
            if any(c.item.title == f"Title {seen}" for c in changes.changes):
                break
        seen += 1
    assert seen > 0
