"""Turns messages of the contracts into the plain values of this service, and back."""

import numpy as np

from groundswell.common.v1.event_pb2 import Action, Event, EventResult, EventStatus
from groundswell.profile.v1.event_service_pb2 import ListEventsResponse, StoredEvent
from groundswell.serving.errors import NotFound
from groundswell.serving.inline_events import InlineColumns
from groundswell.serving.subjects import is_session, subject_id
from groundswell.serving.validation import to_timestamp, to_us
from groundswell.serving.vectors import unpack_int64
from groundswell.session_service.events import SentEvent, WriteResult, WriteStatus
from groundswell.session_service.items import ItemTable
from groundswell.session_service.windows.records import Columns, WindowEvent, session_code


def sent_event(message: Event) -> SentEvent:
    """Read an event that a client sent."""
    return SentEvent(
        user_id=subject_id(message.user_id, message.session_id),
        event_id=message.event_id,
        item_id=message.item_id,
        action=message.action,
        value=message.value if message.HasField("value") else None,
        time_us=to_us(message.time),
        ordinal=message.ordinal,
        session_id=message.session_id,
        attribution_token=message.attribution_token,
    )


def event_message(event: SentEvent) -> Event:
    """Write an event for the log."""
    return Event(
        user_id="" if is_session(event.user_id) else event.user_id,
        event_id=event.event_id,
        item_id=event.item_id,
        action=Action.ValueType(event.action),
        value=event.value,
        time=to_timestamp(event.time_us),
        ordinal=event.ordinal,
        session_id=event.session_id,
        attribution_token=event.attribution_token,
    )


def write_result(message: EventResult, history: int) -> WriteResult:
    """Read what became of an event of a history."""
    m, status = message, WriteStatus(message.status)
    return WriteResult(status, m.sequence, m.item_no, history, m.reason, m.detail)


def result_message(result: WriteResult) -> EventResult:
    """Write what became of an event."""
    return EventResult(
        status=EventStatus.ValueType(result.status.value),
        sequence=result.sequence,
        item_no=result.item_no,
        reason=result.reason,
        detail=result.detail,
    )


def window_events(page: ListEventsResponse) -> list[WindowEvent]:
    """Read of a list of events what a window needs, oldest first."""
    if not page.HasField("columns"):  # that of an earlier release
        return [_window_event(stored) for stored in reversed(page.events)]
    read = page.columns
    columns = (
        unpack_int64(read.times_us).tolist(),
        unpack_int64(read.sequences).tolist(),
        unpack_int64(read.item_nos).tolist(),
        read.actions,
        map(session_code, read.session_ids),
    )
    return [WindowEvent(*event) for event in zip(*columns, strict=True)][::-1]


def _window_event(stored: StoredEvent) -> WindowEvent:
    event = stored.event
    time_us, session = to_us(event.time), session_code(event.session_id)
    return WindowEvent(time_us, stored.sequence, stored.item_no, event.action, session)


def window_columns(read: InlineColumns, items: ItemTable) -> Columns:
    """Put inline events into the one order, with the numbers of their items.

    Events that are equal in that order keep the one of the request. Raises NotFound
    (ITEM_NOT_FOUND) for the first one whose item is not in the catalogue.
    """
    item_nos = items.numbers(read.item_ids)
    if None in item_nos:
        field = f"inline_events.events[{item_nos.index(None)}].item_id"
        raise NotFound("ITEM_NOT_FOUND", f"{field} names no item of the catalogue", field=field)
    sessions = [int.from_bytes(session_code(one)) if one else 0 for one in read.session_ids]
    columns = (read.times_us, item_nos, read.actions, sessions)
    keys = list(zip(read.times_us, read.ordinals, read.event_ids, strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return Columns(*np.array(columns, np.int64).reshape(4, -1)[:, order])
