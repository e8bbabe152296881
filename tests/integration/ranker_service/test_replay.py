"""An answer comes out the same again, or what it read has changed and is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson

from groundswell.artifacts.store import BundleStore
from groundswell.client import GroundswellError, event, item, recommend_request
from groundswell.ranker.v1.ranker_service_pb2 import (
    Change,
    Controls,
    Exploration,
    ImpressionLimits,
    RecommendRequest,
    RecommendResponse,
)
from groundswell.serving.attribution import Attribution, AttributionTokens, new_recommendation_id
from tests.integration.ranker_service.support import ids
from tests.support.bundles import serve
from tests.support.in_process import run
from tests.support.processes import SECRET
from tests.support.suite import Suite
from tests.support.waiting import eventually

USERS = ("ann", "bob", "eve")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, made: list[Path]) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("replay")
    for path in (made[2], made[1], made[0]):
        serve(path, folder / "bundles")
    drawing = {"GROUNDSWELL_RANDOM_FUSION_SHARE": "0.5"}
    with Suite(folder, folder / "bundles", settings={"ranker": drawing}) as running:
        running.fill()
        running.client.record_events([event(u, f"item-{n}") for u in USERS for n in range(4)])
        running.refresh()
        yield running


def given(suite: Suite, request: RecommendRequest) -> RecommendResponse:
    [answer] = suite.client.batch_recommend([request])
    return answer


def changes(suite: Suite, answer: RecommendResponse, request: RecommendRequest) -> dict[str, bool]:
    """What has changed, by name; whether the list is the same."""
    replayed = suite.client.replay(answer.attribution_token, request)
    assert replayed.same_list is (ids(replayed.answer) == ids(answer))
    names = [Change.Name(one.change).removeprefix("CHANGE_") for one in replayed.changes]
    assert len(set(names)) == len(names)
    return dict.fromkeys(names, replayed.same_list) or {"": replayed.same_list}


REQUESTS = [
    recommend_request("ann", page_size=20),
    recommend_request("bob", filter="price < 20", fusion_weight=0.3),
    recommend_request("eve", controls=Controls(exploration=Exploration(weight=1.0), diversity=0.3)),
    recommend_request("ann", impressions=ImpressionLimits(max_times=50)),
    recommend_request("nobody", trending=True),
    recommend_request(events=[event("", "item-3"), event("", "item-9", "like")]),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
def test_the_same_list_comes_out_again(suite: Suite, request_: RecommendRequest) -> None:
    for _ in range(3):  # of some the fusion weight is drawn, and each has another seed
        answer = given(suite, request_)
        assert changes(suite, answer, request_) == {"": True}
    single = suite.client.recommend("bob")
    assert changes(suite, single, RecommendRequest(user_id="bob")).keys() <= {"", "IMPRESSIONS"}


def test_what_has_changed_is_named(suite: Suite, made: list[Path]) -> None:
    request = recommend_request("ann", page_size=20)
    popular = recommend_request("nobody", trending=True)
    answer, other = given(suite, request), given(suite, popular)
    wrong = recommend_request("ann", page_size=19)
    assert changes(suite, answer, wrong) == {"REQUEST": False}

    suite.client.record_events([event("ann", "item-9", "purchase")])
    assert "EVENTS" in changes(suite, answer, request)
    eventually(lambda: "POPULARITY" in changes(suite, other, popular))

    again = given(suite, request)
    suite.client.upsert_items([item("item-20", "Another title", categories=["war"])])
    suite.refresh()
    eventually(lambda: "CATALOGUE" in changes(suite, again, request))

    last = given(suite, request)
    store = BundleStore(suite.bundles)
    for path in made[1:]:
        store.set_current(path.name)
        eventually(lambda: suite.client.model("ranker").model.bundle_id == path.name, 30)  # noqa: B023
    # The ranker keeps the one before alone.
    eventually(lambda: "BUNDLE" in changes(suite, last, request))
    store.set_current(made[0].name)
    eventually(lambda: suite.client.model("ranker").model.bundle_id == made[0].name, 30)
    assert changes(suite, last, request) == {"": True}


def test_the_command_says_what_has_changed(suite: Suite, tmp_path: Path) -> None:
    request = recommend_request("bob", page_size=5)
    answer = given(suite, request)
    path = tmp_path / "request.json"
    path.write_text(MessageToJson(request))
    arguments = ("replay", answer.attribution_token, str(path), "--ranker", suite.targets.ranker)
    assert "the list is the same" in run(*arguments).stdout
    suite.client.record_events([event("bob", "item-11", "purchase")])
    assert "changed: the user's events (window 4" in run(*arguments).stdout
    path.write_text("{")
    assert "no RecommendRequest" in run(*arguments).stderr


def test_tokens_that_say_too_little_or_nothing_are_refused(suite: Suite) -> None:
    request = recommend_request("bob")
    bare = AttributionTokens(SECRET).issue(Attribution(new_recommendation_id(), "b"))
    for token, reason in ((bare, "NOT_REPLAYABLE"), ("x", "ATTRIBUTION_TOKEN_INVALID")):
        with pytest.raises(GroundswellError) as refused:
            suite.client.replay(token, request)
        assert refused.value.reason == reason
    with pytest.raises(GroundswellError) as refused:
        suite.client.replay(given(suite, request).attribution_token, recommend_request(""))
    assert "request: user_id is empty" in str(refused.value)
