"""Every answer of the ranker has less than 3 MiB, and every id and score."""

import time
from collections.abc import Sequence

import numpy as np
import pytest

from groundswell.ranker.v1.ranker_service_pb2 import BatchRecommendResponse, Degradation
from groundswell.ranker_service.answers import interests_response, recommend_responses
from groundswell.ranker_service.catalogue import CatalogueItem
from groundswell.ranker_service.pipeline import Ranked
from groundswell.ranker_service.recommender import MANY_INTERESTS
from groundswell.ranker_service.servicer import LONG_ANSWER
from groundswell.ranker_service.stages.explain import Recommendations
from groundswell.ranker_service.stages.fuse import FusionWeightOrigin
from groundswell.serving.attribution import AttributionTokens
from groundswell.serving.interests import top_interests
from groundswell.serving.limits import MAX_ANSWER_BYTES

TOKENS = AttributionTokens("a secret of the deployment")
NUM_ITEMS, NUM_CATEGORIES = 200, 64


def longest_items() -> list[CatalogueItem]:
    """Items whose ids, titles and categories are as long as the contract allows."""
    categories = tuple(f"{n:0256}" for n in range(NUM_CATEGORIES))
    return [
        CatalogueItem(n, f"{n:0256}", "T" * 2_000, categories, {}, available=True)
        for n in range(NUM_ITEMS)
    ]


def usual_items() -> list[CatalogueItem]:
    return [CatalogueItem(n, f"i{n}", f"Item {n}", ("a",), {}, True) for n in range(NUM_ITEMS)]


def answer(items: Sequence[CatalogueItem | None], num_interests: int = 0) -> Recommendations:
    ids = np.arange(len(items))
    parts = np.ones((2, len(items)), np.float32)
    return Recommendations(
        bundle_id="b" * 64,
        ranked=Ranked(
            ids=ids,
            scores=(1.5 + ids).astype(np.float32),
            short_scores=parts[0],
            long_scores=parts[1],
            alpha=np.full(4, 0.5, np.float32),
            fusion_weight=0.5,
            origin=FusionWeightOrigin.LEARNED,
            user=np.ones(4, np.float32),
            fallback=False,
        ),
        items=list(items),
        interests=[(f"{n:0256}", 0.001) for n in range(num_interests)],
        degradations=list(Degradation.values()[1:]),
        profile_age_us=10**17,
        session_age_us=10**17,
    )


@pytest.mark.parametrize(
    ("num_answers", "page_size", "num_interests"),
    [(256, 39, 39), (50, 200, 200), (1, 200, 1_000), (1, 1, 1_000), (256, 39, 0)],
)
def test_the_largest_answers_fit_and_none_lacks_an_item(
    num_answers: int, page_size: int, num_interests: int
) -> None:
    answers = [answer(longest_items()[:page_size], num_interests)] * num_answers
    responses = recommend_responses(answers, TOKENS)
    assert BatchRecommendResponse(responses=responses).ByteSize() < MAX_ANSWER_BYTES
    for response in responses:
        assert [one.item_id for one in response.recommendations] == [
            f"{n:0256}" for n in range(page_size)
        ]
        assert [one.score for one in response.recommendations] == [
            1.5 + n for n in range(page_size)
        ]
        has_details = not response.details_omitted
        assert len(response.interests) == (num_interests if has_details else 0)
        for one in response.recommendations:
            assert len(one.title) == (2_000 if has_details else 0)
            assert len(one.categories) == (NUM_CATEGORIES if has_details else 0)
    omitted = [response.details_omitted for response in responses]
    assert omitted == sorted(omitted)


def test_answers_of_usual_items_are_whole() -> None:
    responses = recommend_responses([answer(usual_items(), 20)] * 50, TOKENS)
    assert not any(response.details_omitted for response in responses)
    assert responses[-1].recommendations[199].title == "Item 199"
    assert len({response.recommendation_id for response in responses}) == 50


def test_an_item_that_was_deleted_since_the_search_is_left_out() -> None:
    first, _, third = usual_items()[:3]
    [response] = recommend_responses([answer([first, None, third])], TOKENS)
    found = [(one.item_id, one.score) for one in response.recommendations]
    assert found == [("i0", 1.5), ("i2", 3.5)]
    assert response.fusion_weight == 0.5


def test_the_most_interests_that_can_be_asked_for_fit() -> None:
    assert interests_response(answer([], 10_000)).ByteSize() < MAX_ANSWER_BYTES


def test_an_answer_in_the_event_loop_holds_it_for_less_than_10_ms() -> None:
    """A longer one is written in a thread."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(MANY_INTERESTS))
    names = [f"{n:0256}" for n in range(MANY_INTERESTS)]
    largest, times = answer(longest_items()[: LONG_ANSWER - 20], 20), []
    for _ in range(5):
        began = time.thread_time()
        top_interests(probabilities, names, MANY_INTERESTS)
        recommend_responses([largest], TOKENS)
        times.append(time.thread_time() - began)
    assert min(times) <= 0.010
