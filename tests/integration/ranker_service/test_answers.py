"""What the ranker answers, against what numpy says of the same vectors."""

from datetime import UTC, datetime, timedelta
from typing import Unpack

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.client import event
from groundswell.client.requests import RecommendOptions, recommend_request
from groundswell.features.gate import GateFeatures, clamp_gate_features
from groundswell.profile.v1.profile_service_pb2 import BatchGetProfilesRequest, GetProfileRequest
from groundswell.ranker.v1.ranker_service_pb2 import (
    FusionWeightSource,
    RecommendResponse,
)
from tests.integration.ranker_service.support import CLICK, NOW_US, VIEW, Ranker, degradations, ids
from tests.support.bundles import CATEGORIES, ITEMS

NOW = datetime.fromtimestamp(NOW_US / 1e6, UTC)
EVERYTHING = len(ITEMS)


def scores(ranker: Ranker, user: NDArray[np.floating]) -> NDArray[np.float64]:
    return ranker.bundle.item_vectors.astype(np.float64) @ user.astype(np.float64)


def best(ranker: Ranker, user: NDArray[np.floating], without: set[int] | None = None) -> list[str]:
    order = np.argsort(-scores(ranker, user), kind="stable")
    return [f"item-{row}" for row in order if row not in (without or set())]


def recommend(
    ranker: Ranker, user_id: str = "ann", **options: Unpack[RecommendOptions]
) -> RecommendResponse:
    options.setdefault("as_of", NOW)
    return ranker.client.recommend(user_id, **options)


def test_both_vectors_are_fused_by_the_gate_and_the_answer_says_everything(ranker: Ranker) -> None:
    long, short = ranker.user_vector(), ranker.user_vector()
    ranker.add_profile("ann", long)
    ranker.add_session("ann", short)
    answer = recommend(ranker, page_size=EVERYTHING)

    spec = ranker.bundle.manifest.fusion
    features = GateFeatures(30.0, session_length=3, history_length=7).logarithms()
    alpha = ranker.bundle.fusion_model().run(
        short_vectors=short[None],
        long_vectors=long[None],
        gate_features=clamp_gate_features(features, spec.gate_low, spec.gate_high)[None],
    )[0]
    user = alpha * short + (1 - alpha) * long
    assert ids(answer) == best(ranker, user)
    rows = [int(one.item_id.removeprefix("item-")) for one in answer.recommendations]
    of_parts = [
        ("score", scores(ranker, user)),
        ("short_score", scores(ranker, alpha * short)),
        ("long_score", scores(ranker, (1 - alpha) * long)),
    ]
    for name, due in of_parts:
        given = [getattr(one, name) for one in answer.recommendations]
        np.testing.assert_allclose(given, due[rows], atol=1e-5)
    for one, row in zip(answer.recommendations, rows, strict=True):
        assert one.score == pytest.approx(one.short_score + one.long_score, abs=1e-6)
        assert (one.title, tuple(one.categories)) == ITEMS[row][1:]
    assert answer.fusion_weight == pytest.approx(alpha.mean())
    assert answer.fusion_weight_source == FusionWeightSource.FUSION_WEIGHT_SOURCE_LEARNED
    assert answer.bundle_id == ranker.bundle.id
    assert not answer.degradations
    assert answer.profile_age.ToTimedelta().total_seconds() == 90
    assert answer.session_age.ToTimedelta().total_seconds() == 30


def test_the_interests_are_the_heads_for_the_fused_vector(ranker: Ranker) -> None:
    long, short = ranker.user_vector(), ranker.user_vector()
    ranker.add_profile("ann", long)
    ranker.add_session("ann", short)
    answer = recommend(ranker, fusion_weight=0.25)
    user = 0.25 * short + 0.75 * long
    head = ranker.bundle.interest_head()
    assert head is not None
    probabilities = head.run(vectors=user[None].astype(np.float32))[0]
    due_interests = sorted(
        zip(CATEGORIES, probabilities.tolist(), strict=True), key=lambda x: -x[1]
    )
    assert [one.category for one in answer.interests] == [name for name, _ in due_interests]
    np.testing.assert_allclose(
        [one.probability for one in answer.interests], [p for _, p in due_interests], atol=1e-5
    )


def test_every_answer_has_an_id_and_a_token_of_its_own(ranker: Ranker) -> None:
    ranker.add_profile("ann", ranker.user_vector())
    first, second = recommend(ranker), recommend(ranker)
    assert ids(first) == ids(second)
    assert len({first.recommendation_id, second.recommendation_id, ""}) == 3
    assert first.recommendation_id in first.attribution_token
    assert len(first.attribution_token) <= 512


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_a_forced_weight_is_used_and_reported(ranker: Ranker, weight: float) -> None:
    long, short = ranker.user_vector(), ranker.user_vector()
    ranker.add_profile("ann", long)
    ranker.add_session("ann", short)
    answer = recommend(ranker, fusion_weight=weight, page_size=EVERYTHING)
    assert ids(answer) == best(ranker, weight * short + (1 - weight) * long)
    assert answer.fusion_weight == weight
    assert answer.fusion_weight_source == FusionWeightSource.FUSION_WEIGHT_SOURCE_FORCED


