"""Keeps one bundle's ranker equal to the catalogue of the profile service."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import grpc
import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.common.v1.item_pb2 import AttributeValue, Item
from groundswell.profile.v1.catalogue_service_pb2 import ItemChange, WatchItemsResponse
from groundswell.ranker_service.bundle_ranker import BundleRanker, ItemChanges
from groundswell.ranker_service.catalogue import CatalogueItem, Value
from groundswell.ranker_service.filters import Kind
from groundswell.ranker_service.replicas import BundleSpace
from groundswell.runtime.catalogue_stream import CatalogueStream
from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import vector_from_proto

_log = structlog.get_logger(__name__)

_LONGEST_CALL_S = 60.0


class CatalogueFollower:
    """Keeps a ranker equal to the catalogue.

    After a restore of the database all items come again, and their numbers may name other items.
    They fill a second ranker while the first one ranks; the second one ranks once it is complete.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        ranker: BundleRanker,
        make_ranker: Callable[[], BundleRanker],
    ) -> None:
        """`make_ranker` makes another ranker of the same bundle, without items; it may block."""
        self.ranker = ranker
        """The ranker in use. A call that began with it may end with it: a replaced ranker works
        for another minute."""
        self._make_ranker = make_ranker
        self._next: BundleRanker | None = None
        """The ranker that is being filled after a restore."""
        self._replaced: set[asyncio.Task[None]] = set()
        bundle_id = ranker.space.bundle_id
        self._stream = CatalogueStream(channel, bundle_id, self._take, with_content=True)

    async def start(self) -> None:
        """Follow in the background; return when the ranker has caught up with the catalogue."""
        await self._stream.start()

    async def close(self) -> None:
        """Stop following and ranking."""
        await self._stream.close()
        for replaced in self._replaced:
            replaced.cancel()
        await asyncio.gather(*self._replaced, return_exceptions=True)
        if self._next is not None:
            await self._next.close()
        await self.ranker.close()

    async def _take(self, message: WatchItemsResponse) -> None:
        if message.reset:
            await self._begin_next()
        ranker = self.ranker if self._next is None else self._next
        await asyncio.to_thread(_change, ranker, message)
        if message.caught_up:
            await self._rank_with(ranker, message.lineage)

    async def _begin_next(self) -> None:
        _log.warning("catalogue_starts_over", bundle_id=self.ranker.space.bundle_id)
        if self._next is not None:
            await self._next.close()
            self._next = None
        self._next = await asyncio.to_thread(self._make_ranker)

    async def _rank_with(self, ranker: BundleRanker, lineage: str) -> None:
        """Rank with a ranker that has caught up with the catalogue."""
        ranker.space = replace(ranker.space, lineage=lineage)
        if ranker is self.ranker:
            return
        await ranker.warm_up()
        before, self.ranker, self._next = self.ranker, ranker, None
        _log.info("catalogue_is_whole_again", items=ranker.index.num_items)
        closing = asyncio.create_task(_close_later(before))
        self._replaced.add(closing)
        closing.add_done_callback(self._replaced.discard)


async def _close_later(ranker: BundleRanker) -> None:
    """Close a ranker once every call that began with it has ended."""
    try:
        await asyncio.sleep(_LONGEST_CALL_S)
    finally:
        await ranker.close()


def _change(ranker: BundleRanker, message: WatchItemsResponse) -> None:
    num_refused = ranker.change(item_changes(message, ranker.space))
    if num_refused:
        count("attributes_refused", num_refused)
        _log.error("attributes_refused", num=num_refused, problem="of another kind than before")


def item_changes(message: WatchItemsResponse, space: BundleSpace) -> ItemChanges:
    """Read a message; the last change of an item wins."""
    last = {change.item.item_no: change for change in message.changes}
    present = [change for change in last.values() if not change.deleted]
    return ItemChanges(
        items=[_catalogue_item(change.item) for change in present],
        vectors=[_vector(change, space) for change in present],
        deleted=np.array([no for no, change in last.items() if change.deleted], np.int64),
    )


def _vector(change: ItemChange, space: BundleSpace) -> NDArray[np.float32] | None:
    """Return an item's vector; None while its text waits for the encoder.

    One bad vector must neither end the stream nor reach the index.
    """
    if not change.vector.values:
        return None
    try:
        return vector_from_proto(change.vector, space.dimension, space.bundle_id)
    except ServiceError as error:
        count("item_vectors_refused")
        _log.error("item_vector_refused", reason=error.reason, item_no=change.item.item_no)
        return None


def _catalogue_item(item: Item) -> CatalogueItem:
    attributes = {name: _value(value) for name, value in item.attributes.items()}
    return CatalogueItem(
        item_no=item.item_no,
        item_id=item.item_id,
        title=item.title,
        categories=tuple(item.categories),
        attributes={name: value for name, value in attributes.items() if value is not None},
        available=item.available if item.HasField("available") else True,
    )


def _value(value: AttributeValue) -> tuple[Kind, Value] | None:
    match value.WhichOneof("kind"):
        case "text":
            return Kind.TEXT, value.text
        case "number":
            return Kind.NUMBER, value.number
        case "flag":
            return Kind.FLAG, value.flag
        case "texts":
            return Kind.TEXTS, list(value.texts.values)
    return None
