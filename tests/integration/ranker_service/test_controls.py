"""Controls, pages, categories and explanations, as a real ranker answers them."""

import time
from typing import Unpack

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from groundswell.client import GroundswellError
from groundswell.client.requests import RecommendOptions, recommend_request
from groundswell.ranker.v1 import ranker_service_pb2 as pb
from tests.integration.ranker_service.support import CLICK, Ranker, ids, item
from tests.support.bundles import CATEGORIES, ITEMS
from tests.support.waiting import eventually

EVERYTHING = len(ITEMS)


@pytest.fixture
def known(ranker: Ranker) -> Ranker:
    """A ranker that knows both vectors of ann, who has seen item-3."""
    ranker.rng = np.random.default_rng(0)
    ranker.add_profile("ann", ranker.user_vector(), r3=CLICK)
    ranker.add_session("ann", ranker.user_vector(), r5=CLICK)
    return ranker


def ask(ranker: Ranker, **options: Unpack[RecommendOptions]) -> pb.RecommendResponse:
    return ranker.client.recommend("ann", **options)


def refused(ranker: Ranker, **options: Unpack[RecommendOptions]) -> tuple[str, list[str]]:
    with pytest.raises(GroundswellError) as caught:
        ask(ranker, **options)
    assert caught.value.status is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value.reason, [violation.field for violation in caught.value.violations]


def test_a_page_says_what_put_each_item_at_its_place(known: Ranker) -> None:
    plain = ids(ask(known, page_size=EVERYTHING))
    drama = [item_id for item_id, _, categories in ITEMS if categories == ("drama",)]
    worst = plain[-1]
    controls = pb.Controls(
        pins=[pb.Pin(item_id=worst, place=2), pb.Pin(item_id="no-such-item", place=4)],
        boosts=[pb.Boost(filter="array_contains(categories, 'drama')", weight=50)],
        max_per_category=3,
        diversity=0.2,
    )
    answer = ask(known, page_size=6, controls=controls)
    assert len(ids(answer)) == len(set(ids(answer))) == 6
    placements = [one.controls.placement for one in answer.recommendations]
    assert placements == [
        pb.PLACEMENT_PINNED if n == 1 else pb.PLACEMENT_RELEVANCE for n in range(6)
    ]
    assert ids(answer)[1] == worst
    assert [one in drama for one in ids(answer)].count(True) == 3
    for one in answer.recommendations:
        boosted = one.item_id in drama
        assert list(one.controls.boosts) == [0] * boosted
        due = 50 * answer.controls.score_deviation * boosted
        assert one.controls.boost_score == pytest.approx(due)
        parts = one.short_score + one.long_score + one.controls.boost_score
        assert one.score == pytest.approx(parts, rel=1e-5)
        assert plain[one.controls.relevance_rank - 1] == one.item_id
    assert "drama" in answer.controls.full_categories
    assert list(answer.controls.unplaced_item_ids) == ["no-such-item"]
    assert answer.controls.num_candidates == EVERYTHING - 2
    assert not ask(known).HasField("controls")


def test_likes_dislikes_and_least_relevance_work_together(known: Ranker) -> None:
    liked, disliked = ids(ask(known))[:2]
    controls = pb.Controls(liked_item_ids=[liked], disliked_item_ids=[disliked], min_relevance=0.0)
    answer = ask(known, page_size=EVERYTHING, controls=controls)
    assert not {liked, disliked} & set(ids(answer))
    assert all(one.controls.relevance >= 0 for one in answer.recommendations)
    assert answer.controls.num_below_min_relevance > 0
    assert pb.DEGRADATION_PAGE_NOT_FILLED in answer.degradations
    assert any(one.controls.liked_score for one in answer.recommendations)
    with_liked = ask(known, page_size=EVERYTHING, controls=controls, exclude_seen=False)
    assert liked in ids(with_liked)


def test_what_is_trending_stays_so_whatever_the_request_likes(known: Ranker) -> None:
    trending = ids(ask(known, trending=True, page_size=EVERYTHING))
    controls = pb.Controls(
        liked_item_ids=[trending[3]], pins=[pb.Pin(item_id=trending[-1], place=1)]
    )
    answer = ask(known, trending=True, page_size=6, controls=controls)
    assert ids(answer) == [trending[-1], *trending[:3], *trending[4:6]]


def test_new_items_are_explored_by_the_seed_of_the_answer(known: Ranker) -> None:
    exploration = pb.Exploration(weight=0.5, max_item_age=Duration(seconds=3_600))
    for row in (7, 8, 9):
        changed, age_s = item(row), 10**5 if row == 7 else 10
        changed.create_time.FromNanoseconds(time.time_ns() - age_s * 10**9)
        known.scripted.put(changed)

    def explored() -> set[str]:
        every = [
            ask(known, controls=pb.Controls(exploration=exploration, seed=seed))
            for seed in range(20)
        ]
        return {
            one.item_id
            for answer in every
            for one in answer.recommendations
            if one.controls.placement == pb.PLACEMENT_EXPLORED
        }

    eventually(lambda: explored() == {"item-8", "item-9"})
    answer = ask(known, controls=pb.Controls(exploration=exploration))
    again = pb.Controls(exploration=exploration, seed=answer.controls.seed)
    assert ids(ask(known, controls=again)) == ids(answer)


