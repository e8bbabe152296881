"""Item metadata in memory: titles, categories, attributes, availability; a frame to filter by."""

import marshal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import polars as pl
from numpy.typing import NDArray

from groundswell.ranker_service.filters import BUILT_IN, DTYPES, Kind
from groundswell.serving.errors import NotFound

ITEM_NO = "#"
"""The frame's column of item numbers; no attribute can have this name."""

Value = str | float | bool | list[str]

_NUM_UNPACKED = 16_384
"""So many items that answers had last are kept as objects."""
_MAX_KEPT_BYTES = 1_024
"""A packed item of more bytes is unpacked each time: many large ones would take gigabytes."""


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """One item, as answers and filters need it."""

    item_no: int
    item_id: str
    title: str
    categories: tuple[str, ...]
    attributes: Mapping[str, tuple[Kind, Value]]
    """What filters read. Only the frame keeps it."""
    available: bool
    created_us: int = 0
    """When it was written first, in microseconds since 1970; 0: unknown."""
    available_from_us: int = 0
    available_until_us: int | None = None
    """Exclusive; None: for ever."""

    def is_available(self, now_us: int) -> bool:
        """Say whether it may be recommended at a time."""
        until = self.available_until_us
        has_begun, is_over = self.available_from_us <= now_us, until is not None and until <= now_us
        return self.available and has_begun and not is_over


@dataclass(frozen=True)
class Segment:
    """Rows that changed together, or were merged since; a later segment's row replaces a former."""

    frame: pl.DataFrame
    """`ITEM_NO` and the columns that its rows have."""
    version: int
    """The catalogue's version that its newest row came with."""


class ItemMetadata:
    """The items by number. One thread changes it; any may read.

    The frame is kept in segments of growing size. So a change costs as much as its size, and
    a filter that was evaluated before is evaluated only over newer segments. What answers need of
    an item is packed: an object of Python with its texts takes four times as much.
    """

    def __init__(self) -> None:
        self.version = 0
        self.segments: tuple[Segment, ...] = ()
        self.kinds: Mapping[str, Kind] = MappingProxyType(dict(BUILT_IN))
        self._packed: list[bytes | None] = []
        """By item number."""
        self._numbers: dict[str, int] = {}

    def get(self, item_no: int) -> CatalogueItem | None:
        """Return an item without its attributes; None when there is none, or no more."""
        packed = self._packed[item_no] if 0 <= item_no < len(self._packed) else None
        if packed is None:
            return None
        return _kept(packed) if len(packed) <= _MAX_KEPT_BYTES else _unpacked(packed)

    def of_id(self, item_id: str) -> CatalogueItem:
        """Return the item that has an id now. Raises NotFound (ITEM_NOT_FOUND)."""
        item_no = self.number(item_id)
        item = None if item_no is None else self.get(item_no)
        if item is None:
            message = "item_id names no item of the catalogue"
            raise NotFound("ITEM_NOT_FOUND", message, field="item_id")
        return item

    def number(self, item_id: str) -> int | None:
        """Return the number of the item that has an id now."""
        return self._numbers.get(item_id)

    def numbers(self, item_ids: Collection[str]) -> NDArray[np.int64]:
        """Return the numbers of those of the ids that there are."""
        found = (self._numbers.get(item_id) for item_id in item_ids)
        return np.array([item_no for item_no in found if item_no is not None], np.int64)

    def put(self, items: Sequence[CatalogueItem]) -> int:
        """Insert or replace items; return how many attributes were refused.

        An attribute keeps the kind that it was first seen with; a value of another is left out.
        """
        if not items:
            return 0
        num_refused = self._learn_kinds(items)
        missing = max(item.item_no for item in items) + 1 - len(self._packed)
        self._packed += [None] * missing
        for item in items:
            self._packed[item.item_no] = _packed(item)
            self._numbers[item.item_id] = item.item_no
        segment = Segment(self._frame(items), self.version + 1)
        self.segments = _merged((*self.segments, segment))
        self.version += 1  # last: who sees the version finds the segment
        return num_refused

    def remove(self, item_nos: Collection[int]) -> None:
        """Forget items. Their rows stay in the frame: no index returns them any more."""
        for item_no in item_nos:
            item = self.get(item_no)
            if item is None:
                continue
            self._packed[item_no] = None
            if self._numbers.get(item.item_id) == item_no:
                del self._numbers[item.item_id]

    def _learn_kinds(self, items: Sequence[CatalogueItem]) -> int:
        kinds, num_refused = dict(self.kinds), 0
        for item in items:
            for name, (kind, _) in item.attributes.items():
                num_refused += kinds.setdefault(name, kind) is not kind
        if len(kinds) > len(self.kinds):
            self.kinds = MappingProxyType(kinds)
        return num_refused

    def _frame(self, items: Sequence[CatalogueItem]) -> pl.DataFrame:
        kinds = self.kinds
        columns: dict[str, list[object]] = {
            "item_id": [item.item_id for item in items],
            "title": [item.title for item in items],
            "categories": [list(item.categories) for item in items],
        }
        for name in sorted({name for item in items for name in item.attributes}):
            held = [item.attributes.get(name) for item in items]
            columns[name] = [x[1] if x is not None and x[0] is kinds[name] else None for x in held]
        series = [
            pl.Series(name, held, dtype=DTYPES[kinds[name]]) for name, held in columns.items()
        ]
        numbers = pl.Series(ITEM_NO, [item.item_no for item in items], dtype=pl.Int64)
        return pl.DataFrame([numbers, *series])


def _packed(item: CatalogueItem) -> bytes:
    """Write what answers need of an item, in a form that never leaves the process."""
    return marshal.dumps(
        (
            item.item_no,
            item.item_id,
            item.title,
            item.categories,
            item.available,
            item.created_us,
            item.available_from_us,
            item.available_until_us,
        )
    )


def _unpacked(packed: bytes) -> CatalogueItem:
    item_no, item_id, title, categories, *availability = marshal.loads(packed)
    return CatalogueItem(item_no, item_id, title, categories, {}, *availability)


_kept = lru_cache(_NUM_UNPACKED)(_unpacked)


def _merged(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Merge the newest segments until each is more than twice as long as the one after it."""
    *older, newest = segments
    while older and older[-1].frame.height <= 2 * newest.frame.height:
        before = older.pop()
        frame = pl.concat([before.frame, newest.frame], how="diagonal")
        frame = frame.unique(ITEM_NO, keep="last", maintain_order=True)
        newest = Segment(frame, newest.version)
    return (*older, newest)
