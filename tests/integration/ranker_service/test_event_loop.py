"""Legal batches at their limits do not hold the event loop of the ranker for long."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from groundswell.artifacts.store import load_bundle
from groundswell.client import event
from groundswell.ranker.v1.ranker_service_pb2 import BatchRecommendRequest
from groundswell.ranker_service.process import main
from groundswell.ranker_service.settings import RankerSettings
from groundswell.serving.limits import MAX_REQUEST_BYTES
from groundswell.session.v1.session_service_pb2 import EncodeSessionResponse
from tests.integration.ranker_service.support import SERVICE, item, number
from tests.support.bundles import ITEMS
from tests.support.processes import SECRET, free_port, wait_serving
from tests.support.scripted import Scripted, vector

LONGEST_TURN_S = 0.010


def longest_turn_here_s() -> float:
    """Return the bound for this machine: on a slow one, thrice what it takes to read a request.

    Protobuf reads the largest request in one call, which no server can divide.
    """
    sent, times = denied_ids().SerializeToString(), []
    for _ in range(5):
        began = time.thread_time()
        BatchRecommendRequest.FromString(sent)
        times.append(time.thread_time() - began)
    return max(LONGEST_TURN_S, 3 * min(times))


async def longest_turn_s(call: Awaitable[Any]) -> float:
    """The longest processor time between two turns of this loop while something is awaited.

    Other processes do not count: on a busy machine they delay any turn.
    """
    longest, waiting = 0.0, asyncio.ensure_future(call)
    last = time.thread_time()
    while not waiting.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    waiting.result()
    return longest


@pytest.fixture
async def address(tiny: Path) -> AsyncIterator[str]:
    scripted, bundle, port = Scripted(), load_bundle(tiny), free_port()
    for row in range(len(ITEMS)):
        scripted.put(item(row))
    scripted.hold(bundle.id, {number(row): v for row, v in enumerate(bundle.item_vectors)})
    window = vector(np.ones(bundle.manifest.dimension), bundle.id)
    scripted.sessions["inline"] = EncodeSessionResponse(vector=window, num_window_events=1)
    settings = RankerSettings(
        secret=SECRET,
        port=port,
        bundles=tiny,
        profile_address=scripted.addresses["profile"],
        session_address=scripted.addresses["session"],
    )
    serving = asyncio.create_task(main(settings))
    try:
        await asyncio.to_thread(wait_serving, f"127.0.0.1:{port}", SERVICE)
        yield f"127.0.0.1:{port}"
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        scripted.stop()


def denied_ids() -> BatchRecommendRequest:
    batch = BatchRecommendRequest()
    for user in range(256):
        ids = [f"{n:05}" for n in range(2_250)]
        batch.requests.add(user_id=f"user {user}", deny_item_ids=ids)
    return batch


def longest_denied_lists() -> BatchRecommendRequest:
    batch = BatchRecommendRequest()
    for user in range(60):
        batch.requests.add(user_id=f"user {user}", deny_item_ids=[f"{n:04}" for n in range(10_000)])
    return batch


def inline_events() -> BatchRecommendRequest:
    batch = BatchRecommendRequest()
    then = datetime(2026, 1, 1, tzinfo=UTC)
    events = [event("", ITEMS[n % 20][0], time=then, event_id=f"{n}") for n in range(200)]
    for _ in range(256):
        batch.requests.add(page_size=10).inline_events.events.extend(events)
    return batch


@pytest.mark.parametrize("make", [denied_ids, longest_denied_lists, inline_events])
async def test_a_batch_at_its_limit_holds_the_event_loop_for_no_longer_than_10_ms(
    address: str, make: Callable[[], BatchRecommendRequest]
) -> None:
    sent = make().SerializeToString()
    assert len(sent) <= MAX_REQUEST_BYTES

    def call() -> None:
        # In a thread: what the client does must not count.
        with grpc.insecure_channel(address) as channel:
            send: Any = channel.unary_unary(f"/{SERVICE}/BatchRecommend")
            assert send(sent, timeout=60.0)

    idle_s = await longest_turn_s(asyncio.sleep(0.2))
    turns = [await longest_turn_s(asyncio.to_thread(call)) for _ in range(6)]
    assert min(turns) - idle_s <= longest_turn_here_s()
