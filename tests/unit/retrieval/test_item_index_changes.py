"""The item index while items come, change and leave."""

from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.ivf import IvfEngine
from groundswell.retrieval.query import Query
from tests.support.indexes import D, opened, random_vectors, reference


@settings(max_examples=80, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10_000), n=st.integers(1, 40))
def test_changes_leave_exactly_the_newest_vector_of_every_item_that_was_not_removed(
    data: st.DataObject, seed: int, n: int
) -> None:
    ids = np.arange(n, dtype=np.int64) * 3
    vectors = random_vectors(seed, n)
    index = opened(vectors, ids)
    held = dict(zip(ids.tolist(), vectors, strict=True))
    for step in range(data.draw(st.integers(1, 12))):
        changed = np.array(
            data.draw(st.lists(st.integers(0, 150), unique=True, max_size=20)), dtype=np.int64
        )
        if data.draw(st.booleans()):
            index.remove(changed)
            for item in changed.tolist():
                held.pop(item, None)
        else:
            news = random_vectors(seed + step + 1, len(changed)) + np.float32(5 * step)
            index.put(changed, news)
            held.update(zip(changed.tolist(), news, strict=True))
        query = random_vectors(seed + 100 + step, 1)
        [hits] = index.search([Query(query, 15)])
        assert hits.ids.tolist() == reference(held, query[0], 15, set(), None)
    assert index.num_items == len(held)


@settings(max_examples=12, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10_000))
def test_a_deleted_item_never_comes_back_however_changes_and_merges_interleave(
    data: st.DataObject, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((1_500, D)).astype(np.float32)
    index = ItemIndex(IvfEngine.build(vectors))
    there = set(range(1_500))
    stop = Event()
    wrong: list[int] = []

    def search() -> None:
        while not stop.is_set():
            before = set(there)
            [hits] = index.search([Query(vectors[:1], 20)])
            found = set(hits.ids.tolist())
            # What is there now may have come since the search began.
            wrong.extend(found - before - set(there))
            wrong.extend([-1] * (len(hits.ids) - len(found)))

    searcher = Thread(target=search)
    searcher.start()
    try:
        for _ in range(data.draw(st.integers(1, 8))):
            some = rng.integers(0, 2_000, data.draw(st.integers(1, 700)))
            some = np.unique(some)
            if data.draw(st.booleans()):
                index.remove(some)
                there -= set(some.tolist())
            else:
                there |= set(some.tolist())
                index.put(some, rng.standard_normal((len(some), D)).astype(np.float32))
            if data.draw(st.booleans()):
                index.finish_merge()
            [hits] = index.search([Query(vectors[1:2], 20)])
            assert set(hits.ids.tolist()) <= there
    finally:
        stop.set()
        searcher.join()
    index.finish_merge()
    assert wrong == []
    assert set(index.passing_ids().tolist()) == there
    [everything] = index.search([Query(vectors[:1], 2_000)])
    assert sorted(everything.ids.tolist()) == sorted(there)


def test_changed_items_unlike_all_others_are_found_also_after_a_merge() -> None:
    rng = np.random.default_rng(0)
    centres = 4 * np.abs(rng.standard_normal((200, D)))
    vectors = (centres[rng.integers(200, size=20_000)] + rng.standard_normal((20_000, D))).astype(
        np.float32
    )
    engine = IvfEngine.build(vectors)
    engine.depth = 6
    index, changed = ItemIndex(engine), np.arange(0, 20_000, 10)
    index.put(changed, -vectors[changed])
    index.finish_merge()
    assert len(index._state.rows.delta) == 0
    vectors[changed] *= -1
    asked = -centres[:100].astype(np.float32)
    best = np.argsort(-(asked @ vectors.T), axis=1)[:, :10]
    found = index.search([Query(query[None], 10) for query in asked])
    shares = [np.isin(b, hits.ids).mean() for b, hits in zip(best, found, strict=True)]
    assert np.mean(shares) > 0.95
    assert all(item in index.similar(vectors[item], 3).ids for item in changed[:200])


def test_a_merge_that_fails_loses_nothing_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = random_vectors(1, 8_000)
    index = ItemIndex(IvfEngine.build(vectors[:3_000]))

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(IvfEngine, "extended", fail)
        index.put(np.arange(3_000, 4_500), vectors[3_000:4_500])
        index.finish_merge()
    index.remove(np.array([3_000]))
    held = dict(enumerate(vectors[:4_500]))
    del held[3_000]
    query = vectors[3_000:3_001]
    # The delta is compared whole, so what it has is found surely.
    best = [n for n in reference(held, query[0], 40, set(), None) if n > 3_000]
    [hits] = index.search([Query(query, 40)])
    assert set(best) <= set(hits.ids.tolist())
    index.put(np.arange(4_500, 8_000), vectors[4_500:])
    index.finish_merge()
    assert len(index._state.rows.delta) == 0
    assert index.vector(3_000) is None
    assert index.num_items == 7_999


def test_a_row_serves_an_item_only_while_its_vector_is_the_items() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, D)).astype(np.float32)
    index = opened(vectors, np.full(50, -1, np.int64))
    assert index.num_items == 0
    stored_coarsely = vectors.astype(np.float16).astype(np.float32)
    index.put(np.arange(1, 51), stored_coarsely, np.arange(50))
    assert index.num_items == 50
    np.testing.assert_array_equal(index.vectors(np.arange(1, 51)), vectors)
    index.put(np.array([8]), vectors[[7]] + np.float32(1), np.array([7]))
    assert index.num_items == 50
    found = index.vector(8)
    assert found is not None
    np.testing.assert_array_equal(found, vectors[7] + np.float32(1))


