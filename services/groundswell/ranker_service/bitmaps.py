"""Finds which items pass a filter, beside the event loop, and caches the result as a bitmap."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from groundswell.ranker_service.catalogue import ITEM_NO, ItemMetadata, Segment
from groundswell.ranker_service.filters import Filter, parse_filter, passing_rows
from groundswell.retrieval.id_set import IdSet
from groundswell.serving.batching import MicroBatcher, one_by_one
from groundswell.serving.bounded import BoundedCache
from groundswell.serving.errors import ServiceError
from groundswell.serving.telemetry import count

# The bytes of a cached filter besides its text and its bitmap: an expression of up to 64 nodes.
# Measured: at most 12 kB.
_FILTER_BYTES = 12_000
_BYTES_PER_CHARACTER = 8
"""The text of a filter is in memory as the key and as literals of the expression."""


@dataclass(frozen=True)
class Bitmap:
    """A filter, evaluated."""

    filter: Filter
    version: int
    """The catalogue's version that it covers."""
    allowed: IdSet
    """The numbers of the items that pass."""


class FilterBitmaps:
    """The bitmaps of the filters that were used last, over one catalogue.

    A filter that was used before is evaluated only over the rows that changed since. A filter is
    evaluated once for a version of the catalogue, for all callers. At most `max_bytes` and
    `max_filters` are kept. At most `max_queue` evaluations wait for single calls, and as many for
    batches; single calls go first.
    """

    def __init__(
        self, items: ItemMetadata, *, max_bytes: int, max_filters: int, max_queue: int
    ) -> None:
        self._items = items
        self._held: BoundedCache[str, Bitmap] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_filters, size=_num_bytes
        )
        self._evaluating: MicroBatcher[str, Bitmap | ServiceError] = one_by_one(
            "filter", self._one, max_queue
        )
        self._running: dict[str, asyncio.Task[Bitmap | ServiceError]] = {}

    async def allowed(self, text: str) -> IdSet | None:
        """Return the numbers of the items that pass the filter; None for an empty one.

        Raises InvalidArgument (FILTER_INVALID) and ResourceExhausted (OVERLOADED).
        """
        if not text:
            return None
        since = self._items.version
        held = self._current(text)
        while held is None:
            found = await self._joined(text)
            if isinstance(found, ServiceError):
                raise found
            # An evaluation that began before this call may lack the newest changes.
            held = found if found.version >= since else None
        return held.allowed

    async def allowed_by_all(self, texts: Sequence[str]) -> list[IdSet | ServiceError | None]:
        """As `allowed` for the filters of a batch; the error of a wrong filter takes its place.

        The batch is admitted as one: raises ResourceExhausted (OVERLOADED) for all of it.
        """
        found: dict[str, Bitmap | ServiceError] = {}
        missing = []
        for text in dict.fromkeys(text for text in texts if text):
            held = self._current(text)
            if held is None:
                missing.append(text)
            else:
                found[text] = held
        if missing:
            evaluated = await self._evaluating.submit_all(missing)
            found.update(zip(missing, evaluated, strict=True))
        return [_bitmap(found.get(text)) for text in texts]

    async def close(self) -> None:
        """Free the thread."""
        await self._evaluating.close()

    def _current(self, text: str) -> Bitmap | None:
        held = self._held.get(text)
        if held is None or held.version != self._items.version:
            return None
        count("filter_bitmaps", source="held")
        return held

    async def _joined(self, text: str) -> Bitmap | ServiceError:
        """Evaluate a filter, or wait for the single call that does."""
        task = self._running.get(text)
        if task is None:
            task = asyncio.create_task(self._evaluating.submit(text))
            self._running[text] = task
            task.add_done_callback(lambda _: self._running.pop(text))
        # Shielded: others may wait for it when this caller is gone.
        return await asyncio.shield(task)

    def _one(self, text: str) -> Bitmap | ServiceError:
        # In this order: rows that come in between are then evaluated again, not missed.
        version, segments = self._items.version, self._items.segments
        held = self._held.get(text)
        if held is not None and held.version == version:
            return held  # Another lane's call for the same filter was evaluated first.
        count("filter_bitmaps", source="evaluated" if held is None else "brought_up")
        try:
            if held is None:
                parsed = parse_filter(text, self._items.kinds)
                held = Bitmap(parsed, 0, IdSet(np.empty(0, np.uint8)))
            newer = [segment for segment in segments if segment.version > held.version]
            bitmap = Bitmap(held.filter, version, _updated(held, newer))
        except ServiceError as error:
            return error
        self._held.put(text, bitmap)
        return bitmap


def _bitmap(found: Bitmap | ServiceError | None) -> IdSet | ServiceError | None:
    return found.allowed if isinstance(found, Bitmap) else found


def _num_bytes(text: str, bitmap: Bitmap) -> int:
    return _FILTER_BYTES + _BYTES_PER_CHARACTER * len(text) + bitmap.allowed.num_bytes


def _updated(held: Bitmap, newer: list[Segment]) -> IdSet:
    """Return a bitmap that covers newer segments too; searches may still read the old one."""
    allowed = held.allowed
    for segment in newer:
        numbers = segment.frame[ITEM_NO].to_numpy()
        allowed = allowed.updated(numbers, passing_rows(segment.frame, held.filter))
    return allowed
