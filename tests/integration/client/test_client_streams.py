"""Both clients go on after the last answer when the connection under a stream breaks."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from groundswell.client import GroundswellError, event, recommend_request
from groundswell.common.v1 import event_pb2
from groundswell.profile.v1 import event_service_pb2 as events_pb2
from groundswell.profile.v1 import profile_service_pb2 as profile_pb2
from groundswell.ranker.v1 import ranker_service_pb2 as ranker_pb2
from groundswell.serving.errors import Unavailable
from tests.support.recorder import Recorders


def log_of(num_events: int) -> Iterator[event_pb2.Event]:
    for number in range(num_events):
        yield event("anna", "i1", event_id=str(number), time=number)


def ending_streams(suite: Recorders, batches: int) -> Any:
    """Streams that break after some batches, the last of which is stored and not answered."""

    def answer(requests: Any, _: Any) -> Iterator[events_pb2.ImportEventsResponse]:
        for number, request in enumerate(requests, 1):
            suite.profile.record("ImportEvents", request)
            if number == batches:
                raise Unavailable("DRAINING", "going away")
            yield events_pb2.ImportEventsResponse(num_accepted=len(request.events))

    return answer


def test_an_import_whose_connection_breaks_goes_on_after_the_last_answer(
    client: Any, suite: Recorders
) -> None:
    suite.profile.answers["ImportEvents"] = ending_streams(suite, 4)
    answers = list(client.import_events(log_of(25), batch_size=2))
    assert [answer.num_accepted for answer in answers] == [2] * 12 + [1]
    numbers = [int(r.events[0].event_id) for r in suite.profile.asked("ImportEvents")]
    stored_again = [6, 12, 18, 24]
    assert numbers == sorted([*range(0, 25, 2), *stored_again])


def test_an_import_that_nobody_answers_again_gives_up(client: Any, suite: Recorders) -> None:
    streams: list[int] = []

    def answer(requests: Any, _: Any) -> Iterator[events_pb2.ImportEventsResponse]:
        streams.append(1)
        next(requests)
        if len(streams) == 1:
            yield events_pb2.ImportEventsResponse(num_accepted=2)
        raise Unavailable("DRAINING", "going away")

    suite.profile.answers["ImportEvents"] = answer
    answers = client.import_events(log_of(9), batch_size=2, give_up_s=0.3)
    assert next(answers).num_accepted == 2
    with pytest.raises(GroundswellError, match="UNAVAILABLE"):
        next(answers)
    assert len(streams) > 2


def refused(*_: Any) -> Any:
    raise Unavailable("DRAINING", "going away")


def test_an_import_that_was_never_answered_fails_at_once(client: Any, suite: Recorders) -> None:
    suite.profile.answers["ImportEvents"] = refused
    begin = time.monotonic()
    with pytest.raises(GroundswellError, match="UNAVAILABLE"):
        list(client.import_events(log_of(9), batch_size=2))
    assert time.monotonic() - begin < 5


def test_a_refresh_whose_connection_breaks_is_asked_for_again(
    client: Any, suite: Recorders
) -> None:
    def answer(*_: Any) -> Iterator[profile_pb2.RefreshProfilesResponse]:
        left = 4 - 2 * len(suite.profile.asked("RefreshProfiles"))
        yield profile_pb2.RefreshProfilesResponse(num_users_left=left)
        if left:
            raise Unavailable("DRAINING", "going away")

    suite.profile.answers["RefreshProfiles"] = answer
    progress = [answer.num_users_left for answer in client.refresh_profiles(["anna"])]
    assert progress == [2, 0]
    assert [list(r.user_ids) for r in suite.profile.asked("RefreshProfiles")] == [["anna"]] * 2


def test_recommending_to_all_goes_on_with_the_batches_that_were_not_answered(
    client: Any, suite: Recorders
) -> None:
    def answer(requests: Any, _: Any) -> Iterator[ranker_pb2.StreamRecommendResponse]:
        for number, request in enumerate(requests, 1):
            users = [one.user_id for one in request.requests]
            suite.ranker.record("StreamRecommend", users)
            if number == 3:
                raise Unavailable("DRAINING", "going away")
            responses = [ranker_pb2.RecommendResponse(bundle_id=user) for user in users]
            yield ranker_pb2.StreamRecommendResponse(responses=responses)

    suite.ranker.answers["StreamRecommend"] = answer
    users = [f"user-{number}" for number in range(13)]
    asked = (recommend_request(user) for user in users)
    answers = list(client.recommend_all(asked, batch_size=2))
    assert [answer.bundle_id for answer in answers] == users
    first = [users[0] for users in suite.ranker.asked("StreamRecommend")]
    assert first == [f"user-{number}" for number in (0, 2, 4, 4, 6, 8, 8, 10, 12, 12)]
