"""The pipeline against a numpy reference, and what it answers when a vector is missing."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.gate import GateFeatures
from groundswell.ranker_service.pipeline import Pipeline, RankInput
from groundswell.ranker_service.stages.fuse import Fusion, FusionWeightOrigin
from groundswell.ranker_service.stages.page_controls import Controls
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.neighbours import Sparse
from tests.support.ranker import CONSTANT, LEARNED

N, D = 400, 3
VECTORS = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
POPULARITY = np.random.default_rng(5).integers(0, 20, N).astype(np.float64)


@pytest.fixture
def pipeline(gate: OnnxModel) -> Pipeline:
    index = ItemIndex(FlatEngine.build(VECTORS))
    return Pipeline(Fusion(gate, LEARNED), None, index, POPULARITY)


def user(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(D).astype(np.float32)


BOTH = RankInput(k=N, short_vector=user(0), long_vector=user(1))


def sorted_ids(scores: NDArray[np.floating], passing: NDArray[np.bool_]) -> list[int]:
    """Best first, the lower id first among equals."""
    order = np.lexsort((np.arange(N), -scores.astype(np.float32)))
    return [int(item) for item in order if passing[item]]


def test_hundreds_of_users_are_ranked_over_all_items_as_numpy_does_it(pipeline: Pipeline) -> None:
    rng = np.random.default_rng(1)
    inputs, due = [], []
    for seed in range(300):
        short, long = user(seed), user(1_000 + seed)
        features = GateFeatures(rng.random(), int(rng.integers(3)), int(rng.integers(6)))
        seen = rng.integers(0, N, 30)
        both = RankInput(k=N, short_vector=short, long_vector=long)
        inputs.append(replace(both, gate_features=features, exclude=[seen]))
        alpha = 1 / (1 + np.exp(-features.logarithms()))
        fused = (alpha * short + (1 - alpha) * long).astype(np.float64)
        passing = np.ones(N, bool)
        passing[seen] = False
        due.append((VECTORS.astype(np.float64) @ fused, passing))
    for ranked, (scores, passing) in zip(pipeline.rank(inputs), due, strict=True):
        assert sorted(ranked.ids.tolist()) == np.flatnonzero(passing).tolist()
        np.testing.assert_allclose(ranked.scores, scores[ranked.ids], atol=1e-5)
        assert (np.diff(ranked.scores) <= 0).all()
        assert ranked.origin is FusionWeightOrigin.LEARNED


def test_a_page_is_the_head_of_the_whole_ranking_within_the_filter(pipeline: Pipeline) -> None:
    allowed = IdSet.of(np.random.default_rng(2).random(N) < 0.3)
    seen = allowed.ids[:20]
    one = replace(BOTH, k=10, exclude=[seen], allowed=allowed)
    page, whole = pipeline.rank([one, replace(one, k=N)])
    assert page.ids.tolist() == whole.ids[:10].tolist()
    assert allowed.has(whole.ids).all()
    assert len(whole.ids) == allowed.count - 20


def test_the_two_parts_of_a_score_are_what_each_vector_gave(pipeline: Pipeline) -> None:
    short, long = user(0), user(1)
    [ranked] = pipeline.rank([replace(BOTH, k=20, fusion_weight=0.25)])
    vectors = VECTORS[ranked.ids]
    np.testing.assert_allclose(ranked.short_scores, vectors @ (0.25 * short), atol=1e-5)
    np.testing.assert_allclose(ranked.long_scores, vectors @ (0.75 * long), atol=1e-5)
    np.testing.assert_allclose(ranked.short_scores + ranked.long_scores, ranked.scores, atol=1e-6)
    assert ranked.alpha is not None
    assert ranked.alpha.tolist() == [0.25] * D


def test_one_vector_ranks_alone(pipeline: Pipeline) -> None:
    both, short_alone, long_alone = pipeline.rank(
        [
            BOTH,
            RankInput(k=N, short_vector=user(0)),
            RankInput(k=N, long_vector=user(1), fusion_weight=0.9),
        ]
    )
    everything = np.ones(N, bool)
    assert short_alone.ids.tolist() == sorted_ids(VECTORS @ user(0), everything)
    assert long_alone.ids.tolist() == sorted_ids(VECTORS @ user(1), everything)
    assert not short_alone.long_scores.any()
    assert not long_alone.short_scores.any()
    assert short_alone.origin is long_alone.origin is FusionWeightOrigin.ONE_VECTOR
    assert both.ids.tolist() != short_alone.ids.tolist()


def test_nobody_gets_what_is_popular_within_the_filter(pipeline: Pipeline) -> None:
    allowed = np.random.default_rng(3).random(N) < 0.5
    seen = np.arange(0, N, 7)
    [ranked] = pipeline.rank([RankInput(k=25, exclude=[seen], allowed=IdSet.of(allowed))])
    passing = allowed.copy()
    passing[seen] = False
    assert ranked.ids.tolist() == sorted_ids(POPULARITY, passing)[:25]
    assert ranked.scores.tolist() == POPULARITY[ranked.ids].tolist()
    assert ranked.fallback
    assert ranked.alpha is None
    assert ranked.user is None


def test_known_and_unknown_users_of_one_batch_keep_their_places(pipeline: Pipeline) -> None:
    inputs = [RankInput(k=5), RankInput(k=5, short_vector=user(0)), RankInput(k=5)]
    ranked = pipeline.rank(inputs)
    assert [one.fallback for one in ranked] == [True, False, True]
    assert ranked[1].ids.tolist() == pipeline.rank([inputs[1]])[0].ids.tolist()
    assert pipeline.rank([]) == []


def test_a_page_of_nothing_is_the_fusion_alone(pipeline: Pipeline) -> None:
    page, alone = pipeline.rank([replace(BOTH, k=5), replace(BOTH, k=0)])
    assert alone.ids.tolist() == []
    assert alone.user is not None
    assert page.user is not None
    assert alone.user.tolist() == page.user.tolist()
    assert pipeline.rank([RankInput(k=0)])[0].ids.tolist() == []


def test_items_that_training_never_saw_count_as_unpopular(gate: OnnxModel) -> None:
    index = ItemIndex(FlatEngine.build(VECTORS[:3]), np.array([4, 9, 2]))
    index.put(np.array([50]), VECTORS[:1])
    popularity = np.zeros(10)
    popularity[[2, 4, 9]] = [3.0, 5.0, 8.0]
    [ranked] = Pipeline(Fusion(gate, CONSTANT), None, index, popularity).rank([RankInput(k=9)])
    assert ranked.ids.tolist() == [9, 4, 2, 50]


@pytest.mark.parametrize("size", [10, 99])
def test_the_spread_of_popularity_is_that_of_the_items_alone(gate: OnnxModel, size: int) -> None:
    """However many ids without an item there is room for."""
    index = ItemIndex(FlatEngine.build(VECTORS[:4]), np.array([4, 9, 2, 50]))
    popularity = np.zeros(size)
    popularity[[2, 4, 9]] = [3.0, 5.0, 8.0]
    pipeline = Pipeline(Fusion(gate, CONSTANT), None, index, popularity)
    [page] = pipeline.rank([RankInput(k=9, controls=Controls())])
    assert page.arranged is not None
    values = np.array([8.0, 5.0, 3.0, 0.0])
    assert page.arranged.deviation == pytest.approx(values.std())
    np.testing.assert_allclose(page.arranged.relevance, (values - values.mean()) / values.std())


def test_a_vector_that_is_not_finite_never_reaches_an_answer(pipeline: Pipeline) -> None:
    poison = user(0)
    poison[1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        pipeline.rank([RankInput(k=3, short_vector=poison)])


@pytest.mark.parametrize("k", [5, N])
def test_what_is_popular_now_is_a_third_part_of_every_score(gate: OnnxModel, k: int) -> None:
    rng = np.random.default_rng(7)
    popular_now = Sparse(rng.choice(N, 60, replace=False), rng.random(60).astype(np.float32) * 3)
    index = ItemIndex(FlatEngine.build(VECTORS))
    parts = (Fusion(gate, CONSTANT), None, index, POPULARITY)
    plain, third = Pipeline(*parts), Pipeline(*parts, popular_now=popular_now)
    asked = [replace(BOTH, k=k), replace(BOTH, k=k, long_vector=None), RankInput(k=k)]
    both, short, neither = third.rank(asked)
    added = np.zeros(N)
    added[popular_now.rows] = popular_now.scores
    [whole] = plain.rank([replace(BOTH, k=N)])
    due = np.zeros(N)
    due[whole.ids] = whole.scores
    assert both.ids.tolist() == sorted_ids(due + added, np.ones(N, bool))[:k]
    assert both.popularity_scores is not None
    assert short.popularity_scores is not None
    np.testing.assert_allclose(both.popularity_scores, added[both.ids], rtol=1e-6)
    total = both.short_scores + both.long_scores + both.popularity_scores
    np.testing.assert_allclose(both.scores, total, atol=1e-5)
    np.testing.assert_allclose(short.popularity_scores, added[short.ids], rtol=1e-6)
    # Without a vector the order is that of all popularity, and no part is named.
    assert neither.fallback
    assert neither.popularity_scores is None
    assert neither.ids.tolist() == plain.rank([RankInput(k=k)])[0].ids.tolist()


def test_likes_and_popularity_are_parts_of_their_own(gate: OnnxModel) -> None:
    popular_now = Sparse(np.array([3]), np.array([2.0], np.float32))
    index = ItemIndex(FlatEngine.build(VECTORS))
    pipeline = Pipeline(Fusion(gate, CONSTANT), None, index, POPULARITY, popular_now=popular_now)
    liked = Controls(liked=np.array([7]), categories=np.full(N, -1, np.int32))
    for one in (replace(BOTH, k=N, controls=liked), RankInput(k=N, controls=liked)):
        [ranked] = pipeline.rank([one])
        assert not ranked.fallback
        assert ranked.arranged is not None
        assert ranked.popularity_scores is not None
        assert ranked.popularity_scores.sum() == 2.0
        parts = ranked.short_scores + ranked.long_scores + ranked.popularity_scores
        np.testing.assert_allclose(ranked.scores, parts + ranked.arranged.liked_scores, atol=1e-4)