def test_an_item_is_recommended_within_its_times_alone(known: Ranker) -> None:
    begins, ends = item(10), item(11)
    at_ns = time.time_ns() + 1_500_000_000
    begins.available_from.FromNanoseconds(at_ns)
    ends.available_until.FromNanoseconds(at_ns)

    def shown() -> set[str]:
        return {"item-10", "item-11"} & set(ids(ask(known, page_size=EVERYTHING)))

    for changed in (begins, ends):
        known.scripted.put(changed)
    eventually(lambda: shown() == {"item-11"})
    assert explained(known, "item-10").omission == pb.OMISSION_UNAVAILABLE
    assert time.time_ns() < at_ns
    time.sleep((at_ns - time.time_ns()) / 1e9)
    assert shown() == {"item-10"}
    known.scripted.put(item(11))
    eventually(lambda: shown() == {"item-10", "item-11"})


@pytest.mark.parametrize(
    ("controls", "field"),
    [
        (pb.Controls(pins=[pb.Pin(item_id="x", place=11)]), "pins[0].place"),
        (pb.Controls(pins=[pb.Pin(place=1)]), "pins[0].item_id"),
        (pb.Controls(boosts=[pb.Boost(filter="price > 1", weight=101)]), "boosts[0].weight"),
        (pb.Controls(boosts=[pb.Boost(weight=1)]), "boosts[0].filter"),
        (pb.Controls(promotions=[pb.Promotion(filter="price > 1")]), "promotions[0].num_items"),
        (pb.Controls(diversity=float("nan")), "diversity"),
        (pb.Controls(max_per_category=-1), "max_per_category"),
        (pb.Controls(min_relevance=float("inf")), "min_relevance"),
        (pb.Controls(exploration=pb.Exploration(weight=2)), "exploration.weight"),
        (pb.Controls(liked_item_ids=["x"] * 101), "liked_item_ids"),
        (pb.Controls(seed=-1), "seed"),
    ],
)
def test_a_wrong_control_is_named(known: Ranker, controls: pb.Controls, field: str) -> None:
    assert refused(known, controls=controls) == ("CONTROLS_INVALID", [f"controls.{field}"])


def test_a_wrong_filter_of_a_control_is_named_also_in_a_batch(known: Ranker) -> None:
    right, wrong = pb.Boost(filter="price > 1"), pb.Boost(filter="colour = 1")
    controls = pb.Controls(boosts=[right, wrong])
    field = "controls.boosts[1].filter"
    assert refused(known, controls=controls) == ("FILTER_INVALID", [field])
    asked = [recommend_request("ann"), recommend_request("ann", controls=controls)]
    with pytest.raises(GroundswellError) as caught:
        known.client.batch_recommend(asked)
    assert [violation.field for violation in caught.value.violations] == [f"requests[1].{field}"]
    asked[1].controls.boosts[1].filter = "price > 20"
    first, second = known.client.batch_recommend(asked)
    assert not first.HasField("controls")
    assert second.HasField("controls")


def test_the_ranks_of_an_item_are_those_of_either_view_alone(known: Ranker) -> None:
    answer = ask(known, explain=True, page_size=5)
    for field, weight in (("short_rank", 1.0), ("long_rank", 0.0)):
        alone = ids(ask(known, fusion_weight=weight, page_size=EVERYTHING))
        for one in answer.recommendations:
            assert alone[getattr(one.ranks, field) - 1] == one.item_id
    assert [one.ranks.fused_rank for one in answer.recommendations] == [1, 2, 3, 4, 5]
    known.scripted.sessions.clear()
    [one] = ask(known, explain=True, page_size=1).recommendations
    assert (one.ranks.HasField("short_rank"), one.ranks.long_rank) == (False, 1)


def test_interests_come_by_either_view(known: Ranker) -> None:
    answer = known.client.interests("ann", by_vector=True, num_interests=2)
    for found, weight in ((answer.short_interests, 1.0), (answer.long_interests, 0.0)):
        alone = known.client.interests("ann", fusion_weight=weight, num_interests=2)
        assert list(found) == list(alone.interests)
    assert not known.client.interests("ann").short_interests


