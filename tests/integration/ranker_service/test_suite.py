"""The ranker among the real services recommends what they store, and flags what is missing."""

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest

from groundswell.artifacts.store import BundleStore, load_bundle
from groundswell.client import GroundswellError, event, item
from groundswell.client.requests import recommend_request
from groundswell.ranker.v1.ranker_service_pb2 import Degradation, FusionWeightSource
from tests.integration.ranker_service.support import degradations, ids
from tests.support.bundles import ITEMS, serve, tiny_bundle
from tests.support.odd_calls import OddCalls
from tests.support.suite import Suite
from tests.support.waiting import eventually

EVERYTHING = len(ITEMS)
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, made: list[Path]) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("suite")
    serve(made[0], folder / "bundles")
    with Suite(folder, folder / "bundles") as running:
        running.fill()
        rows = (3, 9, 12, 4, 21, 8)
        events = [
            event(
                "ann",
                f"item-{row}",
                "view" if row == 4 else "purchase",
                time=NOON + timedelta(minutes=n),
                event_id=str(n),
            )
            for n, row in enumerate(rows)
        ]
        results = running.client.record_events(events)
        assert all(result.sequence for result in results)
        running.refresh()
        yield running


def whole(suite: Suite) -> None:
    """Wait until nothing lacks of ann's answer."""
    eventually(lambda: not suite.client.recommend("ann").degradations, timeout_s=30)


def test_what_was_recorded_is_fused_and_what_was_bought_is_left_out(suite: Suite) -> None:
    answer = suite.client.recommend("ann", page_size=EVERYTHING, as_of=NOON + timedelta(hours=1))
    assert degradations(answer) == {"PAGE_NOT_FILLED"}
    assert answer.fusion_weight_source == FusionWeightSource.FUSION_WEIGHT_SOURCE_LEARNED
    assert 0 < answer.fusion_weight < 1
    bought = {f"item-{row}" for row in (3, 9, 12, 21, 8)}
    assert set(ids(answer)) == {f"item-{row}" for row in range(EVERYTHING)} - bought
    assert answer.session_age.seconds == 55 * 60
    assert answer.profile_age.seconds == 55 * 60
    given = [one.score for one in answer.recommendations]
    assert given == sorted(given, reverse=True)


def test_the_services_vectors_are_those_that_are_ranked_with(
    suite: Suite, made: list[Path]
) -> None:
    bundle = load_bundle(made[0])
    short = np.frombuffer(suite.client.encode_session("ann").vector.values, "<f4")
    long = np.frombuffer(suite.client.get_profile("ann").vector.values, "<f4")
    for weight, vector in ((1.0, short), (0.0, long)):
        answer = suite.client.recommend(
            "ann", page_size=EVERYTHING, exclude_seen=False, fusion_weight=weight
        )
        scores = bundle.item_vectors.astype(np.float64) @ vector.astype(np.float64)
        rows = [int(one.item_id.removeprefix("item-")) for one in answer.recommendations]
        np.testing.assert_allclose(
            [one.score for one in answer.recommendations], scores[rows], atol=1e-3
        )


def test_an_event_moves_the_very_next_answer(suite: Suite) -> None:
    before = suite.client.recommend("bob", page_size=5)
    assert degradations(before) == {"USER_UNKNOWN", "POPULARITY_FALLBACK"}
    suite.client.record_events([event("bob", "item-1", "purchase")])
    after = suite.client.recommend("bob", page_size=5)
    assert "POPULARITY_FALLBACK" not in degradations(after)
    assert "item-1" not in ids(after)
    assert ids(after) != ids(before)


def test_a_visitor_is_ranked_without_anything_being_stored(suite: Suite) -> None:
    seen = [event("", "item-7", "click", time=NOON), event("", "item-8", "click", time=NOON)]
    answer = suite.client.recommend(events=seen)
    assert not answer.degradations
    assert not {"item-7", "item-8"} & set(ids(answer))
    assert answer.fusion_weight == 1.0
    with pytest.raises(GroundswellError) as caught:
        suite.client.recommend(events=[event("", "no-such-item")])
    assert caught.value.reason == "ITEM_NOT_FOUND"
    with pytest.raises(GroundswellError) as caught:
        suite.client.batch_recommend(
            [recommend_request("ann"), recommend_request(events=[event("", "no-such-item")])]
        )
    assert caught.value.violations[0].field.startswith("requests[1].")


def test_interests_and_similar_items_are_answered(suite: Suite) -> None:
    interests = suite.client.interests("ann")
    assert sum(one.probability for one in interests.interests) == pytest.approx(1, abs=1e-5)
    near = suite.client.similar_items("item-2", page_size=3, filter="price >= 10")
    assert len(near.items) == 3
    assert all(int(one.item_id.removeprefix("item-")) >= 10 for one in near.items)


def test_a_new_item_comes_and_a_deleted_one_goes(suite: Suite) -> None:
    suite.client.upsert_items(
        [item("new", "A war that nobody saw", categories=("war",), attributes={"price": 99})]
    )
    eventually(lambda: ids(suite.client.recommend("ann", filter="price = 99")) == ["new"])
    suite.client.delete_items(["new"])
    eventually(lambda: ids(suite.client.recommend("ann", filter="price = 99")) == [])
    with pytest.raises(GroundswellError) as caught:
        suite.client.similar_items("new")
    assert caught.value.reason == "ITEM_NOT_FOUND"


