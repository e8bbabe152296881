"""Both clients when calls fail: typed errors, deadlines, retries, streams that break."""

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from groundswell.client import Deadlines, GroundswellError, Targets, event
from groundswell.common.v1 import event_pb2
from groundswell.profile.v1 import catalogue_service_pb2 as catalogue_pb2
from groundswell.profile.v1 import event_service_pb2 as events_pb2
from groundswell.serving.errors import (
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from tests.support.processes import free_port
from tests.support.recorder import Recorders, failing, open_client
from tests.support.waiting import eventually


def log_of(num_events: int) -> Iterator[event_pb2.Event]:
    for number in range(num_events):
        yield event("anna", "i1", event_id=str(number), time=number)


def test_an_error_has_its_status_its_reason_and_the_wrong_field(
    client: Any, suite: Recorders
) -> None:
    suite.ranker.answers["Recommend"] = failing(
        InvalidArgument("PAGE_SIZE_INVALID", "page_size is 0", field="page_size")
    )
    with pytest.raises(GroundswellError) as caught:
        client.recommend("anna", page_size=0)
    error = caught.value
    assert error.status is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.reason, error.message) == ("PAGE_SIZE_INVALID", "page_size is 0")
    (violation,) = error.violations
    assert violation == ("page_size", "page_size is 0", "PAGE_SIZE_INVALID")
    assert error.retry_after_s is None
    assert str(error) == "INVALID_ARGUMENT (PAGE_SIZE_INVALID): page_size is 0"


def test_what_is_not_there_is_not_found(client: Any, suite: Recorders) -> None:
    suite.profile.answers["GetItem"] = failing(NotFound("ITEM_NOT_FOUND", "no item i9"))
    with pytest.raises(GroundswellError) as caught:
        client.get_item("i9")
    assert (caught.value.status, caught.value.reason, caught.value.violations) == (
        grpc.StatusCode.NOT_FOUND,
        "ITEM_NOT_FOUND",
        (),
    )


def test_a_closed_client_says_so(suite: Recorders) -> None:
    for kind in ("sync", "aio"):
        opened = open_client(kind, suite.targets, Deadlines())
        client = next(opened)
        client.close()
        with pytest.raises(GroundswellError, match="the client is closed") as caught:
            client.recommend("anna")
        assert caught.value.status is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(GroundswellError, match="the client is closed"):
            list(client.refresh_profiles())
        with pytest.raises(GroundswellError, match="the client is closed"):
            list(client.import_events(log_of(1)))
        next(opened, None)


def test_every_call_has_a_deadline_and_a_call_may_set_its_own(
    client: Any, suite: Recorders
) -> None:
    client.recommend("anna")
    client.recommend("anna", timeout=60)
    client.batch_recommend([])
    default, own, bulk = suite.ranker.remaining_s
    # gRPC rounds a deadline up before it sends it.
    assert 3 < default <= 5.2
    assert 50 < own <= 61
    assert 9 < bulk <= 11.2
    client.record_events([])
    assert 5 < suite.session.remaining_s[0] <= 7.2
    list(client.refresh_profiles())
    assert 11 < suite.profile.remaining_s[0] <= 13.2


def test_calls_of_texts_and_neighbours_have_a_deadline_too(client: Any, suite: Recorders) -> None:
    client.similar_items("i1")
    client.encode_texts(["x"])
    client.predict_interests("x")
    [similar], [encode, predict] = suite.ranker.remaining_s, suite.profile.remaining_s
    assert 3 < similar <= 5.2
    assert 9 < encode <= 11.2
    assert 3 < predict <= 5.2


