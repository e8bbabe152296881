"""The servicer rejects events that break a rule of the contract, each for itself."""

from unittest.mock import Mock

from groundswell.common.v1.event_pb2 import (
    ACTION_VIEW,
    EVENT_STATUS_ACCEPTED,
    EVENT_STATUS_REJECTED,
    Event,
)
from groundswell.serving.validation import to_timestamp
from groundswell.session.v1.session_service_pb2 import RecordEventsRequest, RecordEventsResponse
from groundswell.session_service.servicer import SessionServicer
from groundswell.session_service.sessions import Sessions
from groundswell.session_service.windows.records import session_code
from tests.support.sessions import MemoryLog, window_of

NOON_US = 1_700_000_000_000_000


def sent(event_id: str, user_id: str = "ann", item_id: str = "1") -> Event:
    time = to_timestamp(NOON_US)
    return Event(
        event_id=event_id,
        user_id=user_id,
        item_id=item_id,
        action=ACTION_VIEW,
        time=time,
        session_id=event_id if user_id else "",
    )


async def record(sessions: Sessions, *events: Event) -> RecordEventsResponse:
    context = Mock(time_remaining=lambda: None)
    servicer = SessionServicer(sessions, Mock())
    return await servicer.RecordEvents(RecordEventsRequest(events=events), context)


async def test_each_event_gets_its_own_result_in_the_order_of_the_call(sessions: Sessions) -> None:
    answer = await record(
        sessions, sent("a"), sent(""), sent("b", item_id="unknown"), sent("c", user_id="")
    )
    assert [result.status for result in answer.results] == [
        EVENT_STATUS_ACCEPTED,
        EVENT_STATUS_REJECTED,
        EVENT_STATUS_REJECTED,
        EVENT_STATUS_REJECTED,
    ]
    reasons = ["", "EVENT_ID_INVALID", "ITEM_NOT_FOUND", "USER_ID_INVALID"]
    assert [result.reason for result in answer.results] == reasons
    assert (answer.results[0].sequence, answer.results[0].item_no) == (1, 1)
    assert [e.session for e in (await window_of(sessions, "ann", 5)).events] == [session_code("a")]


async def test_a_call_whose_events_are_all_wrong_does_not_reach_the_log(
    sessions: Sessions, log: MemoryLog
) -> None:
    log.down = True
    answer = await record(sessions, sent(""))
    assert [result.status for result in answer.results] == [EVENT_STATUS_REJECTED]
