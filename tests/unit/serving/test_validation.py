"""Validation: every rule of the shared contracts, at its limits."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1 import event_pb2
from groundswell.profile.v1 import catalogue_service_pb2 as catalogue_pb2
from groundswell.serving import validation
from groundswell.serving.errors import InvalidArgument

# 1900-01-01 and the last second of 2199.
FIRST_S = -2_208_988_800
LAST_S = 7_258_118_399


def good_event() -> event_pb2.Event:
    return event_pb2.Event(
        event_id="e",
        user_id="u",
        item_id="i",
        action=event_pb2.ACTION_CLICK,
        time=Timestamp(seconds=1_700_000_000),
    )


@pytest.mark.parametrize("value", ["", "x" * 257, "é" * 129, "a\0b"])
def test_an_id_that_is_empty_too_long_or_has_a_nul_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        validation.check_user_id(value, "requests[3].user_id")
    assert (caught.value.reason, caught.value.field) == ("USER_ID_INVALID", "requests[3].user_id")


@pytest.mark.parametrize("value", ["x", "x" * 256, "é" * 128, " ", "🌊"])
def test_any_other_id_is_taken(value: str) -> None:
    validation.check_item_id(value)


def test_a_page_size_that_is_not_set_has_its_default() -> None:
    assert validation.check_page_size(catalogue_pb2.ListItemsRequest(), 100, 1000) == 100


@pytest.mark.parametrize("size", [1, 1000])
def test_a_page_size_at_its_limits_is_taken(size: int) -> None:
    request = catalogue_pb2.ListItemsRequest(page_size=size)
    assert validation.check_page_size(request, 100, 1000) == size


@pytest.mark.parametrize("size", [0, -1, 1001, 100_000])
def test_a_page_size_beyond_its_limits_is_refused(size: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        validation.check_page_size(catalogue_pb2.ListItemsRequest(page_size=size), 100, 1000)
    assert (caught.value.reason, caught.value.field) == ("PAGE_SIZE_INVALID", "page_size")
    assert str(size) in caught.value.message


def test_a_good_event_has_no_problem() -> None:
    assert validation.event_problem(good_event()) is None


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"event_id": ""}, "EVENT_ID_INVALID", "event_id"),
        ({"event_id": "x" * 129}, "EVENT_ID_INVALID", "event_id"),
        ({"user_id": ""}, "USER_ID_INVALID", "user_id"),
        ({"user_id": "a\0"}, "USER_ID_INVALID", "user_id"),
        ({"item_id": ""}, "ITEM_ID_INVALID", "item_id"),
        ({"item_id": "x" * 257}, "ITEM_ID_INVALID", "item_id"),
        ({"action": event_pb2.ACTION_UNSPECIFIED}, "ACTION_INVALID", "action"),
        ({"action": 77}, "ACTION_INVALID", "action"),
        ({"action": -1}, "ACTION_INVALID", "action"),
        ({"value": float("nan")}, "VALUE_INVALID", "value"),
        ({"value": float("-inf")}, "VALUE_INVALID", "value"),
        ({"time": None}, "TIME_INVALID", "time"),
        ({"time": Timestamp(seconds=FIRST_S - 1)}, "TIME_INVALID", "time"),
        ({"time": Timestamp(seconds=LAST_S + 1)}, "TIME_INVALID", "time"),
        ({"time": Timestamp(seconds=1, nanos=-1)}, "TIME_INVALID", "time"),
        ({"time": Timestamp(seconds=1, nanos=1_000_000_000)}, "TIME_INVALID", "time"),
        ({"ordinal": -1}, "ORDINAL_INVALID", "ordinal"),
        ({"session_id": "x" * 129}, "SESSION_ID_INVALID", "session_id"),
        ({"session_id": "\0"}, "SESSION_ID_INVALID", "session_id"),
        ({"attribution_token": "x" * 513}, "ATTRIBUTION_TOKEN_INVALID", "attribution_token"),
    ],
)
def test_a_broken_rule_of_an_event_gives_its_reason_and_names_the_field(
    change: dict[str, object], reason: str, field: str
) -> None:
    event = good_event()
    for name, value in change.items():
        event.ClearField(name)  # type: ignore[arg-type] # the names are the table's
        event.MergeFrom(event_pb2.Event(**{name: value}))  # type: ignore[arg-type] # so are these
    problem = validation.event_problem(event)
    assert problem is not None
    assert problem[0] == reason
    assert problem[1].startswith(field)


@pytest.mark.parametrize("seconds", [FIRST_S, 0, LAST_S])
def test_times_at_the_limits_are_taken(seconds: int) -> None:
    event = good_event()
    event.time.CopyFrom(Timestamp(seconds=seconds, nanos=999_999_999))
    assert validation.event_problem(event) is None


def test_an_inline_event_needs_no_user_and_no_event_id() -> None:
    event = good_event()
    event.event_id = event.user_id = ""
    assert validation.event_problem(event, inline=True) is None
    event.item_id = ""
    assert validation.event_problem(event, inline=True) is not None


def test_the_time_of_a_request_is_checked_under_its_name() -> None:
    with pytest.raises(InvalidArgument) as caught:
        validation.check_time(Timestamp(seconds=LAST_S + 1), "as_of")
    assert (caught.value.reason, caught.value.field) == ("TIME_INVALID", "as_of")


@pytest.mark.parametrize("time_us", [0, 1, -1, 1_700_000_000_123_456, -2_208_988_800_000_000])
def test_microseconds_survive_the_way_through_a_timestamp(time_us: int) -> None:
    stamp = validation.to_timestamp(time_us)
    assert validation.time_problem(stamp) is None
    assert validation.to_us(stamp) == time_us