def test_a_call_that_takes_longer_than_its_deadline_ends_there(
    client: Any, suite: Recorders
) -> None:
    suite.ranker.answers["Recommend"] = lambda *_: time.sleep(1)
    begin = time.monotonic()
    with pytest.raises(GroundswellError) as caught:
        client.recommend("anna", timeout=0.2)
    assert time.monotonic() - begin < 0.9
    assert caught.value.status is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.reason == ""


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_nobody_there_is_unavailable_within_the_deadline(kind: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    targets = Targets(ranker=address, session=address, profile=address)
    for client in open_client(kind, targets, Deadlines(read_s=3)):
        begin = time.monotonic()
        with pytest.raises(GroundswellError) as caught:
            client.recommend("anna")
        assert time.monotonic() - begin < 3.5
        assert caught.value.status is grpc.StatusCode.UNAVAILABLE
        assert caught.value.reason == ""


def answering_imports(suite: Recorders, refuse_batch: int | None = None) -> Any:
    def answer(requests: Any, _: Any) -> Iterator[events_pb2.ImportEventsResponse]:
        for number, request in enumerate(requests):
            if number == refuse_batch:
                raise InvalidArgument("EVENTS_INVALID", "no", field="events")
            suite.profile.record("ImportEvents", request)
            yield events_pb2.ImportEventsResponse(num_accepted=len(request.events))

    return answer


def test_an_import_goes_in_batches_and_each_is_answered(client: Any, suite: Recorders) -> None:
    suite.profile.answers["ImportEvents"] = answering_imports(suite)
    answers = list(client.import_events(log_of(25), batch_size=2))
    assert [answer.num_accepted for answer in answers] == [2] * 12 + [1]
    sent = [e for request in suite.profile.asked("ImportEvents") for e in request.events]
    assert sent == list(log_of(25))


def test_an_import_of_nothing_ends_at_once(client: Any, suite: Recorders) -> None:
    suite.profile.answers["ImportEvents"] = answering_imports(suite)
    assert list(client.import_events([])) == []


def test_a_refused_batch_ends_an_import_after_the_answers_before_it(
    client: Any, suite: Recorders
) -> None:
    suite.profile.answers["ImportEvents"] = answering_imports(suite, refuse_batch=3)
    answers = []
    with pytest.raises(GroundswellError) as caught:
        for answer in client.import_events(log_of(100), batch_size=2):
            answers.append(answer)
    assert caught.value.reason == "EVENTS_INVALID"
    assert len(answers) == 3


def test_an_error_of_the_callers_own_log_comes_out_of_the_import(
    client: Any, suite: Recorders
) -> None:
    def broken_log() -> Iterator[event_pb2.Event]:
        yield from log_of(4)
        raise OSError("the file ends here")

    suite.profile.answers["ImportEvents"] = answering_imports(suite)
    with pytest.raises(OSError, match="the file ends here"):
        list(client.import_events(broken_log(), batch_size=2))


def test_leaving_an_import_early_ends_the_call(client: Any, suite: Recorders) -> None:
    ended: list[bool] = []

    def answer(requests: Any, context: Any) -> Iterator[events_pb2.ImportEventsResponse]:
        context.add_callback(lambda: ended.append(True))
        for _ in requests:
            yield events_pb2.ImportEventsResponse(num_accepted=1)

    suite.profile.answers["ImportEvents"] = answer
    answers = client.import_events(log_of(1_000), batch_size=1)
    next(answers)
    answers.close()
    eventually(lambda: ended, 5)


def test_a_watch_that_breaks_goes_on_from_its_last_revision(client: Any, suite: Recorders) -> None:
    def answer(request: Any, _: Any) -> Iterator[catalogue_pb2.WatchItemsResponse]:
        for step in (1, 2):
            yield catalogue_pb2.WatchItemsResponse(revision=request.since_revision + step)
        raise Unavailable("DRAINING", "going away")

    suite.profile.answers["WatchItems"] = answer
    changes = client.watch_items(10, bundle_id="b", with_content=False)
    assert [next(changes).revision for _ in range(5)] == [11, 12, 13, 14, 15]
    changes.close()
    asked = suite.profile.asked("WatchItems")
    assert [request.since_revision for request in asked] == [10, 12, 14]
    assert all((r.bundle_id, r.with_content) == ("b", False) for r in asked)


def test_a_watch_that_a_busy_server_refuses_waits_as_long_as_it_was_told(
    client: Any, suite: Recorders
) -> None:
    times: list[float] = []

    def answer(*_: Any) -> Iterator[catalogue_pb2.WatchItemsResponse]:
        times.append(time.monotonic())
        if len(times) == 1:
            raise ResourceExhausted("OVERLOADED", "busy", retry_after_s=0.5)
        yield catalogue_pb2.WatchItemsResponse(revision=1)

    suite.profile.answers["WatchItems"] = answer
    changes = client.watch_items()
    assert next(changes).revision == 1
    changes.close()
    assert times[1] - times[0] >= 0.5


def test_a_watch_that_is_refused_raises(client: Any, suite: Recorders) -> None:
    suite.profile.answers["WatchItems"] = failing(
        InvalidArgument("REVISION_INVALID", "negative", field="since_revision")
    )
    with pytest.raises(GroundswellError) as caught:
        next(client.watch_items(-1))
    assert caught.value.reason == "REVISION_INVALID"
    assert len(suite.profile.asked("WatchItems")) == 1


def test_a_watch_that_nobody_answers_gives_up(client: Any, suite: Recorders) -> None:
    suite.profile.answers["WatchItems"] = failing(Unavailable("DRAINING", "going away"))
    begin = time.monotonic()
    with pytest.raises(GroundswellError) as caught:
        next(client.watch_items(give_up_s=0.5))
    assert caught.value.reason == "DRAINING"
    assert 0.4 < time.monotonic() - begin < 3
    assert len(suite.profile.asked("WatchItems")) > 1
