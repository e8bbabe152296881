"""Item vectors of a bundle are cached while they are right; a watcher gets the same ones."""

from collections.abc import AsyncIterator, Sequence, Set
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.store import load_bundle
from groundswell.features.text import item_text
from groundswell.profile_service.profiles.item_vectors import ItemVectorCache
from groundswell.profile_service.profiles.models import ProfileModels
from groundswell.profile_service.store import changes as store_changes
from groundswell.profile_service.store.items import ItemContent, ItemText, item_texts_by_number
from tests.integration.profile_service.support import CountingEncoder, Memory, reading
from tests.support.bundles import CONTEXT_DIMENSION, DIMENSION, ITEMS, TEXT_DIMENSION

NEW = ItemContent("new", "A Silent Lighthouse")
CONTENTS = [*(ItemContent(i, title, "", list(names)) for i, title, names in ITEMS), NEW]

Vectors = dict[int, NDArray[np.float32]]


class WideEncoder(CountingEncoder):
    """Vectors as wide as the bundle's own encoder gives them."""

    dimension = TEXT_DIMENSION

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [np.random.default_rng(list(t.encode())).normal(size=TEXT_DIMENSION) for t in texts]
        return np.array(rows, np.float32).reshape(-1, TEXT_DIMENSION)


class CountedModels(ProfileModels):
    """The models of the tiny bundle; remembers which items' vectors it computed.

    It holds those that a watcher gets: what the profile head reads is held by the same means.
    """

    def __init__(self, bundles: Path) -> None:
        super().__init__(
            load_bundle(bundles),
            1,
            max_batch=32,
            max_queue=64,
            max_queue_bytes=1_000_000,
            max_items=1_000,
            max_item_bytes=1_000_000,
            max_text_bytes=1_000_000,
        )
        self.computed: list[int] = []
        self.told = ItemVectorCache(self.vectors_of_items, 1_000)

    async def vectors_of_items(self, items: Sequence[ItemText]) -> Vectors:
        self.computed += sorted(item.item_no for item in items)
        return await super().vectors_of_items(items)


@pytest.fixture
async def models(bundles: Path) -> AsyncIterator[CountedModels]:
    loaded = CountedModels(bundles)
    yield loaded
    await loaded.close()


@pytest.fixture
async def filled(memory: Memory, models: ProfileModels) -> Memory:
    """The items of the tiny bundle and one that it does not know; their texts are read."""
    await memory.database.follow_changes()
    await memory.catalogue.upsert(CONTENTS)
    await read_texts(memory, models)
    return memory


async def read_texts(memory: Memory, models: ProfileModels) -> None:
    worker = memory.worker(WideEncoder(), spec=models.spec)
    while await worker.step():
        pass
    await worker.close()


async def ask(
    memory: Memory, models: ProfileModels, items: ItemVectorCache, item_nos: Set[int]
) -> Vectors:
    """Look into the database for what is not held, as a request does."""
    await memory.database.changes_published()
    generation = memory.database.changes.generation
    found = items.find(item_nos, memory.database.changes)
    texts = await texts_of(memory, models, item_nos - found.keys())
    return found | await items.encode(texts, generation)


async def texts_of(memory: Memory, models: ProfileModels, item_nos: Set[int]) -> list[ItemText]:
    async with reading(memory.database) as connection:
        return await connection.run(item_texts_by_number, item_nos, models.spec.fingerprint)


async def watched(memory: Memory, models: CountedModels) -> Vectors:
    """What a watcher of the catalogue is told."""
    found: Vectors = {}
    async for changes in memory.catalogue.watch(0, models.spec.fingerprint):
        texts = [ItemText(i.item_no, i.content.item_id, i.text_vector) for i in changes.items]
        found |= await models.vectors_of_items([t for t in texts if t.text_vector is not None])
        if changes.caught_up:
            break
    models.computed.clear()
    return found


async def test_the_held_vectors_are_those_that_a_watcher_gets(
    filled: Memory, models: CountedModels
) -> None:
    told = await watched(filled, models)
    items = models.told
    for item_nos in ({1}, {2, 5, 31}, set(told)):
        got = await ask(filled, models, items, item_nos)
        assert got.keys() == item_nos
        for item_no, vector in got.items():
            assert vector == pytest.approx(told[item_no], abs=1e-6)
    assert sorted(models.computed) == sorted(told)


