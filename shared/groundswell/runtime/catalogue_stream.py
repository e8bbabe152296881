"""Reads every change of the profile service's catalogue, over any number of broken streams."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import structlog

from groundswell.profile.v1.catalogue_service_pb2 import WatchItemsRequest, WatchItemsResponse
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.runtime.backoff import ExponentialBackoff

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 5.0
_STREAM_TIMEOUT_S = 900.0
"""A stream never ends by itself. It is opened again after this time, from the last revision, so
that a stream whose connection died unnoticed does not stay for longer."""


class CatalogueStream:
    """Hands the messages of WatchItems to `take`, in their order, and misses none.

    A message whose `take` fails comes again with the next stream. So taking one twice must give the
    same result as taking it once.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        bundle_id: str,
        take: Callable[[WatchItemsResponse], Awaitable[None]],
        *,
        with_content: bool,
    ) -> None:
        self._stub = CatalogueServiceStub(channel)
        self._bundle_id = bundle_id
        self._take = take
        self._with_content = with_content
        self._revision = 0
        self._lineage = ""
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow in the background; return when all of the catalogue was taken once."""
        self._task = asyncio.create_task(self._follow())
        await self._caught_up.wait()

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        backoff = ExponentialBackoff(_FIRST_DELAY_S, _LAST_DELAY_S)
        while True:
            revision = self._revision
            problem = await self._follow_once()
            if self._revision != revision:
                backoff.reset()
            wait_s = backoff.next_s()
            _log.info("catalogue_stream_ended", problem=problem, again_in_s=round(wait_s, 2))
            await asyncio.sleep(wait_s)

    async def _follow_once(self) -> str:
        """Read one stream to its end; return why it ended."""
        request = WatchItemsRequest(
            since_revision=self._revision,
            lineage=self._lineage,
            bundle_id=self._bundle_id,
            with_content=self._with_content,
        )
        try:
            async for message in self._stub.WatchItems(request, timeout=_STREAM_TIMEOUT_S):
                await self._take(message)
                self._revision, self._lineage = message.revision, message.lineage
                if message.caught_up:
                    self._caught_up.set()
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except Exception:  # noqa: BLE001 - without a next stream the items would be old for ever
            _log.exception("catalogue_change_not_taken", bundle_id=self._bundle_id)
            return "a change could not be taken"
        return "the profile service ended it"
