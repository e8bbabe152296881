"""Visitors without an id, and wrong requests, each refused with its reason."""

import math

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.client import GroundswellError
from groundswell.client.errors import from_rpc_error
from groundswell.common.v1.event_pb2 import EVENT_STATUS_REJECTED, Event, InlineEvents
from groundswell.session.v1.session_service_pb2 import (
    BatchEncodeSessionsRequest,
    EncodeSessionRequest,
    EncodeSessionResponse,
    RecordEventsRequest,
)
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from tests.integration.session_service.support import at, item_nos, vector
from tests.support.suite import Suite

BAD_EVENTS = [
    ("EVENT_ID_INVALID", {"event_id": ""}),
    ("EVENT_ID_INVALID", {"event_id": "x" * 129}),
    ("EVENT_ID_INVALID", {"event_id": "a\0b"}),
    ("USER_ID_INVALID", {"user_id": ""}),
    ("USER_ID_INVALID", {"user_id": "x" * 257}),
    ("ITEM_ID_INVALID", {"item_id": ""}),
    ("ITEM_ID_INVALID", {"item_id": "a\0b"}),
    ("ITEM_NOT_FOUND", {"item_id": "nobody's"}),
    ("ACTION_INVALID", {"action": 0}),
    ("ACTION_INVALID", {"action": 99}),
    ("VALUE_INVALID", {"value": math.nan}),
    ("VALUE_INVALID", {"value": math.inf}),
    ("TIME_INVALID", {"time": None}),
    ("TIME_INVALID", {"time": Timestamp(seconds=2**33)}),
    ("ORDINAL_INVALID", {"ordinal": -1}),
    ("SESSION_ID_INVALID", {"session_id": "x" * 129}),
    ("ATTRIBUTION_TOKEN_INVALID", {"attribution_token": "x" * 513}),
]
ANONYMOUS_MAY = ("EVENT_ID_INVALID", "USER_ID_INVALID")


def changed(event: Event, fields: dict[str, object]) -> Event:
    """The event with some fields replaced; None clears one."""
    for name, value in fields.items():
        event.ClearField(name)  # type: ignore[arg-type] # the names are the table's
        if isinstance(value, Timestamp):
            event.time.CopyFrom(value)
        elif value is not None:
            setattr(event, name, value)
    return event


def encode(suite: Suite, request: EncodeSessionRequest) -> EncodeSessionResponse:
    with grpc.insecure_channel(suite.targets.session) as channel:
        return SessionServiceStub(channel).EncodeSession(request, timeout=10)


@pytest.mark.parametrize(("reason", "fields"), BAD_EVENTS)
def test_a_bad_event_is_rejected_by_its_reason_and_not_stored(
    suite: Suite, reason: str, fields: dict[str, object]
) -> None:
    (result,) = suite.client.record_events([changed(at("bad", 0), fields)])
    assert result.status == EVENT_STATUS_REJECTED
    assert result.reason == reason
    assert result.sequence == result.item_no == 0
    assert next(iter(fields)) in result.detail or "item" in result.detail
    assert list(suite.client.list_events("bad")) == []


@pytest.mark.parametrize(
    ("reason", "fields"), [case for case in BAD_EVENTS if case[0] not in ANONYMOUS_MAY]
)
def test_a_bad_inline_event_fails_the_call_and_names_its_field(
    suite: Suite, reason: str, fields: dict[str, object]
) -> None:
    events = [at("", 0, event_id=""), changed(at("", 1, event_id=""), fields)]
    with pytest.raises(GroundswellError) as caught:
        suite.client.encode_session(events=events)
    assert caught.value.reason == reason
    field = f"inline_events.events[1].{next(iter(fields))}"
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("num_events", [0, 1001])
def test_a_write_of_no_or_too_many_events_is_refused(suite: Suite, num_events: int) -> None:
    with pytest.raises(GroundswellError) as caught:
        suite.client.record_events([at("many", n) for n in range(num_events)])
    assert caught.value.status == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.reason == "EVENTS_INVALID"
    assert list(suite.client.list_events("many")) == []


def test_a_thousand_events_are_recorded_in_one_call(suite: Suite) -> None:
    results = suite.client.record_events([at("bulk", n, row=n % 30) for n in range(1000)])
    assert [r.sequence for r in results] == list(range(1, 1001))
    assert suite.client.encode_session("bulk").last_sequence == 1000


