"""The catalogue in memory, and bitmaps that keep up with its changes."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from groundswell.ranker_service.bitmaps import FilterBitmaps
from groundswell.ranker_service.catalogue import CatalogueItem, ItemMetadata, Value
from groundswell.ranker_service.filters import Kind
from groundswell.serving.errors import InvalidArgument


def item(
    item_no: int,
    *,
    item_id: str = "",
    available: bool = True,
    attributes: Mapping[str, tuple[Kind, Value]] | None = None,
    categories: tuple[str, ...] = (),
) -> CatalogueItem:
    return CatalogueItem(
        item_no=item_no,
        item_id=item_id or f"item-{item_no}",
        title=f"Item {item_no}",
        categories=categories,
        attributes=attributes or {},
        available=available,
    )


def priced(item_no: int, price: float) -> CatalogueItem:
    return item(item_no, attributes={"price": (Kind.NUMBER, price)})


@pytest.fixture
def catalogue() -> ItemMetadata:
    return ItemMetadata()


@pytest.fixture
async def bitmaps(catalogue: ItemMetadata) -> AsyncIterator[FilterBitmaps]:
    made = FilterBitmaps(catalogue, max_bytes=1_000_000, max_filters=100, max_queue=8)
    yield made
    await made.close()


async def passing(bitmaps: FilterBitmaps, text: str) -> list[int]:
    allowed = await bitmaps.allowed(text)
    assert allowed is not None
    item_nos: list[int] = allowed.ids.tolist()
    return item_nos


def test_only_small_items_are_kept_as_objects(catalogue: ItemMetadata) -> None:
    large = replace(item(2), title="x" * 2_000)
    catalogue.put([item(1), large])
    assert catalogue.get(1) is catalogue.get(1)
    assert catalogue.get(2) is not catalogue.get(2)
    assert catalogue.get(2) == large


def test_items_are_found_by_number_and_by_id(catalogue: ItemMetadata) -> None:
    catalogue.put([item(7), item(9)])
    held = catalogue.get(7)
    assert held is not None
    assert held.title == "Item 7"
    assert catalogue.number("item-9") == 9
    assert catalogue.numbers(["item-9", "nobody", "item-7"]).tolist() == [9, 7]
    assert catalogue.get(8) is None


def test_an_item_that_came_again_under_its_id_outlives_the_deletion_of_the_first(
    catalogue: ItemMetadata,
) -> None:
    catalogue.put([item(1, item_id="x")])
    catalogue.put([item(2, item_id="x")])
    catalogue.remove([1])
    assert catalogue.number("x") == 2
    catalogue.remove([2])
    assert catalogue.number("x") is None


def test_an_attribute_keeps_the_kind_that_it_was_first_seen_with(catalogue: ItemMetadata) -> None:
    assert catalogue.put([priced(1, 3.0)]) == 0
    odd = item(2, attributes={"price": (Kind.TEXT, "cheap"), "brand": (Kind.TEXT, "acme")})
    assert catalogue.put([odd]) == 1
    assert catalogue.kinds["price"] is Kind.NUMBER
    assert catalogue.kinds["brand"] is Kind.TEXT


def test_segments_stay_few_and_hold_the_newest_row_of_every_item(catalogue: ItemMetadata) -> None:
    rng = np.random.default_rng(0)
    newest: dict[int, float] = {}
    for _ in range(300):
        numbers = rng.choice(2_000, size=rng.integers(1, 30), replace=False) + 1
        prices = rng.random(len(numbers))
        catalogue.put([priced(int(n), float(p)) for n, p in zip(numbers, prices, strict=True)])
        newest.update(zip(numbers.tolist(), prices.tolist(), strict=True))
    assert len(catalogue.segments) <= 12
    held: dict[int, float] = {}
    for segment in catalogue.segments:
        held.update(segment.frame.select("#", "price").iter_rows())
    assert held == newest


async def test_a_filter_is_brought_up_to_every_change(
    catalogue: ItemMetadata, bitmaps: FilterBitmaps
) -> None:
    rng = np.random.default_rng(1)
    newest: dict[int, float] = {}
    for step in range(120):
        numbers = rng.choice(300, size=rng.integers(1, 20), replace=False) + 1
        prices = rng.random(len(numbers)) * 10
        catalogue.put([priced(int(n), float(p)) for n, p in zip(numbers, prices, strict=True)])
        newest.update(zip(numbers.tolist(), prices.tolist(), strict=True))
        if step % 3 == 0:
            due = sorted(n for n, price in newest.items() if price < 5)
            assert await passing(bitmaps, "price < 5") == due


async def test_the_bitmap_that_a_search_reads_is_never_written_again(
    catalogue: ItemMetadata, bitmaps: FilterBitmaps
) -> None:
    catalogue.put([priced(1, 1.0), priced(2, 9.0)])
    before = await bitmaps.allowed("price < 5")
    catalogue.put([priced(1, 9.0), priced(2, 1.0)])
    after = await bitmaps.allowed("price < 5")
    assert before is not None
    assert after is not None
    assert before.ids.tolist() == [1]
    assert after.ids.tolist() == [2]
    assert await bitmaps.allowed("price < 5") is after


async def test_rows_without_an_attribute_have_null_there(
    catalogue: ItemMetadata, bitmaps: FilterBitmaps
) -> None:
    catalogue.put([priced(n, 1.0) for n in range(1, 40)])
    catalogue.put([item(50, categories=("war",))])
    assert await passing(bitmaps, "price IS NULL") == [50]
    assert await passing(bitmaps, "NOT price < 5") == []
    assert await passing(bitmaps, "array_contains(categories, 'war')") == [50]


async def test_all_kinds_of_attributes_can_be_filtered_by(
    catalogue: ItemMetadata, bitmaps: FilterBitmaps
) -> None:
    attributes: dict[str, tuple[Kind, Any]] = {
        "brand": (Kind.TEXT, "acme"),
        "price": (Kind.NUMBER, 2.5),
        "new": (Kind.FLAG, True),
        "tags": (Kind.TEXTS, ["x", "y"]),
    }
    catalogue.put([item(3, attributes=attributes), item(4)])
    for text in (
        "brand = 'acme'",
        "price = 2.5",
        "new",
        "array_contains(tags, 'y')",
        "item_id = 'item-3'",
        "title = 'Item 3'",
    ):
        assert await passing(bitmaps, text) == [3]


async def test_no_filter_has_no_bitmap_and_an_empty_catalogue_an_empty_one(
    bitmaps: FilterBitmaps,
) -> None:
    assert await bitmaps.allowed("") is None
    assert await passing(bitmaps, "title = 'x'") == []


async def test_a_wrong_filter_is_wrong_each_time_until_its_attribute_is_there(
    catalogue: ItemMetadata, bitmaps: FilterBitmaps
) -> None:
    catalogue.put([item(1)])
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="price"):
            await bitmaps.allowed("price < 3")
    catalogue.put([priced(2, 1.0)])
    assert await passing(bitmaps, "price < 3") == [2]
