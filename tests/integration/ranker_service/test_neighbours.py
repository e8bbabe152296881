"""Neighbours of a user's items raise scores, over upstreams that a test scripts."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.client import event
from groundswell.features.actions import DISLIKE
from groundswell.ranker.v1.ranker_service_pb2 import RecommendResponse
from groundswell.retrieval.neighbours import Neighbours, Sparse
from tests.integration.ranker_service.support import (
    CLICK,
    NOW_US,
    VIEW,
    Ranker,
    degradations,
    ids,
    item,
    scripted_ranker,
)
from tests.support.bundles import ITEMS, tiny_bundle
from tests.support.waiting import eventually

NOW = datetime.fromtimestamp(NOW_US / 1e6, UTC)
EVERYTHING = len(ITEMS)
DISLIKED = 1 << DISLIKE
WINDOW = {"r9": CLICK, "r4": VIEW}
HISTORY = {"r2": CLICK, "r20": VIEW, "r25": CLICK}


@pytest.fixture(scope="module")
def shared_ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranker]:
    """One process for this module, over a bundle with neighbours."""
    bundles: Path = tmp_path_factory.mktemp("bundles")
    tiny_bundle(bundles, neighbours=True)
    with scripted_ranker(tmp_path_factory.mktemp("ranker"), bundles) as ranker:
        yield ranker


def dense(scores: Sparse) -> NDArray[np.float64]:
    made = np.zeros(EVERYTHING)
    made[scores.rows] = scores.scores
    return made


def due(
    bundle: Bundle, part: str, vector: NDArray[np.float32], items: list[int]
) -> NDArray[np.float64]:
    """The short or the long part of every item's score, neighbour scores included."""
    products = bundle.item_vectors.astype(np.float64) @ vector.astype(np.float64)
    return products + dense(getattr(Neighbours.of(bundle), part)(np.array(items)))