def test_a_message_over_the_limit_is_refused(suite: Suite) -> None:
    event = at("huge", 0)
    event.item_id = "x" * (5 * 1024 * 1024)
    with (
        grpc.insecure_channel(suite.targets.session) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        SessionServiceStub(channel).RecordEvents(RecordEventsRequest(events=[event]), timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_user_without_events_has_the_vector_of_an_empty_window(suite: Suite) -> None:
    answer = suite.client.encode_session("newcomer")
    assert answer.num_window_events == answer.num_session_events == answer.last_sequence == 0
    assert not answer.HasField("last_event_time")
    assert answer.item_nos == b""
    assert np.array_equal(vector(answer), vector(suite.client.encode_session(events=[])))


@pytest.mark.parametrize("user_id", ["", "a\0b", "ü" * 129])
def test_a_bad_user_id_is_named(suite: Suite, user_id: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        encode(suite, EncodeSessionRequest(user_id=user_id))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "user_id" in str(caught.value.details())


def test_a_request_without_a_subject_is_refused(suite: Suite) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        encode(suite, EncodeSessionRequest())
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_bundle_that_is_not_loaded_is_refused(suite: Suite) -> None:
    with pytest.raises(GroundswellError) as caught:
        suite.client.encode_session("rita", bundle_id="0123456789abcdef")
    assert caught.value.status == grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.reason == "BUNDLE_NOT_LOADED"


def test_a_batch_gives_what_single_calls_give(suite: Suite) -> None:
    suite.client.record_events([at("batched", n) for n in range(3)])
    requests = [
        EncodeSessionRequest(user_id="batched"),
        EncodeSessionRequest(session_id="a visit"),
        EncodeSessionRequest(user_id="a newcomer"),
    ]
    with grpc.insecure_channel(suite.targets.session) as channel:
        call = SessionServiceStub(channel).BatchEncodeSessions
        batch = BatchEncodeSessionsRequest(requests=requests)
        answers = [result.session for result in call(batch, timeout=10).results]
        assert answers == [encode(suite, request) for request in requests]
        # Now they are all held.
        assert [result.session for result in call(batch, timeout=10).results] == answers
        assert answers[0].num_window_events == 3
        for wrong, reason in (
            ([], "REQUESTS_INVALID"),
            ([*requests, EncodeSessionRequest(user_id="x", bundle_id="y")], "REQUESTS_INVALID"),
            ([EncodeSessionRequest(inline_events=InlineEvents())], "REQUESTS_INVALID"),
            ([requests[0]] * 257, "REQUESTS_INVALID"),
            ([*requests, EncodeSessionRequest(user_id="a\0b")], "USER_ID_INVALID"),
            ([EncodeSessionRequest(user_id="x", bundle_id="none")], "BUNDLE_NOT_LOADED"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call(BatchEncodeSessionsRequest(requests=wrong), timeout=10)
            assert from_rpc_error(caught.value).reason == reason


def test_a_visitor_is_read_as_a_user_with_the_same_events_and_nothing_is_stored(
    suite: Suite,
) -> None:
    log = [at("known", 7 * n, row=n, event_id=f"{n:02}") for n in range(12)]
    suite.client.record_events(log)
    known = suite.client.encode_session("known")
    inline = [at("visitor", 7 * n, row=n, event_id=f"{n:02}") for n in range(12)]
    visitor = suite.client.encode_session(events=inline[::-1])
    np.testing.assert_allclose(vector(visitor), vector(known), rtol=1e-5, atol=1e-6)
    assert item_nos(visitor) == item_nos(known)
    assert visitor.num_session_events == known.num_session_events
    assert visitor.last_event_time == known.last_event_time
    assert visitor.last_sequence == 0
    assert list(suite.client.list_events("visitor")) == []


def test_inline_events_without_ids_keep_the_order_in_which_they_came(suite: Suite) -> None:
    events = [at("", 0, row=row, event_id="") for row in (5, 2, 9)]
    answer = suite.client.encode_session(events=events)
    assert item_nos(answer) == [suite.client.get_item(f"item-{n}").item_no for n in (5, 2, 9)]


def test_more_inline_events_than_are_read_are_refused(suite: Suite) -> None:
    events = [at("", n, event_id="") for n in range(200)]
    assert suite.client.encode_session(events=events).num_window_events == 8
    request = EncodeSessionRequest(inline_events=InlineEvents(events=[*events, events[0]]))
    with pytest.raises(grpc.RpcError) as caught:
        encode(suite, request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "201" in str(caught.value.details())


def test_the_model_that_is_served_is_described(suite: Suite) -> None:
    answer = suite.client.model("session")
    assert answer.model.window_length == 8
    assert answer.model.dimension == 16
    assert list(answer.loaded_bundle_ids) == [answer.model.bundle_id]
    assert suite.client.encode_session("rita").vector.bundle_id == answer.model.bundle_id
