"""session.stored, .fresh, .written: EncodeSession against an empty call of the same request."""

import asyncio
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from groundswell.client import event
from groundswell.common.v1.event_pb2 import InlineEvents
from groundswell.serving.channels import open_channel
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest, RecordEventsRequest
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from tests.bench.deployment import Deployment, canned, deployed
from tests.bench.harness import OURS, THEIRS, Line, Side, compare, compare_throughput
from tests.bench.world import USER

if TYPE_CHECKING:
    from groundswell.session.v1.session_service_pb2_grpc import SessionServiceAsyncStub

_CALLS = 2_000
_FRESH_CALLS = 500
_NUM_INLINE = 50
_MAX_STORED, _MIN_STORED_PER_S, _MAX_FRESH = 1.3, 0.7, 2.0
_METHOD = "/groundswell.session.v1.SessionService/EncodeSession"


def measure(folder: Path) -> list[Line]:
    """Measure all: a window that did not change, a visitor's events, and one just written to."""
    with deployed(folder) as deployment:
        return asyncio.run(_measure(deployment, folder))


async def _measure(deployment: Deployment, folder: Path) -> list[Line]:
    async with open_channel(deployment.session) as channel:
        ours = SessionServiceStub(channel)
        answer = await ours.EncodeSession(EncodeSessionRequest(user_id=USER))
        with canned(folder, {_METHOD: answer}) as echo:
            async with open_channel(echo) as echo_channel:
                return await _lines(deployment, ours, SessionServiceStub(echo_channel))


async def _lines(
    deployment: Deployment, ours: "SessionServiceAsyncStub", theirs: "SessionServiceAsyncStub"
) -> list[Line]:
    ids = [item_id for item_id, _, _ in deployment.world.items]
    items = itertools.cycle(ids)

    async def write() -> None:
        await ours.RecordEvents(RecordEventsRequest(events=[event(USER, next(items), "view")]))

    request = EncodeSessionRequest(user_id=USER)
    visit = [event("", item_id, "view") for item_id in ids[:_NUM_INLINE]]
    inline = EncodeSessionRequest(inline_events=InlineEvents(events=visit))
    echo = Side(lambda: theirs.EncodeSession(request))
    stored = {OURS: Side(lambda: ours.EncodeSession(request)), THEIRS: echo}
    fresh = {
        OURS: Side(lambda: ours.EncodeSession(inline)),
        THEIRS: Side(lambda: theirs.EncodeSession(inline)),
    }
    written = {OURS: Side(lambda: ours.EncodeSession(request), prepare=write), THEIRS: echo}
    of_stored, *more_of_stored = await compare("session.stored", "echo", stored, _CALLS)
    of_fresh, *more_of_fresh = await compare("session.fresh", "echo", fresh, _FRESH_CALLS)
    per_s = await compare_throughput("session.stored", "echo", stored)
    return [
        of_stored.at_most(_MAX_STORED),
        *more_of_stored,
        per_s.at_least(_MIN_STORED_PER_S),
        of_fresh.at_most(_MAX_FRESH),
        *more_of_fresh,
        await compare_throughput("session.fresh", "echo", fresh),
        *await compare("session.written", "echo", written, _FRESH_CALLS),
    ]
