"""Keeps one bundle's engine equal to the catalogue of the profile service."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import grpc
import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.common.v1.item_pb2 import AttributeValue, Item
from groundswell.profile.v1.catalogue_service_pb2 import ItemChange, WatchItemsResponse
from groundswell.ranker_service.catalogue import CatalogueItem, Value
from groundswell.ranker_service.engine import Engine, ItemChanges
from groundswell.ranker_service.filters import Kind
from groundswell.ranker_service.replicas import BundleSpace
from groundswell.serving.catalogue_stream import CatalogueStream
from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import vector_from_proto

_log = structlog.get_logger(__name__)

_LONGEST_CALL_S = 60.0


class CatalogueFollower:
    """Keeps an engine equal to the catalogue.

    After a restore of the database all items come again, and their numbers may name other items.
    They fill a second engine while the first one ranks; the second one ranks once it is complete.
    """

    def __init__(
        self, channel: grpc.aio.Channel, engine: Engine, make_engine: Callable[[], Engine]
    ) -> None:
        """`make_engine` makes another engine of the same bundle, without items; it may block."""
        self.engine = engine
        """The engine that ranks. A call that began with it may end with it: a replaced engine works
        for another minute."""
        self._make_engine = make_engine
        self._next: Engine | None = None
        """The engine that is being filled after a restore."""
        self._replaced: set[asyncio.Task[None]] = set()
        bundle_id = engine.space.bundle_id
        self._stream = CatalogueStream(channel, bundle_id, self._take, with_content=True)

    async def start(self) -> None:
        """Follow in the background; return when the engine has caught up with the catalogue."""
        await self._stream.start()

    async def close(self) -> None:
        """Stop following and ranking."""
        await self._stream.close()
        for replaced in self._replaced:
            replaced.cancel()
        await asyncio.gather(*self._replaced, return_exceptions=True)
        if self._next is not None:
            await self._next.close()
        await self.engine.close()

    async def _take(self, message: WatchItemsResponse) -> None:
        if message.reset:
            await self._begin_next()
        engine = self.engine if self._next is None else self._next
        await asyncio.to_thread(_change, engine, message)
        if message.caught_up:
            await self._rank_with(engine, message.lineage)

    async def _begin_next(self) -> None:
        _log.warning("catalogue_starts_over", bundle_id=self.engine.space.bundle_id)
        if self._next is not None:
            await self._next.close()
            self._next = None
        self._next = await asyncio.to_thread(self._make_engine)

    async def _rank_with(self, engine: Engine, lineage: str) -> None:
        """Let an engine rank that has caught up with the catalogue."""
        engine.space = replace(engine.space, lineage=lineage)
        if engine is self.engine:
            return
        await engine.warm_up()
        before, self.engine, self._next = self.engine, engine, None
        _log.info("catalogue_is_whole_again", items=engine.index.num_items)
        closing = asyncio.create_task(_close_later(before))
        self._replaced.add(closing)
        closing.add_done_callback(self._replaced.discard)


async def _close_later(engine: Engine) -> None:
    """Close an engine once every call that began with it has ended."""
    try:
        await asyncio.sleep(_LONGEST_CALL_S)
    finally:
        await engine.close()


def _change(engine: Engine, message: WatchItemsResponse) -> None:
    num_refused = engine.change(item_changes(message, engine.space))
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
