"""An answer names its degradations when an upstream is slow, gone or wrong."""

import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import grpc
import numpy as np
import pytest

from groundswell.client import GroundswellError, event
from groundswell.client.requests import recommend_request
from groundswell.profile.v1.profile_service_pb2 import Profile, SeenItems
from groundswell.serving.vectors import pack_int64
from groundswell.session.v1.session_service_pb2 import EncodeSessionResponse
from tests.integration.ranker_service.support import (
    CLICK,
    UPSTREAM_TIMEOUT_S,
    Ranker,
    degradations,
    ids,
    scripted_ranker,
)
from tests.support.bundles import ITEMS
from tests.support.scripted import vector

EVERYTHING = len(ITEMS)
SLOW_S = UPSTREAM_TIMEOUT_S + 1.0


@pytest.fixture(scope="module")
def shared_ranker(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Ranker]:
    """Keeps no answer of a service; test_killed_upstreams.py is about those."""
    settings = {"GROUNDSWELL_MAX_KEPT_BYTES": "0"}
    with scripted_ranker(tmp_path_factory.mktemp("ranker"), tiny, **settings) as ranker:
        yield ranker


@pytest.fixture
def ann(ranker: Ranker) -> Ranker:
    """A user with both vectors, who has seen item-1."""
    ranker.add_profile("ann", ranker.user_vector(), r1=CLICK)
    ranker.add_session("ann", ranker.user_vector(), r1=CLICK)
    return ranker


def alone(ann: Ranker, weight: float) -> list[str]:
    """What one vector alone ranks, when nothing is wrong."""
    return ids(ann.client.recommend("ann", fusion_weight=weight, page_size=EVERYTHING))


def test_without_the_profile_the_session_ranks_alone(ann: Ranker) -> None:
    due = alone(ann, 1.0)
    ann.scripted.failures["profile"] = grpc.StatusCode.UNAVAILABLE
    answer = ann.client.recommend("ann", page_size=EVERYTHING, fusion_weight=0.5)
    assert ids(answer) == due
    assert degradations(answer) == {
        "PROFILE_UNAVAILABLE",
        "SEEN_INCOMPLETE",
        "PAGE_NOT_FILLED",
    }
    assert answer.fusion_weight == 1.0
    assert answer.HasField("session_age")
    assert not answer.HasField("profile_age")


def test_a_profile_of_before_an_outage_of_its_database_is_ranked_with_and_said(
    ann: Ranker,
) -> None:
    fresh = ann.client.recommend("ann")
    profile = ann.scripted.profiles["ann"]
    profile.stale = True
    profile.as_of.GetCurrentTime()
    answer = ann.client.recommend("ann")
    # What was recorded since then may be seen, too.
    assert degradations(answer) - degradations(fresh) == {"PROFILE_STALE", "SEEN_INCOMPLETE"}
    assert ids(answer) == ids(fresh)


def test_a_stale_window_is_ranked_with_and_said(ann: Ranker) -> None:
    fresh = ann.client.recommend("ann")
    ann.scripted.sessions["ann"].stale = True
    answer = ann.client.recommend("ann")
    assert degradations(answer) - degradations(fresh) == {"SESSION_STALE"}
    assert ids(answer) == ids(fresh)


def test_without_the_session_the_profile_ranks_alone(ann: Ranker) -> None:
    due = alone(ann, 0.0)
    ann.scripted.failures["session"] = grpc.StatusCode.INTERNAL
    answer = ann.client.recommend("ann", page_size=EVERYTHING)
    assert ids(answer) == due
    assert degradations(answer) == {"SESSION_UNAVAILABLE", "PAGE_NOT_FILLED"}
    assert answer.fusion_weight == 0.0


def test_without_either_the_popular_items_come_within_the_filter(ann: Ranker) -> None:
    ann.scripted.failures.update(
        profile=grpc.StatusCode.UNAVAILABLE, session=grpc.StatusCode.RESOURCE_EXHAUSTED
    )
    answer = ann.client.recommend("ann", page_size=3, filter="price >= 4")
    assert ids(answer) == ["item-4", "item-5", "item-6"]
    assert degradations(answer) == {
        "PROFILE_UNAVAILABLE",
        "SESSION_UNAVAILABLE",
        "SEEN_INCOMPLETE",
        "POPULARITY_FALLBACK",
    }


@pytest.mark.parametrize("slow", ["profile", "session"])
def test_a_slow_service_is_not_waited_for_beyond_its_share(ann: Ranker, slow: str) -> None:
    ann.scripted.delays_s[slow] = SLOW_S
    begin = time.monotonic()
    answer = ann.client.recommend("ann")
    assert time.monotonic() - begin < SLOW_S
    assert f"{slow.upper()}_UNAVAILABLE" in degradations(answer)
    assert len(ids(answer)) == 10


def test_the_share_is_one_of_the_callers_own_deadline(ann: Ranker) -> None:
    ann.scripted.delays_s["profile"] = SLOW_S
    begin = time.monotonic()
    answer = ann.client.recommend("ann", timeout=1.0)
    assert time.monotonic() - begin < 1.0
    assert "PROFILE_UNAVAILABLE" in degradations(answer)