def check(
    answer: RecommendResponse,
    short: NDArray[np.float64],
    long: NDArray[np.float64],
    without: set[int],
) -> None:
    """Compare a whole answer with the two parts of every item's score."""
    totals = short + long
    order = [row for row in np.argsort(-totals, kind="stable") if row not in without]
    assert ids(answer) == [f"item-{row}" for row in order]
    for name, due in (("score", totals), ("short_score", short), ("long_score", long)):
        given = [getattr(one, name) for one in answer.recommendations]
        np.testing.assert_allclose(given, due[order], atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_both_neighbour_scores_are_weighed_as_the_vectors(ranker: Ranker, weight: float) -> None:
    long, short = ranker.user_vector(), ranker.user_vector()
    ranker.add_profile("ann", long, **HISTORY)
    ranker.add_session("ann", short, **WINDOW)
    answer = ranker.client.recommend(
        "ann", page_size=EVERYTHING, fusion_weight=weight, as_of=NOW, exclude_seen=False
    )
    check(
        answer,
        weight * due(ranker.bundle, "short", short, [9, 4]),
        (1 - weight) * due(ranker.bundle, "long", long, [2, 20, 25]),
        set(),
    )
    assert not answer.degradations


def test_what_was_disliked_speaks_for_nothing(ranker: Ranker) -> None:
    long, short = ranker.user_vector(), ranker.user_vector()
    ranker.add_profile("ann", long, **HISTORY, r7=DISLIKED)
    ranker.add_session("ann", short, r9=CLICK, r7=DISLIKED, r4=VIEW)
    answer = ranker.client.recommend("ann", page_size=EVERYTHING, fusion_weight=0.5, as_of=NOW)
    check(
        answer,
        0.5 * due(ranker.bundle, "short", short, [9, -1, 4]),
        0.5 * due(ranker.bundle, "long", long, [2, 20, 25]),
        {2, 25, 9, 7},
    )


def test_what_was_seen_denied_or_filtered_is_not_brought_back(ranker: Ranker) -> None:
    long, short = ranker.user_vector(), ranker.user_vector()
    ranker.add_profile("ann", long, **HISTORY)
    ranker.add_session("ann", short, **WINDOW, r5=CLICK)
    answer = ranker.client.recommend(
        "ann",
        page_size=EVERYTHING,
        fusion_weight=0.5,
        as_of=NOW,
        deny_item_ids=["item-6"],
        filter="price <> 21",
    )
    check(
        answer,
        0.5 * due(ranker.bundle, "short", short, [9, 4, 5]),
        0.5 * due(ranker.bundle, "long", long, [2, 20, 25]),
        {2, 25, 9, 5, 6, 21},
    )


def test_without_a_service_the_neighbour_scores_of_the_other_count_whole(ranker: Ranker) -> None:
    long, short = ranker.user_vector(), ranker.user_vector()
    for user_id in ("zoe", "yan"):  # nobody asked for them before, so no answer is kept
        ranker.add_profile(user_id, long, **HISTORY)
        ranker.add_session(user_id, short, **WINDOW)
    nothing = np.zeros(EVERYTHING)
    ranker.scripted.failures["session"] = grpc.StatusCode.UNAVAILABLE
    answer = ranker.client.recommend("zoe", page_size=EVERYTHING, as_of=NOW)
    assert "SESSION_UNAVAILABLE" in degradations(answer)
    check(answer, nothing, due(ranker.bundle, "long", long, [2, 20, 25]), {2, 25})
    ranker.scripted.failures = {"profile": grpc.StatusCode.UNAVAILABLE}
    answer = ranker.client.recommend("yan", page_size=EVERYTHING, as_of=NOW)
    assert "PROFILE_UNAVAILABLE" in degradations(answer)
    check(answer, due(ranker.bundle, "short", short, [9, 4]), nothing, {9})


def test_without_a_long_vector_the_history_speaks_for_nothing(ranker: Ranker) -> None:
    short = ranker.user_vector()
    ranker.add_profile("ann", None, **HISTORY)
    ranker.add_session("ann", short, **WINDOW)
    answer = ranker.client.recommend("ann", page_size=EVERYTHING, as_of=NOW)
    nothing = np.zeros(EVERYTHING)
    check(answer, due(ranker.bundle, "short", short, [9, 4]), nothing, {2, 25, 9})


def test_a_visitors_events_have_neighbours_too(ranker: Ranker) -> None:
    short = ranker.user_vector()
    ranker.add_session("inline", short, **WINDOW)
    events = [event("", "item-9", "click", time=NOW), event("", "item-4", "view", time=NOW)]
    answer = ranker.client.recommend(events=events, page_size=EVERYTHING, as_of=NOW)
    check(answer, due(ranker.bundle, "short", short, [9, 4]), np.zeros(EVERYTHING), {9})


def test_a_page_is_the_head_of_the_whole_answer(ranker: Ranker) -> None:
    for n in range(20):
        name = f"user-{n}"
        ranker.add_profile(name, ranker.user_vector(), **HISTORY)
        ranker.add_session(name, ranker.user_vector(), **{f"r{n}": CLICK, f"r{n + 3}": VIEW})
        whole = ranker.client.recommend(name, page_size=EVERYTHING, as_of=NOW)
        assert ids(ranker.client.recommend(name, page_size=3, as_of=NOW)) == ids(whole)[:3]


def test_similar_items_and_interests_stay_those_of_the_vectors(ranker: Ranker) -> None:
    short = ranker.user_vector()
    ranker.add_session("ann", short, **WINDOW)
    head = ranker.bundle.interest_head()
    assert head is not None
    due = np.sort(head.run(vectors=short[None])[0])[::-1]
    given = [one.probability for one in ranker.client.interests("ann").interests]
    np.testing.assert_allclose(given, due, atol=1e-5)
    content = ranker.bundle.item_vectors[:, :-1].astype(np.float64)
    content = content / np.linalg.norm(content, axis=1, keepdims=True)
    near = [f"item-{row}" for row in np.argsort(-(content @ content[5])) if row != 5]
    assert [one.item_id for one in ranker.client.similar_items("item-5").items] == near[:10]


def test_a_deleted_neighbour_is_not_recommended_and_comes_back_with_its_source(
    ranker: Ranker,
) -> None:
    short = ranker.user_vector()
    ranker.add_session("ann", short, **WINDOW)

    def found() -> list[str]:
        return ids(ranker.client.recommend("ann", page_size=EVERYTHING, as_of=NOW))

    ranker.scripted.delete(item(5))
    eventually(lambda: "item-5" not in found())
    ranker.scripted.put(item(5))
    eventually(lambda: "item-5" in found())
    answer = ranker.client.recommend("ann", page_size=EVERYTHING, as_of=NOW)
    check(answer, due(ranker.bundle, "short", short, [9, 4]), np.zeros(EVERYTHING), {9})