def test_the_requests_own_time_is_the_clock_of_the_gate_and_of_the_ages(ranker: Ranker) -> None:
    ranker.add_profile("ann", ranker.user_vector())
    ranker.add_session("ann", ranker.user_vector())
    now, later = recommend(ranker), recommend(ranker, as_of=NOW + timedelta(days=1))
    assert later.fusion_weight != now.fusion_weight
    assert later.session_age.seconds - now.session_age.seconds == 86_400
    earlier = recommend(ranker, as_of=NOW - timedelta(days=9_000))
    assert (earlier.session_age.seconds, earlier.profile_age.seconds) == (0, 0)


def test_what_was_seen_in_the_history_or_in_the_window_is_left_out(ranker: Ranker) -> None:
    long, short = ranker.user_vector(), ranker.user_vector()
    ranker.add_profile("ann", long, r1=CLICK, r2=VIEW | CLICK, r3=VIEW)
    ranker.add_session("ann", short, r4=CLICK, r5=VIEW)
    left_out = recommend(ranker, page_size=EVERYTHING)
    assert {f"item-{row}" for row in range(EVERYTHING)} - set(ids(left_out)) == {
        "item-1",
        "item-2",
        "item-4",
    }
    assert degradations(left_out) == {"PAGE_NOT_FILLED"}
    with_seen = recommend(ranker, page_size=EVERYTHING, exclude_seen=False)
    assert len(ids(with_seen)) == EVERYTHING
    assert not with_seen.degradations


def test_a_page_is_full_although_nearly_everything_was_seen(ranker: Ranker) -> None:
    seen = {f"r{row}": CLICK for row in range(EVERYTHING - 5)}
    ranker.add_profile("ann", ranker.user_vector(), **seen)
    answer = recommend(ranker, page_size=5)
    assert sorted(ids(answer)) == [f"item-{row}" for row in range(EVERYTHING - 5, EVERYTHING)]
    assert "PAGE_NOT_FILLED" not in degradations(answer)


def test_seen_items_are_sent_once_and_then_known_by_their_version(ranker: Ranker) -> None:
    version = ranker.add_profile("bob", ranker.user_vector(), r1=CLICK).seen.version
    answers = [recommend(ranker, "bob", page_size=EVERYTHING) for _ in range(3)]
    assert all("item-1" not in ids(answer) for answer in answers)
    asked = [one for one in ranker.scripted.asked if isinstance(one, GetProfileRequest)]
    assert [one.HasField("known_seen_version") for one in asked] == [False, True, True]
    assert asked[1].known_seen_version == version
    ranker.add_profile("bob", ranker.user_vector(), r1=CLICK, r2=CLICK)
    assert "item-2" not in ids(recommend(ranker, "bob", page_size=EVERYTHING))


def test_denied_items_are_left_out_and_unknown_ones_ignored(ranker: Ranker) -> None:
    ranker.add_profile("ann", ranker.user_vector())
    whole = recommend(ranker, page_size=EVERYTHING)
    denied = recommend(ranker, page_size=5, deny_item_ids=[*ids(whole)[:3], "nobody's"])
    assert ids(denied) == ids(whole)[3:8]


def test_a_filter_is_applied_inside_the_search(ranker: Ranker) -> None:
    long = ranker.user_vector()
    ranker.add_profile("ann", long)
    text = "price >= 20 AND NOT array_contains(categories, 'war')"
    passing = {row for row in range(20, EVERYTHING) if ITEMS[row][2] != ("war",)}
    answer = recommend(ranker, page_size=EVERYTHING, filter=text)
    assert ids(answer) == best(ranker, long, set(range(EVERYTHING)) - passing)
    assert "PAGE_NOT_FILLED" in degradations(answer)
    narrow = recommend(ranker, page_size=3, filter="price IN (7, 8, 9)")
    assert sorted(ids(narrow)) == ["item-7", "item-8", "item-9"]
    assert "PAGE_NOT_FILLED" not in degradations(narrow)
    nothing = recommend(ranker, filter="price < 0")
    assert ids(nothing) == []
    assert "PAGE_NOT_FILLED" in degradations(nothing)


def test_an_unknown_user_gets_what_is_popular_within_the_filter(ranker: Ranker) -> None:
    answer = recommend(ranker, "nobody", filter="price >= 10", page_size=5)
    popular = [f"item-{row}" for row in range(10, 15)]
    assert ids(answer) == popular
    assert degradations(answer) == {"USER_UNKNOWN", "POPULARITY_FALLBACK"}
    given = [one.score for one in answer.recommendations]
    np.testing.assert_allclose(given, ranker.bundle.popularity[10:15], rtol=1e-6)
    assert not any(one.short_score or one.long_score for one in answer.recommendations)
    assert answer.fusion_weight_source == FusionWeightSource.FUSION_WEIGHT_SOURCE_UNSPECIFIED
    assert not answer.interests
    assert not answer.HasField("profile_age")
    assert not answer.HasField("session_age")


