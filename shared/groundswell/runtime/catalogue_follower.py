"""Keeps a service's copy of the catalogue equal to it, also over a restore of the database."""

from typing import Generic, Protocol, TypeVar

import grpc
import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.profile.v1.catalogue_service_pb2 import ItemChange, WatchItemsResponse
from groundswell.runtime.catalogue_stream import CatalogueStream
from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import vector_from_proto

_log = structlog.get_logger(__name__)

C = TypeVar("C")


class Copies(Protocol[C]):
    """What a service does with its copies of the catalogue."""

    async def make(self) -> C:
        """Make a copy without items."""

    async def change(self, copy: C, message: WatchItemsResponse) -> None:
        """Take the changes of a message. Taking them twice gives the same as taking them once."""

    async def use(self, copy: C, lineage: str) -> C:
        """Answer calls with a copy that has caught up; return the copy to follow from now on."""

    async def close(self, copy: C) -> None:
        """Free a copy that is not used any more."""


class CatalogueFollower(Generic[C]):
    """Follows the catalogue for one bundle.

    After a restore of the database all items come again, and their numbers may name other items.
    They fill another copy, and calls are answered with the first one until the other is complete.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        bundle_id: str,
        copies: Copies[C],
        first: C,
        *,
        with_content: bool,
    ) -> None:
        self.copy = first
        """The copy that is in use."""
        self._copies = copies
        self._bundle_id = bundle_id
        self._next: C | None = None
        self._stream = CatalogueStream(channel, bundle_id, self._take, with_content=with_content)

    async def start(self) -> None:
        """Follow in the background; return when the copy has caught up with the catalogue."""
        await self._stream.start()

    async def close(self) -> None:
        """Stop following, and free the copies."""
        await self._stream.close()
        await self._drop_next()
        await self._copies.close(self.copy)

    async def _take(self, message: WatchItemsResponse) -> None:
        if message.reset:
            _log.warning("catalogue_starts_over", bundle_id=self._bundle_id)
            await self._drop_next()
            self._next = await self._copies.make()
        copy = self.copy if self._next is None else self._next
        await self._copies.change(copy, message)
        if message.caught_up:
            self.copy, self._next = await self._copies.use(copy, message.lineage), None

    async def _drop_next(self) -> None:
        if self._next is not None:
            await self._copies.close(self._next)
            self._next = None


def item_vector(change: ItemChange, dimension: int, bundle_id: str) -> NDArray[np.float32] | None:
    """Return an item's vector [d]; None while its text waits for the encoder.

    A vector that is wrong counts as none: it must neither end the stream nor reach a model.
    """
    if not change.vector.values:
        return None
    try:
        return vector_from_proto(change.vector, dimension, bundle_id)
    except ServiceError as error:
        count("item_vectors_refused")
        _log.error("item_vector_refused", reason=error.reason, item_no=change.item.item_no)
        return None
