"""A filter is evaluated once for all callers, a batch as one unit, and the cache is bounded."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from groundswell.ranker_service import bitmaps as bitmaps_module
from groundswell.ranker_service.bitmaps import FilterBitmaps
from groundswell.ranker_service.catalogue import CatalogueItem, ItemMetadata
from groundswell.ranker_service.filters import Kind, passing_rows
from groundswell.retrieval.id_set import IdSet
from groundswell.serving.errors import InvalidArgument, ResourceExhausted

_PAGE_BYTES = 4096
_MB = 1_000_000


def priced(item_no: int) -> CatalogueItem:
    return CatalogueItem(
        item_no=item_no,
        item_id=f"item-{item_no}",
        title="",
        categories=(),
        attributes={"price": (Kind.NUMBER, float(item_no)), "brand": (Kind.TEXT, "acme")},
        available=True,
    )


@pytest.fixture
def catalogue() -> ItemMetadata:
    made = ItemMetadata()
    made.put([priced(n) for n in range(1, 100)])
    return made


@pytest.fixture
async def bitmaps(catalogue: ItemMetadata) -> AsyncIterator[FilterBitmaps]:
    made = FilterBitmaps(catalogue, max_bytes=64 * _MB, max_filters=2_000, max_queue=256)
    yield made
    await made.close()


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is evaluated from now on, one for each evaluation."""
    sizes: list[int] = []

    def counted(frame: object, parsed: object) -> object:
        sizes.append(len(frame))  # type: ignore[arg-type]
        return passing_rows(frame, parsed)  # type: ignore[arg-type]

    monkeypatch.setattr(bitmaps_module, "passing_rows", counted)
    return sizes


def names(allowed: object) -> list[int]:
    assert isinstance(allowed, IdSet)
    item_nos: list[int] = allowed.ids.tolist()
    return item_nos


async def test_a_filter_is_evaluated_once_however_many_wait_for_it(
    bitmaps: FilterBitmaps, evaluated: list[int]
) -> None:
    single = [bitmaps.allowed("price < 3") for _ in range(300)]
    batches = [bitmaps.allowed_by_all(["price < 3"] * 256) for _ in range(4)]
    found = await asyncio.gather(*single, *batches)
    assert len(evaluated) == 1
    assert all(names(one) == [1, 2] for one in found[:300])
    assert all(names(one) == [1, 2] for batch in found[300:] for one in batch)  # type: ignore[union-attr]


async def test_an_idle_ranker_takes_a_batch_of_256_distinct_filters(
    bitmaps: FilterBitmaps,
) -> None:
    found = await bitmaps.allowed_by_all([f"price = {n}" for n in range(256)])
    assert [names(one) for one in found] == [[n] if 1 <= n < 100 else [] for n in range(256)]


async def test_a_batch_that_does_not_fit_is_refused_whole_and_single_calls_go_on(
    bitmaps: FilterBitmaps, evaluated: list[int]
) -> None:
    first = asyncio.create_task(bitmaps.allowed_by_all([f"price = {n}" for n in range(200)]))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as caught:
        await bitmaps.allowed_by_all([f"price = {n}" for n in range(300, 500)])
    assert caught.value.retry_after_s
    assert names(await bitmaps.allowed("price > 98")) == [99]
    assert not first.done()  # The single call did not wait for the batch before it.
    assert len(await first) == 200
    assert len(evaluated) == 201


async def test_too_many_single_evaluations_at_once_are_refused(catalogue: ItemMetadata) -> None:
    bitmaps = FilterBitmaps(catalogue, max_bytes=_MB, max_filters=100, max_queue=4)
    calls = [bitmaps.allowed(f"price < {bound}") for bound in range(10)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    await bitmaps.close()
    refused = [answer for answer in answers if isinstance(answer, ResourceExhausted)]
    assert len(refused) == 6
    assert all(error.retry_after_s for error in refused)


async def test_a_wrong_filter_of_a_batch_takes_the_place_of_its_bitmap_alone(
    bitmaps: FilterBitmaps,
) -> None:
    good, wrong, none = await bitmaps.allowed_by_all(["price < 3", "nope = 1", ""])
    assert names(good) == [1, 2]
    assert isinstance(wrong, InvalidArgument)
    assert none is None


async def test_who_joins_an_evaluation_sees_every_change_before_the_call(
    catalogue: ItemMetadata, bitmaps: FilterBitmaps
) -> None:
    before = asyncio.create_task(bitmaps.allowed("price >= 99"))
    await asyncio.sleep(0)
    for number in range(100, 110):
        catalogue.put([priced(number)])
        await asyncio.sleep(0)
        assert names(await bitmaps.allowed("price >= 99"))[-1] == number
    assert names(await before)[0] == 99


async def test_a_caller_that_leaves_takes_nothing_from_those_who_wait_too(
    bitmaps: FilterBitmaps,
) -> None:
    first, second = (asyncio.create_task(bitmaps.allowed("price < 3")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert names(await second) == [1, 2]


async def test_the_filter_used_longest_ago_leaves_first(catalogue: ItemMetadata) -> None:
    bitmaps = FilterBitmaps(catalogue, max_bytes=_MB, max_filters=3, max_queue=8)
    kept = await bitmaps.allowed("price < 0")
    for bound in range(1, 30):
        await bitmaps.allowed(f"price < {bound}")
        assert await bitmaps.allowed("price < 0") is kept
    assert len(bitmaps._held) == 3
    await bitmaps.close()


@pytest.mark.parametrize(
    "template",
    [
        " AND ".join("price < {n}." + str(j) for j in range(13)),
        " OR ".join("array_contains(categories, '{n}" + "x" * 80 + f"{j}')" for j in range(12)),
    ],
    ids=["many comparisons", "long literals"],
)
async def test_filters_take_no_more_memory_than_their_bound(
    catalogue: ItemMetadata, template: str
) -> None:
    # Expressions are held by Rust, which tracemalloc does not see: the process itself is measured.
    bound = 1 * _MB
    bitmaps = FilterBitmaps(catalogue, max_bytes=bound, max_filters=100_000, max_queue=1_000)
    await bitmaps.allowed(template.format(n=1_000_000))
    gc.collect()
    before = _resident_bytes()
    for number in range(700):
        await bitmaps.allowed(template.format(n=number))
    gc.collect()
    grown = _resident_bytes() - before
    assert len(bitmaps._held) > 20
    assert bitmaps._held.num_bytes <= bound
    assert grown <= 2 * bound + 3 * _MB  # What the allocators keep for later is not ours.
    await bitmaps.close()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
