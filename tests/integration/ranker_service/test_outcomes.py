"""What the ranker answers is kept, and what comes of it is counted, by the real services."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from groundswell.client import GroundswellError, event
from groundswell.client.requests import recommend_request
from groundswell.profile.v1 import outcome_service_pb2 as pb
from groundswell.ranker.v1.ranker_service_pb2 import (
    FusionWeightSource,
    ImpressionLimits,
    RecommendResponse,
)
from groundswell.ranker_service.shown import AnsweredList, AnsweredLists
from groundswell.serving.attribution import (
    Attribution,
    AttributionTokens,
    Draw,
    new_recommendation_id,
)
from groundswell.serving.channels import open_channel
from tests.integration.ranker_service.support import degradations, ids
from tests.support.bundles import serve
from tests.support.cli import call
from tests.support.processes import SECRET
from tests.support.suite import Suite
from tests.support.waiting import eventually

TOKENS = AttributionTokens(SECRET)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, made: list[Path]) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("outcomes")
    serve(made[0], folder / "bundles")
    drawing = {
        "GROUNDSWELL_RANDOM_FUSION_SHARE": "1",
        "GROUNDSWELL_RANDOM_FUSION_WEIGHTS": "0.2,0.6",
    }
    with Suite(folder, folder / "bundles", settings={"ranker": drawing}) as running:
        running.fill()
        users = ("ann", "bob", "eve")
        running.client.record_events([event(user, f"item-{n}") for user in users for n in range(4)])
        running.refresh()
        yield running


def shown(suite: Suite, user: str) -> dict[int, int]:
    """How often a user was shown each item."""
    answer = suite.client.impressions(user)
    return dict(
        zip(
            np.frombuffer(answer.item_nos, "<i8").tolist(),
            np.frombuffer(answer.counts, "<u4").tolist(),
            strict=True,
        )
    )


def test_answers_are_kept_and_events_with_their_tokens_are_counted(suite: Suite) -> None:
    suite.client.recommend(events=[event("", "item-7")], page_size=3)
    answers = [suite.client.recommend("ann", page_size=5) for _ in range(8)]
    eventually(lambda: sum(shown(suite, "ann").values()) == 40)
    made_by = [TOKENS.read(answer.attribution_token, "token") for answer in answers]
    assert {one.bundle_id for one in made_by} == {answers[0].bundle_id}
    assert {(one.draw, one.propensity) for one in made_by} == {(Draw.GRID, 0.5)}
    assert {round(one.fusion_weight or 0.0, 6) for one in made_by} <= {0.2, 0.6}
    for one, answer in zip(made_by, answers, strict=True):
        assert answer.fusion_weight == pytest.approx(one.fusion_weight)
        assert answer.fusion_weight_source == FusionWeightSource.FUSION_WEIGHT_SOURCE_RANDOM

    first = answers[0]
    suite.client.record_events(
        [
            event("ann", ids(first)[2], "click", attribution_token=first.attribution_token),
            event("ann", ids(first)[2], "purchase", attribution_token=first.attribution_token),
        ]
    )
    [row] = suite.client.outcomes(["bundle"]).outcomes
    assert row.bundle_id == first.bundle_id
    assert (row.num_lists, row.num_shown) == (9, 43)
    assert (row.num_clicked, row.num_purchased) == (1, 1)
    by_place = suite.client.outcomes(["place"]).outcomes
    assert [(one.place, one.num_lists, one.num_clicked) for one in by_place] == [
        (1, 9, 0), (2, 9, 0), (3, 9, 1), (4, 8, 0), (5, 8, 0)
    ]  # fmt: skip


def test_an_explanation_has_the_weight_that_was_drawn_for_the_answer(suite: Suite) -> None:
    request = recommend_request("ida", page_size=5)
    answer = suite.client.recommend("ida", page_size=5)
    token = answer.attribution_token
    found = suite.client.explain_item(request, ids(answer)[0], attribution_token=token)
    assert found.fusion_weight == pytest.approx(answer.fusion_weight)
    assert found.fusion_weight_source == answer.fusion_weight_source
    assert suite.client.explain_item(request, ids(answer)[0]).fusion_weight not in (0.2, 0.6)


def test_the_command_shows_rates_and_estimates(suite: Suite) -> None:
    weights: list[float] = []
    # Three of each: then the estimate is the higher one, whatever was drawn for ann.
    while min(weights.count(0.2), weights.count(0.6)) < 3:
        answer = suite.client.recommend("eve", page_size=2)
        weights.append(round(answer.fusion_weight, 6))
        if weights[-1] == 0.6:
            click = event("eve", ids(answer)[0], attribution_token=answer.attribution_token)
            suite.client.record_events([click])
    eventually(lambda: sum(shown(suite, "eve").values()) == 2 * len(weights))
    table = call(suite.targets, "outcomes", "--by", "fusion_weight", "--by", "place")
    assert table.returncode == 0, table.stderr
    assert "click rate" in table.stdout
    assert "0.6 to 0.7" in table.stdout
    done = call(suite.targets, "outcomes", "--policy", "0.6", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    num = int(found["num_lists"])
    assert num >= len(weights)
    assert found["self_normalised"]["value"] > found["logged"]["value"] > 0
    both = call(suite.targets, "outcomes", "--policy", "0.2=0.5,0.6=0.5", "--policy", "0.2")
    assert both.returncode == 0, both.stderr
    assert f"{num:,}" in both.stdout
    for wrong in ("0.2=0.5,0.6", "normal:1", "x"):
        assert call(suite.targets, "outcomes", "--policy", wrong).returncode == 2
    lacking = call(suite.targets, "outcomes", "--policy", "normal:0.5:0.1")
    assert (lacking.returncode, "POLICY_NOT_COVERED" in lacking.stderr) == (1, True)


async def test_the_end_of_the_ranker_sends_thousands_of_lists_within_seconds(suite: Suite) -> None:
    lineage = suite.client.impressions("kim").lineage
    async with open_channel(suite.targets.profile) as channel:
        answered = AnsweredLists(channel, max_waiting=4_000)
        await answered.start()
        for _ in range(4_000):
            token = TOKENS.issue(Attribution(new_recommendation_id(), "ab" * 8))
            answered.put(AnsweredList(token, "kim", [1, 2], lineage))
        await answered.close()
    assert shown(suite, "kim") == {1: 4_000, 2: 4_000}


def test_a_backend_says_what_it_showed_of_a_batch(suite: Suite) -> None:
    requests = [recommend_request("bob", page_size=4), recommend_request("eve", page_size=4)]
    answers = suite.client.batch_recommend(requests)
    drawn = [TOKENS.read(one.attribution_token, "token").draw for one in answers]
    assert drawn == [Draw.NONE, Draw.NONE]
    bobs, eves = ids(answers[0]), shown(suite, "eve")
    impression = pb.Impression(
        attribution_token=answers[0].attribution_token, item_ids=bobs[:2], user_id="bob"
    )
    suite.client.record_impressions([impression])
    assert sorted(shown(suite, "bob").values()) == [1, 1]
    suite.client.record_impressions([impression])
    assert sorted(shown(suite, "bob").values()) == [1, 1]
    assert shown(suite, "eve") == eves
    [row] = suite.client.outcomes(confirmed_only=True).outcomes
    assert (row.num_lists, row.num_shown) == (1, 2)


@pytest.mark.parametrize(
    ("wrong", "reason", "field"),
    [
        ({"attribution_token": "x"}, "ATTRIBUTION_TOKEN_INVALID", "[1].attribution_token"),
        ({"item_ids": []}, "IMPRESSIONS_INVALID", "[1].item_ids"),
        ({"item_ids": ["a"] * 201}, "IMPRESSIONS_INVALID", "[1].item_ids"),
        ({"item_ids": ["a", ""]}, "ITEM_ID_INVALID", "[1].item_ids[1]"),
        ({"user_id": "u", "session_id": "s"}, "SUBJECT_INVALID", "[1].user_id"),
        ({"user_id": "u" * 257}, "USER_ID_INVALID", "[1].user_id"),
    ],
)
def test_wrong_impressions_are_refused_as_a_whole(
    suite: Suite, wrong: dict[str, object], reason: str, field: str
) -> None:
    token = suite.client.batch_recommend([recommend_request("zoe")])[0].attribution_token
    right = pb.Impression(attribution_token=token, item_ids=["item-1"], user_id="zoe")
    fields = {"attribution_token": token, "item_ids": ["item-1"], **wrong}
    with pytest.raises(GroundswellError) as caught:
        suite.client.record_impressions([right, pb.Impression(**fields)])  # type: ignore[arg-type]
    assert caught.value.reason == reason
    assert caught.value.violations[0].field == f"impressions{field}"
    assert shown(suite, "zoe") == {}


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (pb.FusionPolicy(), "one at least"),
        (pb.FusionPolicy(points=pb.FusionPoints(fusion_weights=[1.5])), "1.5"),
        (
            pb.FusionPolicy(points=pb.FusionPoints(fusion_weights=[n / 200 for n in range(102)])),
            "101",
        ),
        (pb.FusionPolicy(normal=pb.FusionNormal(mean=0.5)), "above 0"),
    ],
)
def test_wrong_questions_are_refused(suite: Suite, policy: pb.FusionPolicy, problem: str) -> None:
    with pytest.raises(GroundswellError, match=problem) as caught:
        suite.client.estimate_policy(policy)
    assert caught.value.reason == "POLICY_INVALID"
    with pytest.raises(GroundswellError) as caught:
        suite.client.outcomes(["place", "place"])
    assert caught.value.reason == "GROUPS_INVALID"
    with pytest.raises(GroundswellError) as caught:
        suite.client.outcomes(since=20.0, until=10.0)
    assert (caught.value.reason, caught.value.violations[0].field) == ("TIME_INVALID", "until")
    with pytest.raises(GroundswellError) as caught:
        suite.client.impressions("ann", within_s=91 * 86_400)
    assert caught.value.reason == "WITHIN_INVALID"


def test_what_is_popular_now_is_the_order_on_request_and_for_unknown_users(suite: Suite) -> None:
    def first() -> tuple[str, float]:
        best = suite.client.recommend("kim", page_size=1, trending=True).recommendations[0]
        return best.item_id, round(best.score, 4)

    crowd = [event(f"fan-{n}", "item-9", "view") for n in range(20)]
    suite.client.record_events(crowd)
    eventually(lambda: first() == ("item-9", 1.0))
    unknown = suite.client.recommend("kim", page_size=30)
    trending = suite.client.recommend("kim", page_size=30, trending=True)
    assert ids(unknown) == ids(trending)
    assert degradations(unknown) == {"USER_UNKNOWN", "POPULARITY_FALLBACK"}
    assert degradations(trending) == {"USER_UNKNOWN"}
    # What the user has seen is left out, and neither a weight nor interests are given.
    known = suite.client.recommend("ann", page_size=30, trending=True)
    assert "POPULARITY_FALLBACK" not in degradations(known)
    assert {"item-0", "item-1", "item-2", "item-3"}.isdisjoint(ids(known))
    assert (known.fusion_weight_source, len(known.interests)) == (0, 0)
    assert TOKENS.read(known.attribution_token, "token").fusion_weight is None
    narrow = suite.client.recommend("kim", trending=True, filter="price < 3")
    assert ids(narrow) == [one for one in ids(trending) if one in ("item-0", "item-1", "item-2")]
    # A profile service that is started again says the same.
    suite.profile.stop()
    suite.start("profile")
    suite.client.record_events([event("fan-0", "item-8", "dislike")])
    again = suite.client.recommend("kim", page_size=30, trending=True)
    assert [(one.item_id, one.score) for one in again.recommendations] == [
        (one.item_id, one.score) for one in trending.recommendations
    ]


def test_what_was_shown_too_often_is_left_out(suite: Suite) -> None:
    limits = ImpressionLimits(max_times=2)
    first = ids(suite.client.recommend("leo", page_size=3))
    answer = suite.client.recommend("leo", page_size=3, impressions=limits)
    assert (ids(answer), answer.num_capped) == (first, 0)
    eventually(lambda: sorted(shown(suite, "leo").values()) == [2, 2, 2])
    answer = suite.client.recommend("leo", page_size=3, impressions=limits)
    assert answer.num_capped == 3
    assert set(ids(answer)).isdisjoint(first)
    [batched] = suite.client.batch_recommend(
        [recommend_request("leo", page_size=3, impressions=limits)]
    )
    assert ids(batched) == ids(answer)
    limits.within.FromMicroseconds(1)
    assert ids(suite.client.recommend("leo", page_size=3, impressions=limits)) == first


def test_each_showing_lowers_an_item(suite: Suite) -> None:
    def page(penalty: float) -> RecommendResponse:
        limits = ImpressionLimits(penalty=penalty)
        return suite.client.recommend("bob", page_size=26, fusion_weight=0.5, impressions=limits)

    def scores(answer: RecommendResponse) -> dict[str, float]:
        return {one.item_id: one.score for one in answer.recommendations}

    plain = scores(page(0))
    known = dict(shown(suite, "bob"))
    top = ids(suite.client.recommend("bob", page_size=2, fusion_weight=0.5))
    eventually(lambda: sum(shown(suite, "bob").values()) >= sum(known.values()) + 28)
    answer = page(0.5)
    lowered = scores(answer)
    assert set(lowered) == set(plain)
    deviation = answer.controls.score_deviation
    steps = {item: (plain[item] - lowered[item]) / deviation / 0.5 for item in plain}
    assert all(abs(step - round(step)) < 1e-3 and 1 <= round(step) <= 5 for step in steps.values())
    assert min(steps[item] for item in top) > min(steps.values())
    assert ids(answer) == sorted(ids(answer), key=lambda item: -lowered[item])


@pytest.mark.parametrize(("max_times", "days"), [(0, 7), (1_001, 7), (1, 0), (1, 91)])
def test_wrong_limits_are_refused(suite: Suite, max_times: int, days: int) -> None:
    limits = ImpressionLimits(max_times=max_times)
    limits.within.FromSeconds(days * 86_400)
    with pytest.raises(GroundswellError) as caught:
        suite.client.recommend("ann", impressions=limits)
    assert caught.value.reason == "IMPRESSIONS_INVALID"
    assert caught.value.violations[0].field.startswith("impressions.")
    with pytest.raises(GroundswellError) as caught:
        suite.client.recommend("ann", impressions=ImpressionLimits(penalty=101))
    assert caught.value.violations[0].field == "impressions.penalty"
    with pytest.raises(GroundswellError) as caught:
        suite.client.recommend(events=[], impressions=ImpressionLimits(max_times=1))
    assert caught.value.violations[0].field == "impressions"
