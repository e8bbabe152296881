"""session.memory: what 100,000 sessions of 50 events take, in the process and in Valkey."""

import asyncio
import gc
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.session_service.encoded_sessions import EncodedSessions
from groundswell.session_service.encoder import EncodedSession
from groundswell.session_service.items import ItemTable
from groundswell.session_service.windows.memory import MemoryWindows
from groundswell.session_service.windows.records import WindowEvent, columns
from groundswell.session_service.windows.valkey import ValkeyWindows
from groundswell.session_service.windows.window import Listing, Window
from tests.bench.harness import Line
from tests.support.valkey import Valkey, valkey

_NUM_SESSIONS = 100_000
_NUM_EVENTS = 50
_BOUND = 2**40
_MAX_MB, _MAX_BYTES = 500.0, 1_200.0


def measure(folder: Path) -> list[Line]:
    """Measure windows and encoded sessions in this process, and windows in a Valkey."""
    with valkey(folder) as server:
        used = asyncio.run(_valkey_bytes(server))
    taken_mb = asyncio.run(_memory_mb())
    return [
        Line("session.memory", taken_mb, f"MB for {_NUM_SESSIONS:,} sessions").at_most(_MAX_MB),
        Line("session.memory.valkey", used, "bytes a session in Valkey").at_most(_MAX_BYTES),
    ]


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
    store = ValkeyWindows(server.url, timeout_s=5.0, keep_s=3_600.0)
    before, num_windows = _used(server), _NUM_SESSIONS // 10
    for user in range(num_windows):
        await store.swap(os.urandom(32), None, _window(user))
    await store.close()
    return (_used(server) - before) / num_windows


def _used(server: Valkey) -> int:
    return int(server.run("INFO", "memory")["used_memory_dataset"])
