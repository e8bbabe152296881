"""Turns changes of the catalogue into changes of the rankers of one bundle."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import structlog

from groundswell.common.v1.item_pb2 import AttributeValue, Item
from groundswell.profile.v1.catalogue_service_pb2 import WatchItemsResponse
from groundswell.ranker_service.bundle_ranker import BundleRanker, ItemChanges
from groundswell.ranker_service.catalogue import CatalogueItem, Value
from groundswell.ranker_service.filters import Kind
from groundswell.ranker_service.replicas import BundleSpace
from groundswell.runtime.catalogue_follower import item_vector
from groundswell.serving.telemetry import count
from groundswell.serving.validation import to_us

_log = structlog.get_logger(__name__)

_LONGEST_CALL_S = 60.0


class RankerCopies:
    """The rankers of one bundle, each with a copy of the catalogue."""

    def __init__(self, ranker: BundleRanker, make_ranker: Callable[[], BundleRanker]) -> None:
        """`make_ranker` makes another ranker of the same bundle, without items; it may block."""
        self._in_use = ranker
        self._make_ranker = make_ranker
        self._replaced: set[asyncio.Task[None]] = set()

    async def make(self) -> BundleRanker:
        """Make a ranker without items."""
        return await asyncio.to_thread(self._make_ranker)

    async def change(self, copy: BundleRanker, message: WatchItemsResponse) -> None:
        """Take the changes of a message."""
        await asyncio.to_thread(_change, copy, message)
        copy.catalogue_revision = max(message.revision, 0)

    async def use(self, copy: BundleRanker, lineage: str) -> BundleRanker:
        """Rank with a ranker that has caught up with the catalogue.

        A call that began with the one before may end with it: it works for another minute.
        """
        if lineage != copy.space.lineage:
            copy.space = replace(copy.space, lineage=lineage)
            await asyncio.to_thread(copy.take_popularity)
        if copy is not self._in_use:
            await copy.warm_up()
            before, self._in_use = self._in_use, copy
            _log.info("catalogue_is_whole_again", items=copy.index.num_items)
            closing = asyncio.create_task(_close_later(before))
            self._replaced.add(closing)
            closing.add_done_callback(self._replaced.discard)
        return copy

    async def close(self, copy: BundleRanker) -> None:
        """Close a ranker; with the one in use, those that it replaced."""
        if copy is self._in_use:
            for replaced in self._replaced:
                replaced.cancel()
            await asyncio.gather(*self._replaced, return_exceptions=True)
        await copy.close()


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
        vectors=[item_vector(change, space.dimension, space.bundle_id) for change in present],
        deleted=np.array([no for no, change in last.items() if change.deleted], np.int64),
    )


def _catalogue_item(item: Item) -> CatalogueItem:
    attributes = {name: _value(value) for name, value in item.attributes.items()}
    return CatalogueItem(
        item_no=item.item_no,
        item_id=item.item_id,
        title=item.title,
        categories=tuple(item.categories),
        attributes={name: value for name, value in attributes.items() if value is not None},
        available=item.available if item.HasField("available") else True,
        created_us=to_us(item.create_time),
        available_from_us=to_us(item.available_from),
        available_until_us=to_us(item.available_until)
        if item.HasField("available_until")
        else None,
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
