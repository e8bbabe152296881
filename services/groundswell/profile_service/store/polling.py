"""Polls a value in the database once for all callers in this process that wait for its change."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

from groundswell.profile_service.store.signals import Signal
from groundswell.serving.errors import ServiceError

_log = structlog.get_logger(__name__)

_MAX_POLL_S = 2.0
"""The longest wait between two looks during an outage."""
_MAX_SHARE = 0.1
"""The share of time that looks may take."""


class SharedPoll:
    """Looks at a value while any caller waits, and signals when it has changed.

    The database is asked at most once in `poll_s`, for any number of callers. During an outage it
    is asked less often, and the callers go on waiting.
    """

    def __init__(
        self, look: Callable[[], Awaitable[object]], changed: Signal, poll_s: float
    ) -> None:
        self._look = look
        self._changed = changed
        self._poll_s = poll_s
        self._num_waiting = 0
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this is open, every change of the value is signalled.

        Take a mark of the signal before you read the value yourself. Then no change is missed.
        """
        self._num_waiting += 1
        if self._task is None:
            self._task = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._num_waiting -= 1
            if self._num_waiting == 0:
                self._task.cancel()
                self._task = None

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        last: object = None
        failed_s = self._poll_s
        while True:
            begin_s = loop.time()
            try:
                value = await self._look()
            except ServiceError:
                failed_s = min(2 * failed_s, max(_MAX_POLL_S, self._poll_s))
                await asyncio.sleep(failed_s)
                continue
            except Exception:  # noqa: BLE001 - else the callers would wait for ever
                _log.exception("poll_failed")
                await asyncio.sleep(max(_MAX_POLL_S, self._poll_s))
                continue
            failed_s = self._poll_s
            if value != last:
                last = value
                self._changed.notify()
            took_s = loop.time() - begin_s
            await asyncio.sleep(max(self._poll_s, took_s / _MAX_SHARE))