def test_both_are_asked_at_once(ann: Ranker) -> None:
    ann.scripted.delays_s.update(profile=0.6, session=0.6)
    begin = time.monotonic()
    answer = ann.client.recommend("ann")
    assert time.monotonic() - begin < 1.1
    assert not answer.degradations


def test_a_vector_of_another_bundle_is_never_mixed_in(ann: Ranker) -> None:
    due = alone(ann, 0.0)
    ann.scripted.sessions["ann"].vector.bundle_id = "another"
    answer = ann.client.recommend("ann", page_size=EVERYTHING)
    assert ids(answer) == due
    assert "SESSION_UNAVAILABLE" in degradations(answer)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_not_ranked_with(ann: Ranker, bad: float) -> None:
    due = alone(ann, 1.0)
    values = ann.user_vector()
    values[3] = bad
    ann.scripted.profiles["ann"].vector.CopyFrom(vector(values, ann.bundle.id))
    answer = ann.client.recommend("ann", page_size=EVERYTHING)
    assert ids(answer) == due
    assert "PROFILE_UNAVAILABLE" in degradations(answer)
    assert all(np.isfinite(one.score) for one in answer.recommendations)


def test_a_vector_of_a_wrong_length_is_not_ranked_with(ann: Ranker) -> None:
    ann.scripted.profiles["ann"].vector.CopyFrom(vector([1.0, 2.0], ann.bundle.id))
    answer = ann.client.recommend("ann")
    assert "PROFILE_UNAVAILABLE" in degradations(answer)


def test_seen_items_that_make_no_sense_are_refused_not_guessed(ann: Ranker) -> None:
    ann.scripted.profiles["ann"].seen.action_masks = b"123"
    ann.scripted.profiles["ann"].seen.version += 1
    answer = ann.client.recommend("ann")
    assert {"PROFILE_UNAVAILABLE", "SEEN_INCOMPLETE"} <= degradations(answer)
    ann.scripted.sessions["ann"].item_nos = pack_int64([1, 2, 3])
    answer = ann.client.recommend("ann")
    assert "POPULARITY_FALLBACK" in degradations(answer)


def test_an_answer_with_a_negative_number_is_refused(ann: Ranker) -> None:
    profiles, sessions = ann.scripted.profiles, ann.scripted.sessions
    whole = profiles["ann"], sessions["ann"]
    for bad in (
        Profile(num_events=-9),
        Profile(seen=SeenItems(version=-3)),
        EncodeSessionResponse(num_session_events=-(2**31)),
        EncodeSessionResponse(last_sequence=-5),
    ):
        one, other = deepcopy(whole)
        if isinstance(bad, Profile):
            one.MergeFrom(bad)
        else:
            other.MergeFrom(bad)
        name = "PROFILE" if isinstance(bad, Profile) else "SESSION"
        profiles["ann"], sessions["ann"] = one, other
        [in_batch] = ann.client.batch_recommend([recommend_request("ann")])
        for answer in (ann.client.recommend("ann"), in_batch):
            assert f"{name}_UNAVAILABLE" in degradations(answer)
            assert len(ids(answer)) == 10


def test_a_batch_goes_on_when_one_service_is_gone(ann: Ranker) -> None:
    ann.scripted.failures["profile"] = grpc.StatusCode.UNAVAILABLE
    answers = ann.client.batch_recommend([recommend_request(n) for n in ("ann", "bob", "ann")])
    assert [len(ids(answer)) for answer in answers] == [10, 10, 10]
    assert ids(answers[0]) == ids(answers[2])
    assert "POPULARITY_FALLBACK" in degradations(answers[1])
    assert "USER_UNKNOWN" not in degradations(answers[1])


def test_what_is_wrong_with_a_visitors_events_is_the_callers_to_know(ranker: Ranker) -> None:
    ranker.scripted.failures["session"] = grpc.StatusCode.NOT_FOUND
    with pytest.raises(GroundswellError) as caught:
        ranker.client.recommend(events=[event("", "no-such-item")])
    assert caught.value.status == grpc.StatusCode.NOT_FOUND
    ranker.scripted.failures["session"] = grpc.StatusCode.UNAVAILABLE
    answer = ranker.client.recommend(events=[event("", "item-0")], page_size=2)
    assert ids(answer) == ["item-1", "item-2"]
    assert degradations(answer) == {"SESSION_UNAVAILABLE", "POPULARITY_FALLBACK"}


def test_everything_is_whole_again_once_the_services_are(ann: Ranker) -> None:
    whole = ids(ann.client.recommend("ann"))
    ann.scripted.failures.update(
        profile=grpc.StatusCode.UNAVAILABLE, session=grpc.StatusCode.UNAVAILABLE
    )
    assert "POPULARITY_FALLBACK" in degradations(ann.client.recommend("ann"))
    ann.scripted.failures.clear()
    answer = ann.client.recommend("ann")
    assert ids(answer) == whole
    assert not answer.degradations