def test_a_row_in_use_is_not_given_to_a_second_item() -> None:
    vectors = np.random.default_rng(0).standard_normal((5, D)).astype(np.float32)
    index = opened(vectors)
    index.put(np.array([90]), vectors[[2]], np.array([2]))
    [hits] = index.search([Query(vectors[[2]], 6)])
    assert sorted(hits.ids.tolist()) == [0, 1, 2, 3, 4, 90]


def test_the_delta_does_not_grow_with_every_rewrite_of_the_same_items() -> None:
    index = opened(random_vectors(0, 10))
    ids = np.arange(100, 150)
    for step in range(200):
        index.put(ids, random_vectors(step, 50))
    index.finish_merge()
    assert index.num_items == 60
    assert index._state.rows.num_positions < 3_000


def test_a_search_keeps_the_vectors_that_it_began_with_and_sees_who_left() -> None:
    item, no_row = np.array([20]), np.array([-1])
    began = opened(random_vectors(0, 10))._state.rows.put(item, random_vectors(1, 1), no_row)
    place = began.find(item)
    later = began.put(item, random_vectors(2, 1), no_row)
    np.testing.assert_array_equal(began.vectors(place), random_vectors(1, 1))
    np.testing.assert_array_equal(later.vectors(later.find(item)), random_vectors(2, 1))
    assert began.ids[place].tolist() == [-1]
    assert began.find(item).tolist() == [-1]


def test_hidden_items_are_not_found_until_they_are_shown_again() -> None:
    vectors = random_vectors(0, 10)
    index = opened(vectors)
    everything = Query(random_vectors(1, 1), 20)
    index.hide(np.array([3, 40]), np.array([True, True]))
    index.put(np.array([40, 41]), random_vectors(2, 2))
    [hits] = index.search([everything])
    assert sorted(hits.ids.tolist()) == [0, 1, 2, 4, 5, 6, 7, 8, 9, 41]
    hidden = index.vector(3)
    assert hidden is not None
    assert hidden.tolist() == vectors[3].tolist()
    index.hide(np.array([3, 40, 5]), np.array([False, False, True]))
    [hits] = index.search([everything])
    assert sorted(hits.ids.tolist()) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 40, 41]


def test_an_item_whose_vector_stays_as_it_was_keeps_its_place() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, D)).astype(np.float32)
    index = opened(vectors)
    index.put(np.arange(50), vectors.astype(np.float16).astype(np.float32))
    assert len(index._state.rows.delta) == 0
