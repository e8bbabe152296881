"""session.windows: EncodeSession over Valkey against echo and a GET, and what windows take."""

import asyncio
import gc
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis

from groundswell.serving.channels import open_channel
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from groundswell.session_service.encoded_sessions import EncodedSessions
from groundswell.session_service.encoder import EncodedSession
from groundswell.session_service.items import ItemTable
from groundswell.session_service.windows.memory import MemoryWindows
from groundswell.session_service.windows.records import WindowEvent, columns
from groundswell.session_service.windows.valkey import ValkeyWindows
from groundswell.session_service.windows.window import Listing, Window
from tests.bench.deployment import canned, deployed
from tests.bench.harness import OURS, THEIRS, Line, Side, compare
from tests.bench.world import USER
from tests.support.valkey import Valkey, valkey

_METHOD = "/groundswell.session.v1.SessionService/EncodeSession"
_CALLS = 2_000
_NUM_SESSIONS = 100_000
_NUM_EVENTS = 50
_BOUND = 2**40
_MAX_RATIO, _MAX_MB, _MAX_BYTES = 1.5, 500.0, 1_200.0


def measure(folder: Path) -> list[Line]:
    """Measure the calls, and the memory of 100,000 sessions in the process and in Valkey."""
    with valkey(folder / "valkey") as server:
        with deployed(folder, {"GROUNDSWELL_WINDOWS_URL": server.url}) as deployment:
            lines = asyncio.run(_stored(deployment.session, folder, server))
        used = asyncio.run(_valkey_bytes(server))
    taken_mb = asyncio.run(_memory_mb())
    return [
        *lines,
        _held("session.windows.memory", taken_mb, "MB for 100,000 sessions", _MAX_MB),
        _held("session.windows.valkey", used, "bytes a session in Valkey", _MAX_BYTES),
    ]


def _held(name: str, value: float, unit: str, target: float) -> Line:
    return Line(name, value, unit, target, value <= target)


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
                lines = await compare("session.windows.stored", "echo and a GET", sides, _CALLS)
    await client.aclose()
    first = lines[0]
    return [_held(first.name, first.value, first.unit, _MAX_RATIO), *lines[1:]]


def _window(user: int) -> Window:
    events = [
        WindowEvent(1_700_000_000_000_000 + user + n, n + 1, 1 + (user + n) % 9_999, 2, b"abc")
        for n in range(_NUM_EVENTS)
    ]
    return Window(_NUM_EVENTS + 1).relisted(
        Listing(events, _NUM_EVENTS, "0123456789abcdef" * 2),
        capacity=_NUM_EVENTS + 1,
        known=0,
        now_us=1_700_000_000_000_000,
    )


class _Encoder:
    """Gives sessions of the real size, without a model."""

    def __init__(self) -> None:
        self.items = ItemTable(64)

    async def encode(self, records: bytes) -> EncodedSession:
        read = columns(records)
        vector = np.ones(64, np.float32)
        return EncodedSession("bundle", vector, 1, 1, read.item_nos, read.actions)


async def _memory_mb() -> float:
    """The growth of this process by the windows and the encoded sessions of all users."""
    windows = MemoryWindows(_NUM_SESSIONS, _BOUND)
    encoder: Any = _Encoder()
    sessions = EncodedSessions(encoder, max_users=_NUM_SESSIONS, max_bytes=_BOUND)
    gc.collect()
    before = _resident_bytes()
    for user in range(_NUM_SESSIONS):
        window, key = _window(user), user.to_bytes(32, "big")
        await windows.swap(key, None, window)
        await sessions.of(key, window)
    gc.collect()
    return (_resident_bytes() - before) / 1e6


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _valkey_bytes(server: Valkey) -> float:
    """The growth of a server's memory by one window, over 10,000 of them."""
    server.run("FLUSHALL")
    store = ValkeyWindows(server.url, timeout_s=5.0, keep_s=3_600.0)
    before, num_windows = _used(server), _NUM_SESSIONS // 10
    for user in range(num_windows):
        await store.swap(os.urandom(32), None, _window(user))
    await store.close()
    return (_used(server) - before) / num_windows


def _used(server: Valkey) -> int:
    return int(server.run("INFO", "memory")["used_memory_dataset"])
