"""Deletes what is over its time, in the background."""

import asyncio
from collections.abc import Awaitable, Callable

from groundswell.profile_service.background import job_failed

_LOOK_EVERY_S = 60.0


class Expiry:
    """Calls functions that delete old rows once a minute, each by the name of what it deletes.

    None waits for another one, which may delete for hours.
    """

    def __init__(self, **expire: Callable[[], Awaitable[int]]) -> None:
        self._expire = expire
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(_keep(*each)) for each in self._expire.items()]

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _keep(name: str, expire: Callable[[], Awaitable[int]]) -> None:
    while True:
        try:
            await expire()
        except Exception as error:  # noqa: BLE001 - else nothing of it would be deleted any more
            job_failed(f"expire_{name}", error)
        await asyncio.sleep(_LOOK_EVERY_S)
