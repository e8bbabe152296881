"""The item index against a plain reference: filters, exclusions, ties, changes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError
from groundswell.retrieval.engines import build_index, open_engine
from groundswell.retrieval.hnsw import HnswEngine
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.ivf import IvfEngine
from groundswell.retrieval.query import Hits, Query
from tests.support.indexes import D, opened, random_vectors, reference


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 400),
    k=st.integers(1, 60),
    share=st.floats(0.0, 1.0),
    num_excluded=st.integers(0, 50),
    filtered=st.booleans(),
)
def test_a_search_equals_sorting_everything_that_passes(
    seed: int, n: int, k: int, share: float, num_excluded: int, filtered: bool
) -> None:
    rng = np.random.default_rng(seed)
    vectors, query = random_vectors(seed, n), random_vectors(seed + 1, 1)
    exclude = rng.integers(0, n + 5, num_excluded)
    allowed = IdSet.of(rng.random(n) < share) if filtered else None
    [hits] = opened(vectors).search([Query(query, k, exclude, allowed)])
    due = reference(dict(enumerate(vectors)), query[0], k, {int(item) for item in exclude}, allowed)
    assert hits.ids.tolist() == due


def test_equal_items_come_by_id_whatever_the_batch_and_the_page() -> None:
    vectors = np.tile(random_vectors(0, 1), (3_000, 1))
    index = opened(vectors)
    query = random_vectors(3, 1)
    for k in (1, 10, 200):
        alone = index.search([Query(query, k)])
        many = index.search([Query(query, k)] * 30)
        assert [hits.ids.tolist() for hits in [*alone, *many]] == [list(range(k))] * 31


def test_a_page_is_filled_however_much_was_seen() -> None:
    vectors = random_vectors(0, 1_000)
    [hits] = opened(vectors).search(
        [Query(random_vectors(1, 1), 20, exclude=np.arange(980, dtype=np.int64))]
    )
    assert sorted(hits.ids.tolist()) == list(range(980, 1_000))


def test_everything_can_be_ranked_in_batches_exactly() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((700, D)).astype(np.float32)
    queries = rng.standard_normal((300, 1, D)).astype(np.float32)
    index = opened(vectors)
    answers = index.search([Query(query, len(vectors)) for query in queries])
    scores = (queries[:, 0].astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    due = np.argsort(-scores, axis=1, kind="stable")
    assert [hits.ids.tolist() for hits in answers] == due.tolist()


def test_the_scores_of_the_parts_add_up_to_the_score() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, D)).astype(np.float32)
    parts = rng.standard_normal((2, D)).astype(np.float32)
    [hits] = opened(vectors).search([Query(parts, 7)])
    np.testing.assert_allclose(hits.part_scores.sum(1), hits.scores, rtol=1e-5)
    np.testing.assert_allclose(hits.part_scores, vectors[hits.ids] @ parts.T, rtol=1e-4)


@pytest.fixture(scope="module", params=[HnswEngine, IvfEngine])
def approximate(request: pytest.FixtureRequest) -> tuple[ItemIndex, NDArray[np.float32]]:
    """An index as a large catalogue would have, of structured vectors."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((6, 32)).astype(np.float32)
    vectors = (rng.standard_normal((6_000, 6)) @ factors).astype(np.float32)
    return ItemIndex(request.param.build(vectors)), vectors


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.12, 0.1, 0.01, 0.001])
def test_a_page_is_full_and_has_the_best_under_any_filter(
    approximate: tuple[ItemIndex, NDArray[np.float32]], share: float
) -> None:
    index, vectors = approximate
    rng = np.random.default_rng(1)
    allowed = IdSet.of(rng.random(len(vectors)) < share)
    k = min(20, allowed.count)
    queries = vectors[rng.choice(len(vectors), 25)] + np.float32(0.1)
    answers = index.search([Query(query[None], k, allowed=allowed) for query in queries])
    found = 0
    for query, hits in zip(queries, answers, strict=True):
        assert len(hits.ids) == k
        assert allowed.has(hits.ids).all()
        scores = np.where(allowed.has(np.arange(len(vectors))), vectors @ query, -np.inf)
        found += len(set(np.argsort(-scores)[:k].tolist()) & set(hits.ids.tolist()))
    assert found / (k * len(queries)) >= 0.95


