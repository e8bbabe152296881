"""Which items pass a filter: evaluated beside the event loop, kept, and kept up with changes."""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from groundswell.ranker_service.catalogue import ITEM_NO, Catalogue, Segment
from groundswell.ranker_service.filters import DTYPES, Filter, parse_filter
from groundswell.serving.errors import ResourceExhausted
from groundswell.serving.telemetry import count

RETRY_AFTER_S = 0.1


@dataclass(frozen=True)
class _Bitmap:
    filter: Filter
    version: int
    """The catalogue's version that it covers."""
    allowed: NDArray[np.bool_]
    """Indexed by item number."""


class FilterBitmaps:
    """The bitmaps of the filters that were used last, over one catalogue.

    A filter that was used before is evaluated only over the rows that changed since. At most
    `max_bytes` of bitmaps are kept, and at most `max_queue` evaluations wait.
    """

    def __init__(self, catalogue: Catalogue, *, max_bytes: int, max_queue: int) -> None:
        self._catalogue = catalogue
        self._max_bytes = max_bytes
        self._max_queue = max_queue
        self._num_waiting = 0
        self._num_bytes = 0
        self._bitmaps: OrderedDict[str, _Bitmap] = OrderedDict()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="filter")

    async def allowed(self, text: str) -> NDArray[np.bool_] | None:
        """Return True by item number where an item passes the filter; None for an empty one.

        Raises InvalidArgument (FILTER_INVALID) and ResourceExhausted (OVERLOADED).
        """
        if not text:
            return None
        held = self._bitmaps.get(text)
        if held is not None and held.version == self._catalogue.version:
            count("filter_bitmaps", source="held")
            self._bitmaps.move_to_end(text)
            return held.allowed
        if self._num_waiting >= self._max_queue:
            message = "too many filters wait to be evaluated"
            raise ResourceExhausted("OVERLOADED", message, retry_after_s=RETRY_AFTER_S)
        self._num_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            bitmap = await loop.run_in_executor(self._executor, self._evaluate, text, held)
        finally:
            self._num_waiting -= 1
        self._keep(text, bitmap)
        return bitmap.allowed

    async def close(self) -> None:
        """Free the thread."""
        await asyncio.to_thread(self._executor.shutdown)

    def _evaluate(self, text: str, held: _Bitmap | None) -> _Bitmap:
        # In this order: rows that come in between are then evaluated again, not missed.
        version, segments = self._catalogue.version, self._catalogue.segments
        count("filter_bitmaps", source="evaluated" if held is None else "brought_up")
        if held is None:
            parsed = parse_filter(text, self._catalogue.kinds)
            held = _Bitmap(parsed, 0, np.zeros(0, dtype=bool))
        newer = [segment for segment in segments if segment.version > held.version]
        return _Bitmap(held.filter, version, _updated(held, newer))

    def _keep(self, text: str, bitmap: _Bitmap) -> None:
        before = self._bitmaps.pop(text, None)
        self._num_bytes += bitmap.allowed.nbytes - (before.allowed.nbytes if before else 0)
        self._bitmaps[text] = bitmap
        while self._num_bytes > self._max_bytes and len(self._bitmaps) > 1:
            _, dropped = self._bitmaps.popitem(last=False)
            self._num_bytes -= dropped.allowed.nbytes


def _updated(held: _Bitmap, newer: list[Segment]) -> NDArray[np.bool_]:
    """Return a bitmap that covers newer segments too; searches may still read the old one."""
    numbers = [segment.frame[ITEM_NO].to_numpy() for segment in newer]
    size = max([len(held.allowed), *(int(some.max()) + 1 for some in numbers)])
    allowed = np.zeros(size, dtype=bool)
    allowed[: len(held.allowed)] = held.allowed
    for segment, item_nos in zip(newer, numbers, strict=True):
        allowed[item_nos] = _passing(segment.frame, held.filter)
    return allowed


def _passing(frame: pl.DataFrame, parsed: Filter) -> NDArray[np.bool_]:
    # An attribute that none of these rows has is null in all of them.
    frame = frame.with_columns(
        pl.lit(None, dtype=DTYPES[kind]).alias(name)
        for name, kind in parsed.kinds.items()
        if name not in frame.columns
    )
    passing = frame.select(parsed.expression.fill_null(False).alias("passing"))["passing"]
    result: NDArray[np.bool_] = passing.to_numpy()
    return result
