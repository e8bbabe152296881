"""Deletes what is over its time, in the background."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from groundswell.serving.errors import ServiceError

_log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 60.0


class Expiry:
    """Calls functions that delete old rows once a minute, each by the name of what it deletes."""

    def __init__(self, **expire: Callable[[], Awaitable[int]]) -> None:
        self._expire = expire
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for name, expire in self._expire.items():
                try:
                    await expire()
                except ServiceError as error:
                    _log.warning(f"{name}_not_expired", reason=error.reason)
            await asyncio.sleep(_LOOK_EVERY_S)