def test_without_the_profile_service_the_session_service_answers_from_its_window(
    suite: Suite,
) -> None:
    whole(suite)
    suite.profile.kill()
    answer = suite.client.recommend("ann")
    # It may be a moment before the session service reads the window again, and finds out.
    assert degradations(answer) - {"SESSION_STALE"} == {"PROFILE_STALE", "SEEN_INCOMPLETE"}
    assert len(ids(answer)) == 10
    suite.start("profile")
    whole(suite)
    suite.client.upsert_items([item("late", "A late winter", attributes={"price": 77})])
    eventually(lambda: ids(suite.client.recommend("ann", filter="price = 77")) == ["late"])
    suite.client.delete_items(["late"])


def test_a_ranker_that_died_has_everything_again(suite: Suite) -> None:
    whole(suite)
    before = ids(suite.client.recommend("ann", page_size=EVERYTHING, as_of=NOON))
    suite.ranker.kill()
    with pytest.raises(GroundswellError) as caught:
        suite.client.recommend("ann", timeout=2)
    assert caught.value.status in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )
    suite.start("ranker")

    def as_before() -> bool:
        try:
            answer = suite.client.recommend("ann", page_size=EVERYTHING, as_of=NOON)
        except GroundswellError as error:
            # The channel may wait a moment before it connects again.
            assert error.status == grpc.StatusCode.UNAVAILABLE
            return False
        return ids(answer) == before

    eventually(as_before)


def test_neighbours_of_the_windows_last_item_rise_and_a_swap_takes_them_away(
    suite: Suite, made: list[Path], tmp_path: Path
) -> None:
    whole(suite)
    seen = [event("", "item-11", "view", time=NOON), event("", "item-16", "view", time=NOON)]

    def answers() -> list[list[str]]:
        both = suite.client.recommend("ann", page_size=EVERYTHING, as_of=NOON)
        visitor = suite.client.recommend(events=seen, page_size=EVERYTHING, as_of=NOON)
        assert not {*both.degradations, *visitor.degradations} - {
            Degradation.DEGRADATION_PAGE_NOT_FILLED
        }
        return [ids(both), ids(visitor)]

    before = answers()
    made_with = tiny_bundle(tmp_path, neighbours=True)
    shutil.copytree(made_with, suite.bundles / made_with.name, copy_function=os.link)
    store = BundleStore(suite.bundles)
    store.set_current(made_with.name)
    eventually(lambda: suite.client.recommend("ann").bundle_id == made_with.name, timeout_s=60)
    after = answers()
    # Ann's last event was on item 8, whose neighbours are 9, which she bought, and 10.
    for old, new, neighbour in zip(before, after, ("item-10", "item-17"), strict=True):
        assert sorted(old) == sorted(new)
        assert new.index(neighbour) < old.index(neighbour)
    store.set_current(made[0].name)
    eventually(lambda: suite.client.recommend("ann").bundle_id == made[0].name, timeout_s=60)
    assert answers() == before


def test_a_new_bundle_is_taken_by_all_and_no_answer_mixes_two(
    suite: Suite, made: list[Path]
) -> None:
    whole(suite)
    serve(made[1], suite.bundles)
    deadline = time.monotonic() + 60
    seen = set()
    while made[1].name not in seen:
        assert time.monotonic() < deadline
        answer = suite.client.recommend("ann")
        assert not answer.degradations
        seen.add(answer.bundle_id)
    for _ in range(20):
        assert suite.client.recommend("ann").bundle_id == made[1].name


def test_a_visitor_is_known_by_the_session_until_it_is_linked_to_a_user(suite: Suite) -> None:
    client = suite.client
    sent = [event("", f"item-{row}", "purchase", session_id="visit-1") for row in (3, 9)]
    assert [result.sequence for result in client.record_events(sent)] == [1, 2]
    assert client.encode_session(session_id="visit-1").num_window_events == 2
    assert client.encode_session("visit-1").num_window_events == 0
    suite.refresh()
    answer = client.recommend(session_id="visit-1", page_size=EVERYTHING)
    assert degradations(answer) == {"PAGE_NOT_FILLED"}
    assert set(ids(answer)) == {one for one, _, _ in ITEMS} - {"item-3", "item-9"}
    assert client.interests(session_id="visit-1").interests

    (mine,) = client.record_events([event("vera", "item-4", "view")])
    assert mine.sequence == 1
    assert client.encode_session("vera").num_window_events == 1
    assert client.link_session("visit-1", "vera") == 2
    window = client.encode_session("vera")
    assert (window.num_window_events, window.last_sequence) == (3, 3)
    assert client.encode_session(session_id="visit-1").num_window_events == 0
    stored = {one.event.event_id for one in client.list_events("vera")}
    assert {one.event_id for one in sent} < stored
    assert list(client.list_events(session_id="visit-1")) == []
    assert client.link_session("visit-1", "vera") == 0
    with pytest.raises(GroundswellError) as caught:
        client.link_session("visit-1", "walt")
    assert (caught.value.reason, caught.value.status) == (
        "SESSION_LINKED",
        grpc.StatusCode.FAILED_PRECONDITION,
    )


def test_odd_requests_of_all_methods_are_answered_or_refused_with_a_reason(suite: Suite) -> None:
    calls = OddCalls(suite)
    calls.send(150)
    calls.assert_all_is_well()
    assert len(calls.answered) > 5
