"""session.stored and session.fresh: EncodeSession against an empty call of the same payload."""

import asyncio
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from groundswell.client import event
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
_METHOD = "/groundswell.session.v1.SessionService/EncodeSession"


def measure(folder: Path) -> list[Line]:
    """Measure both: the vector of a window that did not change, and of one that just did."""
    with deployed(folder) as deployment:
        return asyncio.run(_measure(deployment, folder))


async def _measure(deployment: Deployment, folder: Path) -> list[Line]:
    request = EncodeSessionRequest(user_id=USER)
    async with open_channel(deployment.session) as channel:
        ours = SessionServiceStub(channel)
        answer = await ours.EncodeSession(request)
        with canned(folder, {_METHOD: answer}) as echo:
            async with open_channel(echo) as echo_channel:
                theirs = SessionServiceStub(echo_channel)
                return await _lines(deployment, ours, theirs, request)


async def _lines(
    deployment: Deployment,
    ours: "SessionServiceAsyncStub",
    theirs: "SessionServiceAsyncStub",
    request: EncodeSessionRequest,
) -> list[Line]:
    echo = Side(lambda: theirs.EncodeSession(request))
    stored = {OURS: Side(lambda: ours.EncodeSession(request)), THEIRS: echo}
    items = itertools.cycle(item_id for item_id, _, _ in deployment.world.items)

    async def write() -> None:
        await ours.RecordEvents(RecordEventsRequest(events=[event(USER, next(items), "view")]))

    fresh = {OURS: Side(lambda: ours.EncodeSession(request), prepare=write), THEIRS: echo}
    return [
        *await compare("session.stored", "echo", stored, _CALLS),
        await compare_throughput("session.stored", "echo", stored),
        *await compare("session.fresh", "echo", fresh, _FRESH_CALLS),
    ]