def test_an_approximate_index_takes_changes_too(
    approximate: tuple[ItemIndex, NDArray[np.float32]],
) -> None:
    index, vectors = approximate
    query = vectors[:1]
    [before] = index.search([Query(query, 5)])
    best = int(before.ids[0])
    new = len(vectors) + 7
    index.remove(np.array([best]))
    index.put(np.array([new]), query * 10)
    [after] = index.search([Query(query, 5)])
    assert after.ids[0] == new
    assert best not in after.ids
    index.remove(np.array([new]))
    index.put(np.array([best]), vectors[[best]], np.array([best]))
    [again] = index.search([Query(query, 5)])
    assert again.ids.tolist() == before.ids.tolist()


def test_similar_items_are_ranked_by_cosine_without_the_popularity_dimension() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, D)).astype(np.float32)
    vectors[:, -1] = rng.standard_normal(300) * 100
    vectors[17, :-1] = 0
    hits = opened(vectors).similar(vectors[5], 299, exclude=np.array([5]))
    content = vectors[:, :-1].astype(np.float64)
    lengths = np.linalg.norm(content, axis=1)
    cosines = np.zeros(300)
    np.divide(content @ content[5], lengths * lengths[5], out=cosines, where=lengths > 0)
    due = [row for row in np.argsort(-cosines).tolist() if row != 5]
    assert hits.ids.tolist() == due
    np.testing.assert_allclose(hits.scores, cosines[due], atol=1e-6)
    assert hits.scores[due.index(17)] == 0.0


def test_an_item_without_direction_is_similar_to_none_but_gives_no_nan() -> None:
    vectors = random_vectors(0, 10)
    hits: Hits = opened(vectors).similar(np.zeros(D, np.float32), 3)
    assert hits.scores.tolist() == [0.0, 0.0, 0.0]
    assert hits.ids.tolist() == [0, 1, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_everywhere(tmp_path: Path, bad: float) -> None:
    vectors = random_vectors(0, 10)
    index = opened(vectors)
    poisoned = vectors[:1].copy()
    poisoned[0, 3] = bad
    with pytest.raises(ValueError, match="finite"):
        index.search([Query(poisoned, 3)])
    with pytest.raises(ValueError, match="finite"):
        index.similar(poisoned[0], 3)
    with pytest.raises(ValueError, match="finite"):
        index.put(np.array([3]), poisoned)
    with pytest.raises(ValueError, match="finite"):
        build_index(poisoned, tmp_path / "other.faiss")
    assert index.num_items == 10


def test_wrong_shapes_and_ids_are_refused() -> None:
    index = opened(random_vectors(0, 10))
    with pytest.raises(ValueError, match="shape"):
        index.search([Query(np.zeros((1, D + 1), np.float32), 3)])
    with pytest.raises(ValueError, match="k must be"):
        index.search([Query(np.zeros((1, D), np.float32), 0)])
    with pytest.raises(ValueError, match="twice"):
        index.put(np.array([3, 3]), random_vectors(1, 2))
    with pytest.raises(ValueError, match="not within"):
        index.put(np.array([-4]), random_vectors(1, 1))


def test_a_file_that_is_no_such_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    build_index(random_vectors(0, 20), path)
    with pytest.raises(BundleError, match="not 21 x 8"):
        open_engine(path, (21, D))
    content = path.read_bytes()
    for broken in (b"", content[:40], b"\x80\x04pickle" + content[9:]):
        path.write_bytes(broken)
        with pytest.raises(BundleError) as caught:
            open_engine(path, (20, D))
        assert caught.value.reason == "BUNDLE_CORRUPT"


def test_an_index_knows_the_vectors_that_it_was_built_of() -> None:
    vectors = random_vectors(0, 20)
    index = opened(vectors)
    assert index.holds(vectors)
    index.put(np.array([3]), vectors[[5]] + np.float32(9))
    assert index.holds(vectors)
    assert not index.holds(vectors[::-1])
    assert not index.holds(vectors[:5])


def test_an_empty_index_answers_with_nothing() -> None:
    index = opened(np.zeros((0, D), np.float32))
    [hits] = index.search(
        [Query(np.ones((1, D), np.float32), 5, allowed=IdSet.of(np.ones(3, bool)))]
    )
    assert len(hits.ids) == 0
    index.put(np.array([4]), random_vectors(0, 1))
    [hits] = index.search([Query(np.ones((1, D), np.float32), 5)])
    assert hits.ids.tolist() == [4]