def test_a_user_whom_the_encoder_has_not_covered_is_ranked_by_the_session_alone(
    ranker: Ranker,
) -> None:
    short = ranker.user_vector()
    ranker.add_profile("ann", None)
    ranker.add_session("ann", short)
    answer = recommend(ranker, page_size=EVERYTHING, fusion_weight=0.3)
    assert ids(answer) == best(ranker, short)
    assert degradations(answer) == {"NO_PROFILE"}
    assert answer.fusion_weight_source == FusionWeightSource.FUSION_WEIGHT_SOURCE_ONE_VIEW
    assert answer.fusion_weight == 1.0


def test_a_profile_that_does_not_cover_the_newest_events_is_used_and_flagged(
    ranker: Ranker,
) -> None:
    long = ranker.user_vector()
    ranker.add_profile("ann", long).stale = True
    answer = recommend(ranker, page_size=EVERYTHING)
    assert ids(answer) == best(ranker, long)
    assert degradations(answer) == {"PROFILE_STALE"}
    assert answer.fusion_weight == 0.0


def test_an_anonymous_visitor_is_ranked_by_the_events_that_came_along(ranker: Ranker) -> None:
    short = ranker.user_vector()
    ranker.add_session("inline", short)
    events = [
        event("", "item-3", "click", time=NOW),
        event("", "item-4", "view", time=NOW),
    ]
    answer = ranker.client.recommend(events=events, page_size=EVERYTHING, as_of=NOW)
    assert ids(answer) == best(ranker, short, {3})
    assert degradations(answer) == {"PAGE_NOT_FILLED"}
    assert not any(isinstance(one, GetProfileRequest) for one in ranker.scripted.asked)


def test_a_visitor_without_events_gets_what_is_popular(ranker: Ranker) -> None:
    answer = ranker.client.recommend(events=[], page_size=2)
    assert ids(answer) == ["item-0", "item-1"]
    assert degradations(answer) == {"USER_UNKNOWN", "POPULARITY_FALLBACK"}


def test_a_batch_answers_each_user_as_a_call_alone_would(ranker: Ranker) -> None:
    requests = []
    for n in range(256):
        name = f"user-{n}"
        if n % 4:
            ranker.add_profile(name, ranker.user_vector(), r1=CLICK)
        if n % 3:
            ranker.add_session(name, ranker.user_vector())
        requests.append(recommend_request(name, as_of=NOW, page_size=1 + n % 7))
    answers = ranker.client.batch_recommend(requests)
    asked = [one for one in ranker.scripted.asked if isinstance(one, BatchGetProfilesRequest)]
    assert sum(len(one.requests) for one in asked) == 256
    assert max(len(one.requests) for one in asked) <= 32
    assert len(answers) == 256
    for request, answer in list(zip(requests, answers, strict=True))[::17]:
        [alone] = ranker.client.batch_recommend([request])
        assert ids(answer) == ids(alone)
        assert degradations(answer) == degradations(alone)
        assert len(ids(answer)) == request.page_size


def test_similar_items_are_the_nearest_without_their_popularity(ranker: Ranker) -> None:
    answer = ranker.client.similar_items("item-5", page_size=EVERYTHING)
    content = ranker.bundle.item_vectors[:, :-1].astype(np.float64)
    content = content / np.linalg.norm(content, axis=1, keepdims=True)
    cosines = content @ content[5]
    due = [f"item-{row}" for row in np.argsort(-cosines) if row != 5]
    assert [one.item_id for one in answer.items] == due
    rows = [int(one.item_id.removeprefix("item-")) for one in answer.items]
    np.testing.assert_allclose([one.similarity for one in answer.items], cosines[rows], atol=1e-5)
    assert answer.items[0].title == ITEMS[rows[0]][1]
    assert answer.bundle_id == ranker.bundle.id
    filtered = ranker.client.similar_items("item-5", page_size=4, filter="price < 5")
    assert [one.item_id for one in filtered.items] == [name for name in due if int(name[5:]) < 5][
        :4
    ]


def test_interests_are_those_of_the_recommendations_and_add_up_to_one(ranker: Ranker) -> None:
    ranker.add_profile("ann", ranker.user_vector())
    ranker.add_session("ann", ranker.user_vector())
    answer = ranker.client.interests("ann", as_of=NOW, fusion_weight=0.4)
    assert list(answer.interests) == list(recommend(ranker, fusion_weight=0.4).interests)
    assert sum(one.probability for one in answer.interests) == pytest.approx(1.0, abs=1e-5)
    assert answer.fusion_weight == pytest.approx(0.4)
    assert not answer.degradations
    nobody = ranker.client.interests("nobody")
    assert not nobody.interests
    assert len(nobody.degradations) == 1


def test_the_process_says_which_bundle_it_ranks_with(ranker: Ranker) -> None:
    answer = ranker.client.model("ranker")
    assert answer.model.bundle_id == ranker.bundle.id
    assert list(answer.loaded_bundle_ids) == [ranker.bundle.id]
    assert list(answer.model.categories) == list(CATEGORIES)