async def test_an_item_whose_text_is_not_read_yet_has_only_what_its_id_says(
    memory: Memory, models: CountedModels
) -> None:
    numbers, _ = await memory.catalogue.upsert([CONTENTS[3], NEW])
    items = models.told
    got = await ask(memory, models, items, set(numbers))
    no_text = np.zeros((2, TEXT_DIMENSION), np.float32)
    expected = await models.item_vectors(no_text, np.array([3, -1]))
    assert np.array([got[n] for n in numbers]) == pytest.approx(expected, abs=1e-6)
    await read_texts(memory, models)
    told = await watched(memory, models)
    got = await ask(memory, models, items, set(numbers))
    for item_no in numbers:
        assert got[item_no] == pytest.approx(told[item_no], abs=1e-6)
        assert np.abs(got[item_no] - expected).max() > 0.01


async def test_only_what_changed_is_computed_again_and_said_to_have_changed(
    filled: Memory, models: CountedModels
) -> None:
    items = models.told
    everything = set(range(1, len(CONTENTS) + 1))
    before = await ask(filled, models, items, everything)
    made = filled.database.changes
    generation = made.generation
    assert made.items_unchanged(everything, generation)
    models.computed.clear()
    await filled.catalogue.upsert([ItemContent("item-4", "Another Title")])
    await filled.catalogue.delete(["item-7"])
    await read_texts(filled, models)
    after = await ask(filled, models, items, everything)
    assert models.computed == [5]
    assert np.abs(after[5] - before[5]).max() > 0.01
    assert np.array_equal(after[8], before[8])
    assert not made.items_unchanged([1, 5], generation)
    assert made.items_unchanged(everything - {5}, generation)


async def test_more_changes_than_are_remembered_count_as_a_change_of_everything(
    filled: Memory, models: CountedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_changes, "_MAX_REMEMBERED", 3)
    items = models.told
    await ask(filled, models, items, {1, 2})
    await filled.catalogue.upsert([ItemContent(f"item-{n}", "Another") for n in (5, 6, 7, 8)])
    models.computed.clear()
    await ask(filled, models, items, {1, 2})
    assert models.computed == [1, 2]


async def test_no_more_vectors_are_held_than_was_said(
    filled: Memory, models: CountedModels
) -> None:
    items = ItemVectorCache(models.vectors_of_items, 4)
    await ask(filled, models, items, {1, 2, 3})
    await ask(filled, models, items, {4, 5})
    models.computed.clear()
    assert (await ask(filled, models, items, {2, 3, 4, 5})).keys() == {2, 3, 4, 5}
    assert models.computed == []
    got = await ask(filled, models, items, set(range(1, 31)))
    assert len(got) == 30
    assert all(vector.shape == (DIMENSION,) for vector in got.values())


async def test_the_profile_head_reads_the_context_vectors_of_the_bundles_own_head(
    filled: Memory, models: CountedModels, bundles: Path
) -> None:
    got = await ask(filled, models, models.contexts, {3, 31})
    encode = WideEncoder().encode
    texts = [item_text(c.title, c.categories, "") for c in (CONTENTS[2], NEW)]
    due = (
        load_bundle(bundles)
        .context_head()
        .run(text_vectors=encode(texts), rows=np.array([2, -1], np.int64))
    )
    assert due.shape == (2, CONTEXT_DIMENSION)
    assert np.array([got[3], got[31]]) == pytest.approx(due, abs=1e-6)


async def test_what_was_loaded_before_a_change_is_not_held_after_it(
    filled: Memory, models: CountedModels
) -> None:
    items = models.told
    generation = filled.database.changes.generation
    texts = await texts_of(filled, models, {5})
    await filled.catalogue.upsert([ItemContent("item-4", "Another Title")])
    await read_texts(filled, models)
    await filled.database.changes_published()
    await items.encode(texts, generation)
    told = await watched(filled, models)
    assert (await ask(filled, models, items, {5}))[5] == pytest.approx(told[5], abs=1e-6)
