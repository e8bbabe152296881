"""Follows the catalogue of the profile service into one bundle's engine; never misses a change."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import grpc
import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.common.v1.item_pb2 import AttributeValue, Item
from groundswell.profile.v1.catalogue_service_pb2 import (
    ItemChange,
    WatchItemsRequest,
    WatchItemsResponse,
)
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.ranker_service.catalogue import CatalogueItem, Value
from groundswell.ranker_service.engine import Engine, ItemChanges
from groundswell.ranker_service.filters import Kind
from groundswell.ranker_service.replicas import BundleSpace
from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import vector_from_proto

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 5.0
# The stream never ends by itself. Opening it anew costs nothing, since it goes on from the last
# revision, and bounds how long a stream that died unnoticed can stay.
_STREAM_TIMEOUT_S = 900.0
_LONGEST_CALL_S = 60.0


class CatalogueFollower:
    """Keeps an engine at what the catalogue holds, over any number of broken streams.

    After a restore of the database everything comes again, and its numbers may name other items. A
    second engine takes it, while the first one ranks on; they change places when it is whole.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        engine: Engine,
        make_engine: Callable[[], Engine],
    ) -> None:
        """`make_engine` makes another engine of the same bundle, without items; it may block."""
        self.engine = engine
        """What ranks. Whoever begins with it goes on with it: it works for a while after it was
        replaced."""
        self._stub = CatalogueServiceStub(channel)
        self._make_engine = make_engine
        self._anew: Engine | None = None
        self._replaced: set[asyncio.Task[None]] = set()
        self._revision = 0
        self._lineage = ""
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow in the background; return when the engine has caught up with the catalogue."""
        self._task = asyncio.create_task(self._follow())
        await self._caught_up.wait()

    async def close(self) -> None:
        """Stop following and ranking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for replaced in self._replaced:
            replaced.cancel()
        await asyncio.gather(*self._replaced, return_exceptions=True)
        if self._anew is not None:
            await self._anew.close()
        await self.engine.close()

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
            bundle_id=self.engine.space.bundle_id,
        )
        try:
            async for message in self._stub.WatchItems(request, timeout=_STREAM_TIMEOUT_S):
                if message.reset:
                    await self._begin_anew()
                engine = self.engine if self._anew is None else self._anew
                await asyncio.to_thread(_take, engine, message)
                self._revision, self._lineage = message.revision, message.lineage
                if message.caught_up:
                    await self._take_place(engine)
                    self._caught_up.set()
        except grpc.aio.AioRpcError as error:
            return error.code().name
        except Exception:  # noqa: BLE001 - an index that stops following would go stale unseen
            _log.exception("catalogue_change_not_taken")
            return "a change could not be taken"
        return "the profile service ended it"

    async def _begin_anew(self) -> None:
        _log.warning("catalogue_starts_over", bundle_id=self.engine.space.bundle_id)
        if self._anew is not None:
            await self._anew.close()
            self._anew = None
        self._anew = await asyncio.to_thread(self._make_engine)

    async def _take_place(self, engine: Engine) -> None:
        """Let an engine that is whole rank."""
        engine.space = replace(engine.space, lineage=self._lineage)
        if engine is self.engine:
            return
        await engine.warm_up()
        before, self.engine, self._anew = self.engine, engine, None
        _log.info("catalogue_is_whole_again", items=engine.index.num_items)
        closing = asyncio.create_task(_close_later(before))
        self._replaced.add(closing)
        closing.add_done_callback(self._replaced.discard)


async def _close_later(engine: Engine) -> None:
    """Close an engine once the calls that began with it have ended."""
    try:
        await asyncio.sleep(_LONGEST_CALL_S)
    finally:
        await engine.close()


def _take(engine: Engine, message: WatchItemsResponse) -> None:
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
