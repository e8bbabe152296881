"""ranker.memory: what the metadata of an item takes in a ranker: ids, title, attributes, columns.

Vectors and the index are apart: they take 4.5 bytes for a dimension, of which 4 are shared by the
processes of a host.
"""

import gc
import multiprocessing
import resource
from pathlib import Path

from groundswell.ranker_service.catalogue import CatalogueItem, ItemMetadata
from groundswell.ranker_service.filters import Kind
from groundswell.ranker_service.item_columns import ItemColumns
from tests.bench.harness import Line

_SIZES = (10_000, 100_000, 1_000_000)
_AT_ONCE = 500


def measure(folder: Path) -> list[Line]:
    """Measure each size in a process of its own."""
    del folder
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return [
            Line(f"ranker.memory.metadata.{size}", pool.apply(_grown, (size,)), "bytes an item")
            for size in _SIZES
        ]


def _grown(num_items: int) -> float:
    """Return by how much this process grows for an item with a title and four attributes."""
    metadata, columns = ItemMetadata(), ItemColumns()
    gc.collect()
    before = _resident_bytes()
    for start in range(0, num_items, _AT_ONCE):
        items = [_item(n) for n in range(start, min(start + _AT_ONCE, num_items))]
        metadata.put(items)
        columns.put(items)
    del items
    gc.collect()
    return (_resident_bytes() - before) / num_items


def _item(n: int) -> CatalogueItem:
    return CatalogueItem(
        item_no=n + 1,
        item_id=f"item-{n}",
        title=f"The title of an item of usual length {n}",
        categories=("drama", "war"),
        attributes={
            "price": (Kind.NUMBER, 9.5 + n % 100),
            "brand": (Kind.TEXT, f"brand {n % 50}"),
            "new": (Kind.FLAG, True),
            "year": (Kind.NUMBER, 1995.0),
        },
        available=True,
    )


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
