"""Both clients try safe calls again at the right time, and other calls never."""

import time
from itertools import pairwise
from typing import Any

import grpc
import pytest

from groundswell.client import GroundswellError, event, item
from groundswell.ranker.v1 import ranker_service_pb2 as ranker_pb2
from groundswell.serving.errors import ResourceExhausted, Unavailable
from tests.support.recorder import Recorders, failing


def test_an_overload_is_tried_again_when_the_server_said_and_not_before(
    client: Any, suite: Recorders
) -> None:
    times = asking_times(suite, ResourceExhausted("OVERLOADED", "busy", retry_after_s=0.25))
    with pytest.raises(GroundswellError) as caught:
        client.recommend("anna")
    assert (caught.value.reason, caught.value.retry_after_s) == ("OVERLOADED", 0.25)
    assert len(times) == 4
    assert min(later - before for before, later in pairwise(times)) >= 0.24


def test_a_wait_past_the_deadline_is_not_begun(client: Any, suite: Recorders) -> None:
    times = asking_times(suite, ResourceExhausted("OVERLOADED", "busy", retry_after_s=30))
    begin = time.monotonic()
    with pytest.raises(GroundswellError) as caught:
        client.recommend("anna", timeout=10)
    assert time.monotonic() - begin < 5
    assert (caught.value.reason, caught.value.retry_after_s) == ("OVERLOADED", 30)
    assert len(times) == 1


def test_work_that_does_not_fit_is_not_tried_again(client: Any, suite: Recorders) -> None:
    times = asking_times(suite, ResourceExhausted("STORE_FULL", "the disk is full"))
    with pytest.raises(GroundswellError) as caught:
        client.recommend("anna")
    assert (caught.value.reason, caught.value.retry_after_s) == ("STORE_FULL", None)
    assert len(times) == 1


def asking_times(suite: Recorders, error: Exception) -> list[float]:
    """The times at which Recommend is asked; it fails each time."""
    times: list[float] = []

    def answer(*_: Any) -> Any:
        times.append(time.monotonic())
        raise error

    suite.ranker.answers["Recommend"] = answer
    return times


def test_an_outage_gets_hardly_more_calls_than_were_made(client: Any, suite: Recorders) -> None:
    down = Unavailable("NO_BUNDLE", "not yet")
    times = asking_times(suite, down)
    num_calls = 60
    for _ in range(num_calls):
        with pytest.raises(GroundswellError):
            client.recommend("anna")
    assert num_calls < len(times) <= 1.2 * num_calls


@pytest.mark.parametrize("method", ["BatchRecommend", "EncodeTexts", "BatchGetProfiles"])
def test_a_costly_call_is_tried_again_once(client: Any, suite: Recorders, method: str) -> None:
    calls = {
        "BatchRecommend": client.batch_recommend,
        "EncodeTexts": client.encode_texts,
        "BatchGetProfiles": client.batch_get_profiles,
    }
    recorder = suite.ranker if method == "BatchRecommend" else suite.profile
    recorder.answers[method] = failing(Unavailable("DRAINING", "going away", retry_after_s=0.01))
    with pytest.raises(GroundswellError):
        calls[method]([])
    assert len(recorder.asked(method)) == 2


def test_a_request_that_is_too_large_is_not_sent(client: Any, suite: Recorders) -> None:
    with pytest.raises(GroundswellError) as caught:
        client.upsert_items([item(str(n), description="x" * 20_000) for n in range(250)])
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert caught.value.status is grpc.StatusCode.INVALID_ARGUMENT
    assert suite.profile.asked("UpsertItems") == []


def test_a_message_that_grpc_refuses_has_a_reason_and_is_not_sent_again(
    client: Any, suite: Recorders
) -> None:
    answer = ranker_pb2.RecommendResponse(bundle_id="b" * (65 * 1024 * 1024))
    suite.ranker.answers["Recommend"] = lambda *_: answer
    with pytest.raises(GroundswellError) as caught:
        client.recommend("anna")
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert caught.value.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(suite.ranker.asked("Recommend")) == 1


def test_a_call_that_nobody_could_answer_is_tried_again(client: Any, suite: Recorders) -> None:
    answer = ranker_pb2.RecommendResponse(bundle_id="b")

    def answers(*_: Any) -> ranker_pb2.RecommendResponse:
        if len(suite.ranker.asked("Recommend")) < 3:
            raise Unavailable("NO_BUNDLE", "not yet")
        return answer

    suite.ranker.answers["Recommend"] = answers
    assert client.recommend("anna") == answer
    assert len(suite.ranker.asked("Recommend")) == 3


def test_a_call_that_stays_unanswered_ends_with_the_last_error(
    client: Any, suite: Recorders
) -> None:
    suite.session.answers["RecordEvents"] = failing(
        Unavailable("PROFILE_UNAVAILABLE", "the profile service does not answer")
    )
    with pytest.raises(GroundswellError) as caught:
        client.record_events([event("anna", "i1")])
    assert caught.value.reason == "PROFILE_UNAVAILABLE"
    assert len(suite.session.asked("RecordEvents")) == 4
