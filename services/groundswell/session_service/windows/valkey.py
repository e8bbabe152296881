"""Keeps windows in Valkey or Redis, where all replicas of the session service find them."""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha1
from importlib.resources import files
from itertools import islice
from typing import TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.telemetry import count, gauge
from groundswell.session_service.windows.records import pack
from groundswell.session_service.windows.window import Window, Written, lineage_bytes

_log = structlog.get_logger(__name__)
R = TypeVar("R")

_PREFIX = b"gsw2:"
"""Of every key; the number is that of the layout of windows."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.25, 2.0
"""The first and the longest wait between two tries while the store is down."""
_MAX_MISSED = 100_000
"""How many users whose writes the store has missed are remembered. The others' windows are right
again after the time for which a window counts as current."""
_DELETE_BATCH = 1_000
"""How many of their windows are deleted by one command."""
_TAKE = (
    files("groundswell.session_service.windows").joinpath("take.lua").read_text(encoding="utf-8")
)
_SWAP = """
if redis.call('GET', KEYS[1]) ~= (ARGV[1] ~= '' and ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class ValkeyWindows:
    """A WindowStore in a server of its own; each window leaves it `keep_s` after its last change.

    A call takes at most `timeout_s`. After a failure the store counts as down. While it is down,
    `get` returns None. Every write tries it again, so that a replica for which it is back misses
    none. Of the reads, one at a time does, with growing waits. The windows that missed a write
    meanwhile are deleted before the store is read again.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        gauge("session_windows_down", 0)
        self._client = Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        self._take_sha = sha1(_TAKE.encode()).hexdigest()
        self._swap_script = self._client.register_script(_SWAP)
        self._timeout_s = timeout_s
        self._keep_ms = int(keep_s * 1e3)
        self._clock = clock
        self._backoff = ExponentialBackoff(_FIRST_DELAY_S, _LONGEST_DELAY_S)
        self._again_at: float | None = None
        """When the store may be tried again; None while it is not down."""
        self._missed: set[bytes] = set()

    async def get(self, user_mark: bytes) -> Window | None:
        """Return a user's window; None when it is not held, or the store is down."""
        packed = await self._call(lambda: self._client.get(_PREFIX + user_mark))
        if not isinstance(packed, bytes):
            return None
        window = _read(packed)
        if window is None:
            await self._call(lambda: self._client.delete(_PREFIX + user_mark))
        return window

    async def get_all(self, user_marks: Sequence[bytes]) -> list[Window | None]:
        """Return the windows of users, in their order, in one round trip; see `get`."""
        found = await self._call(lambda: self._client.mget([_PREFIX + key for key in user_marks]))
        if found is None:
            return [None] * len(user_marks)
        return [_read(packed) if isinstance(packed, bytes) else None for packed in found]

    async def swap(self, user_mark: bytes, before: Window | None, after: Window) -> bool:
        """Hold `after` in the place of `before`; False when another window is held.

        While the store is down, the user counts as one whose write it missed: `after` may carry a
        doubt.
        """
        held = b"" if before is None else before.to_bytes()
        arguments = (held, after.to_bytes(), self._keep_ms)
        done = await self._call(lambda: self._swap_script([_PREFIX + user_mark], arguments))
        if done is None:
            self._miss([user_mark])
        return bool(done)

    async def take(self, written: Mapping[bytes, Written]) -> dict[bytes, Window]:
        """Let the windows of users take their writes, all in one round trip."""
        answers = await self._call(lambda: self._take(written), is_write=True)
        if answers is None:
            self._miss(written)
            return {}
        found = zip(written, answers, strict=True)
        windows = {key: _read(packed) for key, packed in found if packed is not None}
        return {key: window for key, window in windows.items() if window is not None}

    async def drop(self, user_marks: Collection[bytes]) -> None:
        """Delete the windows of users; while the store is down, before it is read again."""
        keys = list(user_marks)
        for start in range(0, len(keys), _DELETE_BATCH):
            part = keys[start : start + _DELETE_BATCH]
            if await self._call(partial(self._delete, part)) is None:
                self._miss(part)

    async def _delete(self, user_marks: Sequence[bytes]) -> int:
        deleted: int = await self._client.delete(*(_PREFIX + user_mark for user_mark in user_marks))
        return deleted

    def _miss(self, user_marks: Iterable[bytes]) -> None:
        self._missed.update(islice(user_marks, max(_MAX_MISSED - len(self._missed), 0)))

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def _take(self, written: Mapping[bytes, Written]) -> list[bytes | None]:
        try:
            return await self._run_take(written)
        except NoScriptError:
            # A server that was started again knows no script. A write counts once.
            await self._client.script_load(_TAKE)
            return await self._run_take(written)

    async def _run_take(self, written: Mapping[bytes, Written]) -> list[bytes | None]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for user_mark, write in written.items():
                pipeline.evalsha(
                    self._take_sha,
                    1,
                    _PREFIX + user_mark,
                    lineage_bytes(write.lineage),
                    struct.pack(">Q", write.history),
                    pack(write.accepted),
                    pack(write.duplicates),
                    struct.pack(">Q", write.now_us + 1),
                    self._keep_ms,
                )
            return await pipeline.execute()

    async def _call(
        self, command: Callable[[], Awaitable[R]], *, is_write: bool = False
    ) -> R | None:
        """Return the answer to a command; None when the store is down."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._again_at is not None:
                    if not is_write and self._clock() < self._again_at:
                        return None
                    await self._come_back()
                return await command()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        if self._again_at is None:
            count("session_windows_outages")
            gauge("session_windows_down", 1)
            _log.warning("windows_down", error=type(error).__name__)
        self._again_at = self._clock() + self._backoff.next_s()

    async def _come_back(self) -> None:
        """Try the store again, and delete what missed a write."""
        # The other reads do not wait for this try.
        self._again_at = self._clock() + _LONGEST_DELAY_S
        await self._client.ping()
        while self._missed:
            missed = list(islice(self._missed, _DELETE_BATCH))
            await self._delete(missed)
            self._missed.difference_update(missed)
        self._again_at = None
        self._backoff.reset()
        gauge("session_windows_down", 0)
        _log.info("windows_back")


def _read(packed: bytes) -> Window | None:
    """Read a window; None for bytes that another program wrote."""
    try:
        return Window.from_bytes(packed)
    except ValueError as error:
        _log.warning("window_unreadable", error=str(error))
        return None
