"""Listens to what PostgreSQL says has changed, whoever changed it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any
from uuid import uuid4

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from groundswell.profile_service.store.changes import KnownChanges
from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.telemetry import count, gauge

_log = structlog.get_logger(__name__)

_BEAT_S = 1.0
_MAX_SILENCE_S = 3.0
"""The changes count as known so long after the sending of the newest heartbeat that came back."""
_FIRST_WAIT_S, _LAST_WAIT_S = 0.1, 2.0
_BEAT = "b"
_SEND = "SELECT pg_notify('groundswell_' || current_schema(), {})"


class ChangeFeed:
    """Publishes every change that is committed, in the order of the commits.

    Triggers on the tables send the changes, in the transaction that makes them, so that processes
    of the previous release send them too. A heartbeat goes the same way: once it has come back,
    everything that was committed before it was sent has been published. Without one for 3 s, or
    without a connection, the changes are not live. After a connection was lost everything counts as
    changed.
    """

    def __init__(self, engine: AsyncEngine, changes: KnownChanges) -> None:
        """Take an engine whose connections no pool holds."""
        self._engine = engine
        self._changes = changes
        self._name = uuid4().hex
        self._beats: dict[str, tuple[float, asyncio.Future[None]]] = {}
        """When each heartbeat was sent that has not come back, by its message."""
        self._num_beats = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; return with the first heartbeat, or without one after a while."""
        message, first = self._beat()
        self._task = asyncio.create_task(self._keep_listening(message))
        await asyncio.wait({first}, timeout=_MAX_SILENCE_S)

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def caught_up(
        self, write: Callable[[Callable[[Connection], Any]], Awaitable[Any]]
    ) -> None:
        """Return when all that is committed now is published, or when the changes are not live.

        `write` runs a transaction.
        """
        if not self._changes.live:
            return
        message, back = self._beat()
        await write(lambda c: c.execute(text(_SEND.format(":message")), {"message": message}))
        await asyncio.wait({back}, timeout=_MAX_SILENCE_S)

    def _beat(self) -> tuple[str, asyncio.Future[None]]:
        self._num_beats += 1
        message = f"{_BEAT}:{self._name}:{self._num_beats}"
        back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._beats[message] = time.monotonic(), back
        return message, back

    async def _keep_listening(self, first: str) -> None:
        backoff = ExponentialBackoff(_FIRST_WAIT_S, _LAST_WAIT_S)
        while True:
            try:
                async with self._connection() as connection:
                    backoff.reset()
                    await self._listen(connection, first)
            except (psycopg.Error, SQLAlchemyError, TimeoutError, OSError) as error:
                count("change_feeds_lost")
                _log.warning("change_feed_lost", kind=type(error).__name__)
            finally:
                self._lost()
            first, _ = self._beat()
            await asyncio.sleep(backoff.next_s())

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Give a connection of the driver, which alone can listen."""
        async with self._engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            try:
                yield driver
            finally:
                with suppress(Exception):
                    await driver.close()
                await connection.invalidate()

    async def _listen(self, connection: psycopg.AsyncConnection[Any], message: str) -> None:
        await connection.set_autocommit(True)
        # A heartbeat need not reach the disk.
        await connection.execute("SET synchronous_commit = off")
        cursor = await connection.execute("SELECT 'groundswell_' || current_schema()")
        (channel,) = await cursor.fetchone() or ("",)
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        is_first = True
        while True:
            async with asyncio.timeout(_MAX_SILENCE_S):
                await connection.execute(_SEND.format("%s"), (message,))
            async for notice in connection.notifies(timeout=_BEAT_S):
                self._take(notice.payload, is_first=is_first)
                is_first = is_first and not self._changes.live
            if message in self._beats:
                raise TimeoutError  # it never came back
            message, _ = self._beat()

    def _take(self, payload: str, *, is_first: bool) -> None:
        kind, _, numbers = payload.partition(":")
        if kind != _BEAT:
            self._changes.publish([(kind, int(n)) for n in numbers.split(",")])
            return
        sent_s, back = self._beats.pop(payload, (0.0, None))
        if back is None:
            return  # that of another process
        if is_first:
            # What changed before this connection listened was not heard.
            self._changes.may_lack_some()
        self._changes.live_until = max(self._changes.live_until, sent_s + _MAX_SILENCE_S)
        gauge("change_feed_live", True)
        if not back.done():
            back.set_result(None)

    def _lost(self) -> None:
        self._changes.live_until = -inf
        gauge("change_feed_live", False)
        for _, back in self._beats.values():
            back.cancel()
        self._beats.clear()
