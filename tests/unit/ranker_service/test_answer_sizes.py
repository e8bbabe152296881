"""Every answer of the ranker has less than 3 MiB, and every id and score."""

from collections.abc import Sequence

import pytest

from groundswell.ranker.v1.ranker_service_pb2 import BatchRecommendResponse, Degradation
from groundswell.ranker_service.answers import interests_response, recommend_responses
from groundswell.ranker_service.catalogue import CatalogueItem
from groundswell.ranker_service.fusion import FusionWeightOrigin
from groundswell.ranker_service.recommender import Answer, RankedItem
from groundswell.serving.limits import MAX_ANSWER_BYTES

NUM_ITEMS, NUM_CATEGORIES = 200, 64


def longest_items() -> list[RankedItem]:
    """Items whose ids, titles and categories are as long as the contract allows."""
    categories = tuple(f"{n:0256}" for n in range(NUM_CATEGORIES))
    items = [
        CatalogueItem(n, f"{n:0256}", "T" * 2_000, categories, {}, available=True)
        for n in range(NUM_ITEMS)
    ]
    return [RankedItem(item, 1.5 + item.item_no, 0.5, 1.0) for item in items]


def short_items() -> list[RankedItem]:
    items = [CatalogueItem(n, f"i{n}", f"Item {n}", ("a",), {}, True) for n in range(NUM_ITEMS)]
    return [RankedItem(item, 1.5, 0.5, 1.0) for item in items]


def answer(items: Sequence[RankedItem], num_interests: int = 0) -> Answer:
    return Answer(
        bundle_id="b" * 64,
        items=list(items),
        interests=[(f"{n:0256}", 0.001) for n in range(num_interests)],
        fusion_weight=0.5,
        origin=FusionWeightOrigin.LEARNED,
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
    responses = recommend_responses(answers)
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
    responses = recommend_responses([answer(short_items(), 20)] * 50)
    assert not any(response.details_omitted for response in responses)
    assert responses[-1].recommendations[199].title == "Item 199"
    assert len({response.recommendation_id for response in responses}) == 50


def test_the_most_interests_that_can_be_asked_for_fit() -> None:
    assert interests_response(answer([], 10_000)).ByteSize() < MAX_ANSWER_BYTES
