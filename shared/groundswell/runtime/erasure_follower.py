"""Lets a process drop what it holds of erased users, over any number of broken streams."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any

import grpc
import structlog

from groundswell.profile.v1.user_data_service_pb2 import WatchErasuresRequest
from groundswell.profile.v1.user_data_service_pb2_grpc import UserDataServiceStub
from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.health import Health
from groundswell.serving.telemetry import count, gauge

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S, _LAST_DELAY_S = 0.1, 5.0
_STREAM_TIMEOUT_S = 900.0
"""A stream is opened again after this time, so that one whose connection died does not stay."""
_AGAIN_S = 40.0
"""Longer than any call: what one that began before an erasure puts into a cache goes too."""
_MARK_BYTES = 32
_DIFFERS = (
    "the profile service has other secrets, so erasures do not reach this process: give both the "
    "same GROUNDSWELL_SECRET and GROUNDSWELL_PREVIOUS_SECRETS; see docs/secrets.md"
)


class ErasureFollower:
    """Hands the marks of erased users to `drop`: at once, and again when old calls have ended.

    `checks` are the check values of the process's secrets, oldest first. While the profile service
    has others, no mark is one of this process, so `health` says NOT_SERVING for the whole process.
    """

    def __init__(
        self,
        profile: grpc.aio.Channel,
        drop: Callable[[Collection[bytes]], Awaitable[None]],
        checks: Sequence[str],
        health: Health,
    ) -> None:
        self._stub = UserDataServiceStub(profile)
        self._drop = drop
        self._checks = list(checks)
        self._health = health
        self._revision = 0
        self._lineage = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to follow in the background."""
        self._begin(self._follow())

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self) -> None:
        backoff = ExponentialBackoff(_FIRST_DELAY_S, _LAST_DELAY_S)
        while True:
            request = WatchErasuresRequest(since_revision=self._revision, lineage=self._lineage)
            try:
                async for message in self._stub.WatchErasures(request, timeout=_STREAM_TIMEOUT_S):
                    if message.secret_checks:
                        await self._compare(message.secret_checks)
                    await self._take(message.marks)
                    self._revision, self._lineage = message.revision, message.lineage
                    gauge("erasures_applied_revision", message.revision)
                    backoff.reset()
            except grpc.aio.AioRpcError as error:
                _log.info("erasure_stream_ended", problem=error.code().name)
            await asyncio.sleep(backoff.next_s())

    async def _compare(self, theirs: Sequence[str]) -> None:
        """Report whether the profile service has the secrets of this process, or more."""
        differs = list(theirs[: len(self._checks)]) != self._checks
        if differs:
            _log.error("secret_differs", detail=_DIFFERS)
        gauge("secret_differs", differs)
        await self._health.report_all(failing=differs)

    async def _take(self, packed: bytes) -> None:
        places = range(0, len(packed), _MARK_BYTES)
        marks = {packed[place : place + _MARK_BYTES] for place in places}
        if marks:
            count("erasures_applied", len(marks))
            await self._drop(marks)
            self._begin(self._drop_again(marks))

    async def _drop_again(self, marks: Collection[bytes]) -> None:
        await asyncio.sleep(_AGAIN_S)
        await self._drop(marks)
