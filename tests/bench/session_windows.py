"""session.windows: EncodeSession over Valkey against echo and a GET."""

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from groundswell.serving.channels import open_channel
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from tests.bench.deployment import canned, deployed
from tests.bench.harness import OURS, THEIRS, Line, Side, compare
from tests.bench.world import USER
from tests.support.valkey import Valkey, valkey

_METHOD = "/groundswell.session.v1.SessionService/EncodeSession"
_CALLS = 2_000
_MAX_RATIO = 1.5


def measure(folder: Path) -> list[Line]:
    """Measure calls for a window that did not change."""
    with (
        valkey(folder / "valkey") as server,
        deployed(folder, {"GROUNDSWELL_WINDOWS_URL": server.url}) as deployment,
    ):
        return asyncio.run(_stored(deployment.session, folder, server))


async def _stored(address: str, folder: Path, server: Valkey) -> list[Line]:
    request = EncodeSessionRequest(user_id=USER)
    client = Redis.from_url(server.url)
    async with open_channel(address) as channel:
        ours = SessionServiceStub(channel)
        answer = await ours.EncodeSession(request)
        key = await client.randomkey() or b""
        with canned(folder, {_METHOD: answer}) as echo:
            async with open_channel(echo) as echo_channel:
                theirs = SessionServiceStub(echo_channel)

                async def echo_and_get() -> None:
                    await theirs.EncodeSession(request)
                    await client.get(key)

                sides = {
                    OURS: Side(lambda: ours.EncodeSession(request)),
                    THEIRS: Side(echo_and_get),
                }
                first, *rest = await compare(
                    "session.windows.stored", "echo and a GET", sides, _CALLS
                )
    await client.aclose()
    return [first.at_most(_MAX_RATIO), *rest]
