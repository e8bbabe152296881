"""Finds items whose message would be larger than the contract takes."""

import json
from typing import Any

import polars as pl

from groundswell.common.v1.item_pb2 import AttributeValue, Item, TextList
from groundswell.contract.items import MAX_ITEM_BYTES

TOO_LARGE = f"the item is larger than {MAX_ITEM_BYTES:,} bytes"

_SURELY_SMALL = MAX_ITEM_BYTES // 4
"""With fewer bytes of text an item is small enough: numbers and lengths add less."""


def too_large(frame: pl.DataFrame) -> pl.Series:
    """[N] True for items, given by `items.COLUMNS`, whose message is too large."""
    texts = ("item_id", "title", "description", "attributes")
    categories = pl.col("categories").list.eval(pl.element().str.len_bytes()).list.sum()
    size = frame.select(
        pl.sum_horizontal(*(pl.col(name).str.len_bytes() for name in texts), categories)
    ).to_series()
    large = (size > _SURELY_SMALL).fill_null(False)
    measured = [_message(row).ByteSize() for row in frame.filter(large).iter_rows(named=True)]
    wrong = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    if not measured:
        return wrong
    rows = large.arg_true().filter(pl.Series(measured) > MAX_ITEM_BYTES)
    return wrong.scatter(rows, True)


def _message(row: dict[str, Any]) -> Item:
    attributes: dict[str, Any] = json.loads(row["attributes"])
    return Item(
        item_id=row["item_id"],
        title=row["title"],
        description=row["description"],
        categories=row["categories"],
        attributes={name: _value(value) for name, value in attributes.items()},
        available=row["available"],
    )


def _value(value: Any) -> AttributeValue:
    if isinstance(value, bool):
        return AttributeValue(flag=value)
    if isinstance(value, str):
        return AttributeValue(text=value)
    if isinstance(value, float):
        return AttributeValue(number=value)
    return AttributeValue(texts=TextList(values=value))
