"""Pages with controls: what each control does, and what holds however they are combined."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.ranker_service.pipeline import Pipeline, Ranked, RankInput
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.ranker_service.stages.page_controls import (
    Arranged,
    Boost,
    Controls,
    ItemSpread,
    Placement,
    Promotion,
    directions,
)
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex
from tests.support.ranker import CONSTANT

N, D = 400, 3
RNG = np.random.default_rng(3)
VECTORS = RNG.standard_normal((N, D)).astype(np.float32)
POPULARITY = RNG.integers(0, 20, N).astype(np.float64)
CATEGORIES = (RNG.integers(-1, 9, N) // 2).astype(np.int32)
"""Five categories and none, of different sizes."""
SHORT, LONG = (RNG.standard_normal(D).astype(np.float32) for _ in range(2))


@pytest.fixture(scope="module")
def pipeline(gate: OnnxModel) -> Pipeline:
    index = ItemIndex(FlatEngine.build(VECTORS))
    return Pipeline(Fusion(gate, CONSTANT), None, index, POPULARITY, spread=ItemSpread(VECTORS))


def ranked(
    pipeline: Pipeline, k: int = 10, controls: Controls | None = None, **more: Any
) -> Ranked:
    one = RankInput(k=k, short_vector=SHORT, long_vector=LONG, controls=controls, **more)
    return pipeline.rank([one])[0]


def arranged(page: Ranked) -> Arranged:
    assert page.arranged is not None
    return page.arranged


def some(seed: int, share: float) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(N) < share


def test_controls_that_are_all_off_change_nothing(pipeline: Pipeline) -> None:
    plain, page = ranked(pipeline), ranked(pipeline, controls=Controls(categories=CATEGORIES))
    assert page.ids.tolist() == plain.ids.tolist()
    assert page.scores.tolist() == plain.scores.tolist()
    assert arranged(page).ranks.tolist() == list(range(1, 11))
    assert set(arranged(page).placements) == {Placement.RELEVANCE}
    assert plain.arranged is None


def test_a_boost_is_exact_over_the_whole_catalogue(pipeline: Pipeline) -> None:
    """Also for items far below the page, and for a boost that lowers most items."""
    user = ranked(pipeline).user
    assert user is not None
    scores = VECTORS.astype(np.float64) @ user.astype(np.float64)
    for weight, share in ((1.5, 0.05), (-1.5, 0.9), (100.0, 0.5)):
        mask = some(1, share)
        page = ranked(pipeline, controls=Controls(boosts=[Boost(IdSet.of(mask), weight)]))
        due = scores + weight * scores.std() * mask
        assert page.ids.tolist() == np.lexsort((np.arange(N), -due))[:10].tolist()
        np.testing.assert_allclose(page.scores, due[page.ids], rtol=1e-5)
        z = (scores - scores.mean()) / scores.std()
        np.testing.assert_allclose(arranged(page).relevance, z[page.ids], atol=1e-4)


def test_pins_stand_at_their_places_and_need_no_relevance(pipeline: Pipeline) -> None:
    plain = ranked(pipeline)
    worst = int(ranked(pipeline, k=N).ids[-1])
    seen, denied = plain.ids[:1], plain.ids[1:2]
    controls = Controls(pins={0: worst, 4: int(seen[0]), 7: int(denied[0])}, never=[denied])
    page = ranked(pipeline, controls=controls, exclude=[seen, denied])
    assert (page.ids[0], page.ids[4]) == (worst, seen[0])
    assert denied[0] not in page.ids
    placements = arranged(page).placements
    assert [n for n, one in enumerate(placements) if one is Placement.PINNED] == [0, 4]
    outside = np.delete(page.ids, [0, 4]).tolist()
    assert outside == plain.ids[2:].tolist()


def test_a_promotion_takes_the_last_places_that_it_needs(pipeline: Pipeline) -> None:
    mask = np.zeros(N, bool)
    mask[ranked(pipeline, k=N).ids[-5:]] = True
    page = ranked(pipeline, controls=Controls(promotions=[Promotion(IdSet.of(mask), 3)]))
    assert mask[page.ids].tolist() == [False] * 7 + [True] * 3
    assert arranged(page).placements[-3:] == [Placement.PROMOTED] * 3
    assert (np.diff(page.scores[-3:]) <= 0).all()


def test_a_promotion_comes_before_what_is_explored(pipeline: Pipeline) -> None:
    """Also where its items are the best ones."""
    kind, young = IdSet.of(some(5, 0.3)), np.flatnonzero(~some(5, 0.3))
    asked = Controls(boosts=[Boost(kind, 50.0)], promotions=[Promotion(kind, 10)])
    page = ranked(pipeline, controls=replace(asked, exploration=1.0, explored=young))
    assert kind.has(page.ids).all()
    assert set(arranged(page).placements) == {Placement.RELEVANCE}


def test_a_promotion_takes_no_places_for_items_that_cannot_come(pipeline: Pipeline) -> None:
    """There are too few, an item counts for two promotions, or its category is full."""
    order = ranked(pipeline, k=N).ids
    nothing, last, two, five = (
        IdSet.of(np.isin(np.arange(N), order[N - n :])) for n in (0, 1, 2, 5)
    )
    for promotions, due in (
        ([Promotion(last, 9)], order[-1:]),
        ([Promotion(last, 1), Promotion(nothing, 7)], order[-1:]),
        ([Promotion(two, 2), Promotion(two, 2)], order[-2:]),
        ([Promotion(five, 5)], order[-5:-3]),
    ):
        categories = np.where(five.has(np.arange(N)), 0, -1).astype(np.int32)
        asked = Controls(promotions=promotions, categories=categories, max_per_category=2)
        page = ranked(pipeline, controls=asked)
        assert page.ids.tolist() == [*order[: 10 - len(due)], *due]


def test_a_full_category_makes_room_for_items_far_below(pipeline: Pipeline) -> None:
    controls = Controls(categories=CATEGORIES, max_per_category=3)
    page = ranked(pipeline, k=40, controls=controls, exclude=[np.flatnonzero(CATEGORIES < 0)])
    counts = np.bincount(CATEGORIES[page.ids])
    assert counts.tolist() == [3] * int(CATEGORIES.max() + 1)
    assert arranged(page).full_categories.tolist() == list(range(int(CATEGORIES.max() + 1)))


def test_the_least_relevance_shortens_a_page(pipeline: Pipeline) -> None:
    z = arranged(ranked(pipeline, controls=Controls())).relevance
    page = ranked(pipeline, controls=Controls(min_relevance=float(z[4])))
    assert len(page.ids) == 5
    assert arranged(page).num_below == 95


def test_likes_and_dislikes_move_the_vector_as_the_contract_says(pipeline: Pipeline) -> None:
    liked, disliked = np.array([5, 9]), np.array([11])
    plain = ranked(pipeline)
    page = ranked(pipeline, k=N, controls=Controls(liked=liked, disliked=disliked))
    p = directions(VECTORS[liked]).mean(0) - directions(VECTORS[disliked]).mean(0)
    assert plain.user is not None
    user = plain.user + np.linalg.norm(plain.user[:-1]) * p
    np.testing.assert_allclose(page.scores, VECTORS[page.ids] @ user, atol=1e-4)
    added = arranged(page).liked_scores
    np.testing.assert_allclose(page.short_scores + page.long_scores + added, page.scores, atol=1e-5)


def test_nobody_is_ranked_by_likes_alone(pipeline: Pipeline) -> None:
    liked = np.array([5])
    [page] = pipeline.rank([RankInput(k=5, controls=Controls(liked=liked))])
    due = VECTORS @ directions(VECTORS[liked])[0]
    assert page.ids.tolist() == np.argsort(-due)[:5].tolist()
    assert not page.fallback
    [popular] = pipeline.rank([RankInput(k=5, controls=Controls(disliked=liked))])
    assert popular.fallback
    assert popular.ids.tolist() == pipeline.rank([RankInput(k=5)])[0].ids.tolist()


def test_what_is_explored_is_drawn_by_the_seed(pipeline: Pipeline) -> None:
    young = np.flatnonzero(some(2, 0.2))
    pages = [
        ranked(pipeline, controls=Controls(exploration=0.5, explored=young, seed=seed))
        for seed in (1, 1, *range(2, 40))
    ]
    assert pages[0].ids.tolist() == pages[1].ids.tolist()
    assert len({tuple(page.ids.tolist()) for page in pages}) > 30
    placed = [one is Placement.EXPLORED for page in pages for one in arranged(page).placements]
    assert 0.4 < np.mean(placed) < 0.6
    shown = np.concatenate([page.ids for page in pages])[placed]
    assert set(shown.tolist()) <= set(young.tolist())
    z = arranged(ranked(pipeline, k=N, controls=Controls())).relevance
    order = ranked(pipeline, k=N).ids
    relevance = dict(zip(order.tolist(), z.tolist(), strict=True))
    drawn = np.mean([relevance[item] for item in shown.tolist()])
    assert drawn > np.mean([relevance[item] for item in young.tolist()]) + 0.5


def test_diversity_makes_lists_more_diverse_step_by_step(pipeline: Pipeline) -> None:
    rng = np.random.default_rng(4)
    users = rng.standard_normal((60, D)).astype(np.float32)
    spread = []
    for diversity in np.linspace(0, 1, 6):
        inputs = [
            RankInput(k=10, short_vector=user, controls=Controls(diversity=float(diversity)))
            for user in users
        ]
        lists = [directions(VECTORS[page.ids]) for page in pipeline.rank(inputs)]
        cosines = [(one @ one.T)[np.triu_indices(10, 1)].mean() for one in lists]
        spread.append(1 - np.mean(cosines))
    assert (np.diff(spread) > 0).all(), spread


shares = st.floats(0, 1)
ids = st.integers(0, N - 1)
masks = st.builds(some, st.integers(0, 50), st.sampled_from([0.0, 0.02, 0.3, 1.0])).map(IdSet.of)
weights = st.one_of(st.floats(-100, 100), st.sampled_from([0.0, 1e-300, -1e-300, 100.0, -100.0]))


@st.composite
def asked(draw: st.DrawFn) -> RankInput:
    k = draw(st.integers(1, 25))
    never = np.array(draw(st.lists(ids, max_size=9)), np.int64)
    seen = np.flatnonzero(some(draw(st.integers(0, 50)), draw(st.sampled_from([0.0, 0.3, 0.97]))))
    disliked = np.array(draw(st.lists(ids, max_size=3)), np.int64)
    pins = draw(st.dictionaries(st.integers(0, k - 1), ids, max_size=4))
    controls = Controls(
        pins={place: item for item, place in {i: p for p, i in pins.items()}.items()},
        never=(never, disliked),
        boosts=draw(st.lists(st.builds(Boost, masks, weights), max_size=3)),
        promotions=draw(st.lists(st.builds(Promotion, masks, st.integers(1, 8)), max_size=2)),
        diversity=draw(st.one_of(st.just(0.0), shares)),
        max_per_category=draw(st.integers(0, 4)),
        categories=CATEGORIES,
        min_relevance=draw(st.one_of(st.none(), st.floats(-3, 3), st.just(100.0))),
        liked=np.array(draw(st.lists(ids, max_size=3)), np.int64),
        disliked=disliked,
        exploration=draw(st.one_of(st.just(0.0), shares)),
        explored=np.flatnonzero(some(draw(st.integers(0, 50)), 0.1)),
        seed=draw(st.integers(0, 2**63 - 1)),
    )
    return RankInput(
        k=k,
        short_vector=draw(st.sampled_from([None, SHORT, SHORT * np.float32(1e15)])),
        long_vector=draw(st.sampled_from([None, LONG, np.zeros(D, np.float32)])),
        exclude=(never, disliked, seen),
        allowed=draw(st.one_of(st.none(), masks)),
        controls=controls,
    )


@settings(max_examples=150, deadline=None)
@given(one=asked())
def test_what_holds_however_controls_are_combined(pipeline: Pipeline, one: RankInput) -> None:
    page, again = pipeline.rank([one, one])
    controls, shown = one.controls, page.ids.tolist()
    assert controls is not None
    assert shown == again.ids.tolist()
    assert len(set(shown)) == len(shown) <= one.k
    did = arranged(page)
    for values in (page.scores, did.relevance, did.boost_scores, did.liked_scores):
        assert np.isfinite(values).all()

    passing = np.ones(N, bool) if one.allowed is None else one.allowed.has(np.arange(N))
    pinnable = passing.copy()
    pinnable[np.concatenate(controls.never)] = False
    passing[np.concatenate(one.exclude)] = False
    pins = {place: item for place, item in controls.pins.items() if pinnable[item]}
    pinned = list(pins.values())
    assert all(passing[item] or item in pinned for item in shown)
    assert not set(shown) & set(np.concatenate(controls.never).tolist())
    placed = [n for n, placement in enumerate(did.placements) if placement is Placement.PINNED]
    assert {shown[n] for n in placed} == set(pinned)

    of_all = pipeline.rank([over_all_items(one)])[0]
    relevant = np.zeros(N, bool)
    least = -np.inf if controls.min_relevance is None else controls.min_relevance
    relevant[of_all.ids] = arranged(of_all).relevance >= least
    left = passing & relevant
    left[pinned] = False
    most = controls.max_per_category or N
    due = int(left[CATEGORIES < 0].sum())
    for category in range(int(CATEGORIES.max()) + 1):
        taken = int((CATEGORIES[pinned] == category).sum())
        due += min(max(most - taken, 0), int(left[category == CATEGORIES].sum()))
        assert (CATEGORIES[shown] == category).sum() <= max(most, taken)
    assert len(shown) == min(one.k, len(pinned) + due)
    if len(shown) == one.k:
        assert {n: shown[n] for n in placed} == pins
    if len(controls.promotions) == 1 and not controls.max_per_category:
        [promotion] = controls.promotions
        others = int((~promotion.items.has(np.array(pinned, np.int64))).sum())
        there = int(promotion.items.has(np.flatnonzero(left)).sum()) + len(pinned) - others
        wanted = min(promotion.num_items, there, one.k - others)
        assert promotion.items.has(page.ids).sum() >= min(wanted, len(shown))


def over_all_items(one: RankInput) -> RankInput:
    """The same user over all items, with no control but the likes."""
    assert one.controls is not None
    likes = Controls(liked=one.controls.liked, disliked=one.controls.disliked)
    return RankInput(
        k=N, short_vector=one.short_vector, long_vector=one.long_vector, controls=likes
    )
