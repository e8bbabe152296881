"""What neighbour scores do to a page, against scoring and sorting every item."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.gate import GateFeatures
from groundswell.ranker_service.pipeline import Pipeline, Ranked, RankInput
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.engines import ENGINES
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.neighbours import NOTHING, Sparse
from groundswell.retrieval.query import Query
from tests.support.indexes import opened, random_vectors
from tests.support.ranker import CONSTANT

# The items' scores by the two vectors are 4, 3, 2, 1, 0 and 0, 1, 2, 3, 4.
VECTORS = np.array([[4, 0, 0], [3, 1, 0], [2, 2, 0], [1, 3, 0], [0, 4, 0]], np.float32)
SHORT, LONG = np.array([1, 0, 0], np.float32), np.array([0, 1, 0], np.float32)


def sparse(**scores: float) -> Sparse:
    """Scores of ids, named i5."""
    rows = np.array([int(name[1:]) for name in scores], np.int64)
    return Sparse(rows, np.array(list(scores.values()), np.float32))


class Given(NamedTuple):
    """The neighbour scores of every window and of every history that has items."""

    of_windows: Sparse = NOTHING
    of_histories: Sparse = NOTHING

    def short(self, window: NDArray[np.int64]) -> Sparse:
        return self.of_windows if len(window) else NOTHING

    def long(self, history: NDArray[np.int64]) -> Sparse:
        return self.of_histories if len(history) else NOTHING


ANY = np.array([3], np.int64)
BOTH = RankInput(k=5, short_vector=SHORT, long_vector=LONG, window=ANY, history=ANY)
GIVEN = Given(sparse(i4=8.0, i1=1.0), sparse(i0=2.0, i1=6.0))


@pytest.fixture
def index() -> ItemIndex:
    return opened(VECTORS)


@pytest.fixture
def pipeline(gate: OnnxModel, index: ItemIndex) -> Pipeline:
    return Pipeline(Fusion(gate, CONSTANT), GIVEN, index, np.arange(5.0))


def scores(ranked: Ranked) -> dict[int, tuple[float, float, float]]:
    columns = (ranked.scores, ranked.short_scores, ranked.long_scores)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(ranked.ids.tolist(), rows, strict=True))


def test_neighbour_scores_are_weighed_as_their_vector_is(pipeline: Pipeline) -> None:
    [ranked] = pipeline.rank([replace(BOTH, fusion_weight=0.25)])
    assert scores(ranked) == {
        1: (1.0 + 5.25, 0.75 + 0.25, 0.75 + 4.5),
        4: (3.0 + 2.0, 0.0 + 2.0, 3.0),
        3: (2.5, 0.25, 2.25),
        0: (1.0 + 1.5, 1.0, 0.0 + 1.5),
        2: (2.0, 0.5, 1.5),
    }
    assert ranked.ids.tolist() == [1, 4, 0, 3, 2]


def test_a_forced_weight_of_one_or_zero_leaves_one_vector_with_its_neighbour_scores(
    pipeline: Pipeline,
) -> None:
    short, long = pipeline.rank([replace(BOTH, fusion_weight=w) for w in (1.0, 0.0)])
    assert dict(zip(short.ids.tolist(), short.scores.tolist(), strict=True)) == {
        4: 8.0,
        0: 4.0,
        1: 4.0,
        2: 2.0,
        3: 1.0,
    }
    assert not short.long_scores.any()
    assert dict(zip(long.ids.tolist(), long.scores.tolist(), strict=True)) == {
        1: 7.0,
        4: 4.0,
        3: 3.0,
        0: 2.0,
        2: 2.0,
    }
    assert not long.short_scores.any()


def test_of_a_weight_per_dimension_the_mean_counts(gate: OnnxModel, index: ItemIndex) -> None:
    learned = CONSTANT.model_copy(update={"mode": "learned"})
    pipeline = Pipeline(Fusion(gate, learned), GIVEN, index, np.zeros(0))
    features = GateFeatures(0.0, 1, 5)
    [ranked] = pipeline.rank([replace(BOTH, gate_features=features)])
    alpha = 1 / (1 + np.exp(-features.logarithms().astype(np.float64)))
    given = scores(ranked)
    assert given[4][1] == pytest.approx(8 * alpha.mean(), rel=1e-5)
    assert given[0][2] == pytest.approx(2 * (1 - alpha.mean()), rel=1e-5)
    assert given[1][1] == pytest.approx(3 * alpha[0] + alpha.mean(), rel=1e-5)


def test_without_a_vector_its_neighbour_scores_are_missing_and_the_others_count_whole(
    pipeline: Pipeline,
) -> None:
    short, long, nobody = pipeline.rank(
        [
            replace(BOTH, long_vector=None, fusion_weight=0.25),
            replace(BOTH, short_vector=None, fusion_weight=0.25),
            replace(BOTH, short_vector=None, long_vector=None),
        ]
    )
    assert scores(short)[4] == (8.0, 8.0, 0.0)
    assert scores(short)[1] == (4.0, 4.0, 0.0)
    assert scores(long)[1] == (7.0, 0.0, 7.0)
    assert scores(long)[4] == (4.0, 0.0, 4.0)
    assert nobody.ids.tolist() == [4, 3, 2, 1, 0]
    assert nobody.fallback


def test_what_is_excluded_or_not_allowed_is_not_brought_back(pipeline: Pipeline) -> None:
    allowed = IdSet.of(np.array([True, True, True, True, False]))
    filtered, denied = pipeline.rank(
        [replace(BOTH, allowed=allowed), replace(BOTH, exclude=[np.array([4]), np.array([1])])]
    )
    assert sorted(filtered.ids.tolist()) == [0, 1, 2, 3]
    assert sorted(denied.ids.tolist()) == [0, 2, 3]


def test_ids_that_are_no_items_are_ignored(gate: OnnxModel, index: ItemIndex) -> None:
    strange = Given(Sparse(np.array([-1, 70, 4]), np.array([9, 9, 8], np.float32)))
    pipeline = Pipeline(Fusion(gate, CONSTANT), strange, index, np.zeros(0))
    [ranked] = pipeline.rank([replace(BOTH, fusion_weight=1.0)])
    assert ranked.ids.tolist() == [4, 0, 1, 2, 3]


@pytest.mark.parametrize("kind", ENGINES)
def test_an_item_with_neighbour_scores_alone_gets_on_the_page_with_its_whole_score(
    gate: OnnxModel, kind: str
) -> None:
    vectors = np.random.default_rng(0).standard_normal((3_000, 3)).astype(np.float32)
    index = ItemIndex(ENGINES[kind].build(vectors))
    user = np.array([1, 2, 0.5], np.float32)
    products = vectors @ user
    worst, middle = int(products.argmin()), int(np.argsort(products)[1_500])
    given = Given(Sparse(np.array([worst, middle]), np.array([60.0, 1e-3], np.float32)))
    pipeline = Pipeline(Fusion(gate, CONSTANT), given, index, np.zeros(0))
    plain = RankInput(k=5, short_vector=user)
    without, with_it = pipeline.rank([plain, replace(plain, window=ANY)])
    assert with_it.ids.tolist() == [worst, *without.ids[:4].tolist()]
    assert with_it.scores[0] == pytest.approx(products[worst] + 60.0, rel=1e-6)
    assert with_it.scores[1:].tobytes() == without.scores[:4].tobytes()


def test_without_neighbours_or_with_empty_scores_nothing_changes(gate: OnnxModel) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((500, 3)).astype(np.float32)
    index = opened(vectors)
    without, empty = (
        Pipeline(Fusion(gate, CONSTANT), neighbours, index, np.zeros(0))
        for neighbours in (None, Given())
    )
    for k in (10, 500):
        short, long = rng.standard_normal((2, 3)).astype(np.float32)
        one = replace(BOTH, k=k, short_vector=short, long_vector=long)
        first, second = without.rank([one]) + empty.rank([one])
        assert first.ids.tolist() == second.ids.tolist()
        for name in ("scores", "short_scores", "long_scores"):
            assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_neighbour_score_that_is_negative_or_not_finite_is_refused(
    gate: OnnxModel, index: ItemIndex, value: float
) -> None:
    pipeline = Pipeline(Fusion(gate, CONSTANT), Given(sparse(i1=value)), index, np.zeros(0))
    with pytest.raises(ValueError, match="added score"):
        pipeline.rank([BOTH])


def test_what_is_added_must_fit_the_parts(index: ItemIndex) -> None:
    with pytest.raises(ValueError, match="1 added scores for 2 parts"):
        index.search([Query(VECTORS[:2], 3, added=(NOTHING,))])


def _coarse_scores(rng: np.random.Generator, size: int, highest: int) -> Sparse:
    """Exact in float32 at every weight of the test, so that equal totals are common."""
    ids = rng.choice(size + 5, min(int(rng.integers(0, 120)), size), replace=False)
    return Sparse(ids.astype(np.int64), rng.integers(0, highest, len(ids)).astype(np.float32))


def _brute_force(
    vectors: NDArray[np.float32], one: RankInput, given: Given, alpha: float
) -> tuple[list[int], list[float]]:
    """Score and sort every item that passes."""
    n = len(vectors)
    totals = np.zeros(n)
    short = one.short_vector, given.of_windows, alpha
    long = one.long_vector, given.of_histories, 1 - alpha
    for vector, added, weight in (short, long):
        if vector is None:
            continue
        totals += weight * (vectors.astype(np.float64) @ vector.astype(np.float64))
        for item, score in zip(added.rows.tolist(), added.scores.tolist(), strict=True):
            if item < n:
                totals[item] += weight * score
    passing = np.ones(n, bool) if one.allowed is None else one.allowed.has(np.arange(n))
    for seen in one.exclude:
        passing[seen[seen < n]] = False
    order = [int(i) for i in np.lexsort((np.arange(n), -totals)) if passing[i]][: one.k]
    return order, totals[order].tolist()


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 500),
    k=st.integers(1, 600),
    highest=st.sampled_from([2, 8, 64]),
    alpha=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    vectors_of=st.sampled_from(["both", "short", "long"]),
    filtered=st.booleans(),
)
def test_a_page_equals_scoring_and_sorting_every_item(
    gate: OnnxModel,
    seed: int,
    n: int,
    k: int,
    highest: int,
    alpha: float,
    vectors_of: str,
    filtered: bool,
) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_vectors(seed, n)
    short, long = random_vectors(seed + 1, 2)
    one = RankInput(
        k=min(k, n),
        short_vector=None if vectors_of == "long" else short,
        long_vector=None if vectors_of == "short" else long,
        window=ANY,
        history=ANY,
        fusion_weight=alpha,
        exclude=[rng.integers(0, n + 5, int(rng.integers(0, 40)))],
        allowed=IdSet.of(rng.random(n) < 0.4) if filtered else None,
    )
    given = Given(_coarse_scores(rng, n, highest), _coarse_scores(rng, n, highest))
    pipeline = Pipeline(Fusion(gate, CONSTANT), given, opened(vectors), np.zeros(0))
    [ranked] = pipeline.rank([one])
    used = {"both": alpha, "short": 1.0, "long": 0.0}[vectors_of]
    ids, totals = _brute_force(vectors, one, given, used)
    assert ranked.ids.tolist() == ids
    assert ranked.scores.tolist() == totals
