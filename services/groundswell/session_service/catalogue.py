"""Follows the catalogue of the profile service for one bundle, and never misses a change."""

import asyncio
import random

import grpc
import structlog

from groundswell.profile.v1.catalogue_service_pb2 import (
    ItemChange,
    WatchItemsRequest,
    WatchItemsResponse,
)
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import vector_from_proto
from groundswell.session_service.items import ItemTable

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 5.0
# The stream never ends by itself. Opening it anew now and then costs nothing, since it goes on from
# the last revision, and bounds how long a stream that died unnoticed can stay.
_STREAM_TIMEOUT_S = 900.0


class CatalogueFollower:
    """Keeps an ItemTable at what the catalogue holds, over any number of broken streams."""

    def __init__(self, channel: grpc.aio.Channel, bundle_id: str, dimension: int) -> None:
        self.items = ItemTable(dimension)
        self._stub = CatalogueServiceStub(channel)
        self._bundle_id = bundle_id
        self._dimension = dimension
        self._revision = 0
        self._lineage = ""
        self._anew: ItemTable | None = None
        """Being filled after a restore of the database; until it is whole, `items` stay."""
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow in the background; return when the table has caught up with the catalogue."""
        self._task = asyncio.create_task(self._follow())
        await self._caught_up.wait()

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        delay_s = _FIRST_DELAY_S
        while True:
            revision = self._revision
            problem = await self._follow_once()
            if self._revision != revision:
                delay_s = _FIRST_DELAY_S
            wait_s = delay_s * random.uniform(0.5, 1.0)
            _log.info("catalogue_stream_ended", problem=problem, again_in_s=round(wait_s, 2))
            await asyncio.sleep(wait_s)
            delay_s = min(2 * delay_s, _LAST_DELAY_S)

    async def _follow_once(self) -> str:
        """Read one stream to its end; return why it ended."""
        request = WatchItemsRequest(
            since_revision=self._revision,
            lineage=self._lineage,
            bundle_id=self._bundle_id,
            with_content=False,
        )
        try:
            async for message in self._stub.WatchItems(request, timeout=_STREAM_TIMEOUT_S):
                self._take(message)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except Exception:  # noqa: BLE001 - a table that stops following would go stale unseen
            _log.exception("catalogue_change_not_taken", bundle_id=self._bundle_id)
            return "a change could not be taken"
        return "the profile service ended it"

    def _take(self, message: WatchItemsResponse) -> None:
        if message.reset:
            _log.warning("catalogue_starts_over", bundle_id=self._bundle_id)
            self._anew = ItemTable(self._dimension)
        table = self.items if self._anew is None else self._anew
        for change in message.changes:
            self._take_change(table, change)
        self._revision, self._lineage = message.revision, message.lineage
        if not message.caught_up:
            return
        table.lineage = message.lineage
        if self._anew is not None:
            self.items.become(self._anew)
            self._anew = None
        self._caught_up.set()

    def _take_change(self, table: ItemTable, change: ItemChange) -> None:
        item = change.item
        if change.deleted:
            table.delete(item.item_id, item.item_no)
            return
        vector = None
        if change.vector.values:
            try:
                vector = vector_from_proto(change.vector, self._dimension, self._bundle_id)
            except ServiceError as error:
                # One bad vector must neither end the stream nor reach a model.
                count("item_vectors_refused")
                _log.error("item_vector_refused", item_no=item.item_no, problem=str(error))
        table.upsert(item.item_id, item.item_no, vector)