def test_page_after_page_shows_everything_once(known: Ranker) -> None:
    whole, shown, token = ids(ask(known, page_size=EVERYTHING)), [], ""
    while True:
        answer = ask(known, page_size=9, with_next_page=True, page_token=token)
        shown += ids(answer)
        token = answer.next_page_token
        if not token:
            break
    assert shown == whole
    pin = pb.Controls(pins=[pb.Pin(item_id=whole[0], place=1)])
    first = ask(known, page_size=9, with_next_page=True)
    second = ask(known, page_size=9, page_token=first.next_page_token, controls=pin)
    assert ids(second) == whole[9:18]
    forged = ("A" if first.next_page_token[0] != "A" else "B") + first.next_page_token[1:]
    for wrong in (forged, "nonsense", "é"):
        assert refused(known, page_token=wrong) == ("PAGE_TOKEN_INVALID", ["page_token"])
    with pytest.raises(GroundswellError, match="page_token"):
        known.client.batch_recommend([recommend_request("ann", page_token=forged)])


def test_categories_come_with_their_best_items_each_item_once(known: Ranker) -> None:
    found = known.client.recommend_categories(recommend_request("ann", page_size=4))
    interests = known.client.interests("ann").interests
    assert [one.category for one in found] == [one.category for one in interests]
    for one in found:
        text = f"array_contains(categories, '{one.category}')"
        assert ids(one.answer) == ids(ask(known, filter=text, page_size=4))
    popular = known.client.recommend_categories(
        recommend_request("nobody", page_size=4), num_categories=2
    )
    assert [one.category for one in popular] == list(CATEGORIES[:2])
    with pytest.raises(GroundswellError) as caught:
        known.client.recommend_categories(recommend_request("ann", page_size=51))
    assert [violation.field for violation in caught.value.violations] == ["request.page_size"]


def explained(
    ranker: Ranker, item_id: str, **options: Unpack[RecommendOptions]
) -> pb.ExplainItemResponse:
    return ranker.client.explain_item(recommend_request("ann", **options), item_id)


def test_an_item_is_explained_by_its_ranks_and_the_rule_that_left_it_out(known: Ranker) -> None:
    whole = ids(ask(known, page_size=EVERYTHING))
    last = whole[-1]
    first = explained(known, whole[0])
    assert (first.place, first.omission) == (1, pb.OMISSION_UNSPECIFIED)
    assert (first.fused.rank, first.num_items) == (1, len(whole))
    for weight, vector in ((1.0, "short"), (0.0, "long")):
        alone = ids(ask(known, fusion_weight=weight, page_size=EVERYTHING))
        assert getattr(first, vector).rank == alone.index(whole[0]) + 1
    assert [one.item_id for one in first.window_pulls] == ["item-5"]
    assert [one.item_id for one in first.history_pulls] == ["item-3"]
    assert [(one.item_id, one.effect) for one in first.event_pulls] == [("item-3", 0.5)]
    assert [one.effect for one in first.chunk_pulls] == [0.25]

    row = int(last.removeprefix("item-"))
    capped = pb.Controls(max_per_category=1)
    relevant = pb.Controls(min_relevance=2.0)
    pinned = pb.Controls(pins=[pb.Pin(item_id=last, place=1)])
    token = ask(known, page_size=1, with_next_page=True).next_page_token
    cases: list[tuple[pb.Omission.ValueType, str, RecommendOptions]] = [
        (pb.OMISSION_RANK, last, {}),
        (pb.OMISSION_DENIED, last, {"deny_item_ids": [last]}),
        (pb.OMISSION_FILTER, last, {"filter": f"price != {row}"}),
        (pb.OMISSION_DISLIKED, last, {"controls": pb.Controls(disliked_item_ids=[last])}),
        (pb.OMISSION_LIKED, last, {"controls": pb.Controls(liked_item_ids=[last])}),
        (pb.OMISSION_SHOWN, whole[0], {"page_token": token}),
        (pb.OMISSION_SEEN_IN_HISTORY, "item-3", {}),
        (pb.OMISSION_SEEN_IN_SESSION, "item-5", {}),
        (pb.OMISSION_MIN_RELEVANCE, last, {"page_size": EVERYTHING, "controls": relevant}),
        (pb.OMISSION_CATEGORY_FULL, last, {"page_size": EVERYTHING, "controls": capped}),
        (pb.OMISSION_DISPLACED, whole[0], {"page_size": 1, "controls": pinned}),
    ]
    for omission, item_id, options in cases:
        answer = explained(known, item_id, **options)
        assert pb.Omission.Name(answer.omission) == pb.Omission.Name(omission)
        assert not answer.HasField("place")
    with pytest.raises(GroundswellError, match="item_id") as caught:
        explained(known, "no-such-item")
    assert caught.value.reason == "ITEM_NOT_FOUND"
    wrong_filter = pb.Controls(boosts=[pb.Boost(filter="no(", weight=1.0)])
    wrong: list[tuple[str, RecommendOptions]] = [
        ("request.page_size", {"page_size": 0}),
        ("request.filter", {"filter": "no("}),
        ("request.controls.boosts[0].filter", {"controls": wrong_filter}),
    ]
    for field, options in wrong:
        with pytest.raises(GroundswellError) as caught:
            explained(known, last, **options)
        assert [violation.field for violation in caught.value.violations] == [field]
