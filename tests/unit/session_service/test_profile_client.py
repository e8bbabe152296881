"""What the session service asks the profile service for."""

from unittest.mock import AsyncMock, Mock

from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1.event_pb2 import ACTION_CLICK, ACTION_VIEW, Event
from groundswell.profile.v1.event_service_pb2 import EventColumns, ListEventsResponse, StoredEvent
from groundswell.serving.vectors import pack_int64
from groundswell.session_service.messages import window_events
from groundswell.session_service.profile_client import EventLogClient
from groundswell.session_service.windows.records import WindowEvent, session_code


async def test_the_clock_of_the_session_service_hides_no_event() -> None:
    """A service whose clock is days behind would ask for old events alone."""
    call = AsyncMock(return_value=ListEventsResponse())
    channel = Mock(unary_unary=Mock(return_value=call))
    log = EventLogClient(channel, append_timeout_s=1.0, list_timeout_s=1.0)
    await log.newest("ann", 51)
    (request,) = call.await_args_list[0].args
    assert not request.HasField("before")
    assert request.omit_future


def test_columns_and_the_messages_of_an_earlier_release_say_the_same() -> None:
    columns = EventColumns(
        item_nos=pack_int64([7, 2**31]),
        sequences=pack_int64([2, 1]),
        times_us=pack_int64([5, -1]),
        actions=bytes([ACTION_CLICK, ACTION_VIEW]),
        session_ids=["visit", ""],
    )
    newer = Event(time=Timestamp(nanos=5_000), action=ACTION_CLICK, session_id="visit")
    older = Event(time=Timestamp(seconds=-1, nanos=999_999_000), action=ACTION_VIEW)
    events = [
        StoredEvent(event=newer, sequence=2, item_no=7),
        StoredEvent(event=older, sequence=1, item_no=2**31),
    ]
    read = window_events(ListEventsResponse(columns=columns))
    assert read == window_events(ListEventsResponse(events=events))
    assert read[1] == WindowEvent(5, 2, 7, ACTION_CLICK, session_code("visit"))
    assert window_events(ListEventsResponse(columns=EventColumns())) == []
