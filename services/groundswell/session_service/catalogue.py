"""Keeps a bundle's table of items equal to the catalogue of the profile service."""

import grpc
import structlog

from groundswell.profile.v1.catalogue_service_pb2 import ItemChange, WatchItemsResponse
from groundswell.runtime.catalogue_stream import CatalogueStream
from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import vector_from_proto
from groundswell.session_service.items import ItemTable

_log = structlog.get_logger(__name__)


class CatalogueFollower:
    """Keeps an ItemTable equal to the catalogue."""

    def __init__(self, channel: grpc.aio.Channel, bundle_id: str, dimension: int) -> None:
        self.items = ItemTable(dimension)
        self._bundle_id = bundle_id
        self._dimension = dimension
        self._next: ItemTable | None = None
        """The table that is filled after a restore of the database; `items` stay until it is whole.
        """
        self._stream = CatalogueStream(channel, bundle_id, self._take, with_content=False)

    async def start(self) -> None:
        """Follow in the background; return when the table has caught up with the catalogue."""
        await self._stream.start()

    async def close(self) -> None:
        """Stop following."""
        await self._stream.close()

    async def _take(self, message: WatchItemsResponse) -> None:
        if message.reset:
            _log.warning("catalogue_starts_over", bundle_id=self._bundle_id)
            self._next = ItemTable(self._dimension)
        table = self.items if self._next is None else self._next
        for change in message.changes:
            self._take_change(table, change)
        if not message.caught_up:
            return
        table.lineage = message.lineage
        if self._next is not None:
            self.items.become(self._next)
            self._next = None

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
