"""Checks of what several contracts share: ids, pages, times and events."""

import math
from typing import Literal, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1.event_pb2 import ACTION_UNSPECIFIED, Action, Event
from groundswell.contract.events import (
    EARLIEST_S,
    LATEST_S,
    MAX_ATTRIBUTION_TOKEN_BYTES,
    MAX_EVENT_ID_BYTES,
    MAX_ID_BYTES,
    MAX_SESSION_ID_BYTES,
)
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.interests import DEFAULT_INTERESTS

NANOS_PER_S = 1_000_000_000
US_PER_S = 1_000_000
ACTIONS = frozenset(Action.values()) - {ACTION_UNSPECIFIED}
"""The numbers of the actions that an event may have."""


class PagedRequest(Protocol):
    """A request with an optional `page_size`."""

    @property
    def page_size(self) -> int: ...

    def HasField(self, field_name: Literal["page_size"], /) -> bool: ...


def id_problem(value: str, max_bytes: int, *, may_be_empty: bool = False) -> str | None:
    """What is wrong with an id, as the rest of a sentence about it; None when it is right."""
    if not value:
        return None if may_be_empty else "is empty"
    size = len(value.encode())
    if size > max_bytes:
        return f"is {size} bytes long; at most {max_bytes} are allowed"
    return "contains a NUL" if "\0" in value else None


def check_id(value: str, field: str, reason: str, max_bytes: int = MAX_ID_BYTES) -> None:
    """Raise InvalidArgument with `reason` unless `value` is an id: 1 to `max_bytes`, no NUL."""
    problem = id_problem(value, max_bytes)
    if problem is not None:
        raise InvalidArgument(reason, f"{field} {problem}", field=field)


def check_user_id(value: str, field: str = "user_id") -> None:
    """Raise InvalidArgument (USER_ID_INVALID) unless `value` can name a user."""
    check_id(value, field, "USER_ID_INVALID", MAX_ID_BYTES)


def check_session_id(value: str, field: str = "session_id") -> None:
    """Raise InvalidArgument (SESSION_ID_INVALID) unless `value` can name an anonymous session."""
    check_id(value, field, "SESSION_ID_INVALID", MAX_SESSION_ID_BYTES)


def check_item_id(value: str, field: str = "item_id") -> None:
    """Raise InvalidArgument (ITEM_ID_INVALID) unless `value` can name an item."""
    check_id(value, field, "ITEM_ID_INVALID", MAX_ID_BYTES)


class InterestsRequest(Protocol):
    """A request with an optional `num_interests`."""

    @property
    def num_interests(self) -> int: ...

    def HasField(self, field_name: Literal["num_interests"], /) -> bool: ...


def check_subject(kind: str | None, user_id: str, session_id: str) -> None:
    """Raise InvalidArgument unless a request has a subject, and can name it.

    Inline events are checked when they are read (see `read_inline_events`).
    """
    if kind is None:
        raise InvalidArgument(
            "SUBJECT_INVALID",
            "one of user_id, session_id and inline_events must be set",
            field="subject",
        )
    if kind == "user_id":
        check_user_id(user_id)
    if kind == "session_id":
        check_session_id(session_id)


def check_page_size(request: PagedRequest, default: int, maximum: int) -> int:
    """The page size that a request asks for. Raises InvalidArgument (PAGE_SIZE_INVALID)."""
    if not request.HasField("page_size"):
        return default
    return check_number(request.page_size, "page_size", "PAGE_SIZE_INVALID", 1, maximum)


def check_num_interests(request: InterestsRequest, minimum: int, maximum: int) -> int:
    """How many interests a request asks for. Raises InvalidArgument (NUM_INTERESTS_INVALID)."""
    if not request.HasField("num_interests"):
        return DEFAULT_INTERESTS
    reason = "NUM_INTERESTS_INVALID"
    return check_number(request.num_interests, "num_interests", reason, minimum, maximum)


def check_number(value: int, field: str, reason: str, minimum: int, maximum: int) -> int:
    """A number from `minimum` to `maximum`. Raises InvalidArgument with `reason`."""
    if not minimum <= value <= maximum:
        message = f"{field} is {value}; it must be from {minimum} to {maximum}"
        raise InvalidArgument(reason, message, field=field)
    return value


def check_time(time: Timestamp, field: str) -> None:
    """Raise InvalidArgument (TIME_INVALID) unless a time lies from 1900 to 2200."""
    problem = time_problem(time)
    if problem is not None:
        raise InvalidArgument("TIME_INVALID", f"{field} {problem}", field=field)


def time_problem(time: Timestamp) -> str | None:
    """What is wrong with a time, as the rest of a sentence about it; None when it is right."""
    if not 0 <= time.nanos < NANOS_PER_S:
        return f"has {time.nanos} nanoseconds"
    if not EARLIEST_S <= time.seconds < LATEST_S:
        return "does not lie between the years 1900 and 2200"
    return None


def event_problem(event: Event, *, inline: bool = False) -> tuple[str, str] | None:
    """The reason and detail of what is wrong with an event; None when it may be written.

    All rules of the contract but whether the item exists. An `inline` event needs neither user nor
    event id; one of an anonymous session has a session id in place of the user's.
    """
    event_id, user_id, item_id = event.event_id, event.user_id, event.item_id
    session_id, token = event.session_id, event.attribution_token
    may_lack_user = inline or bool(session_id)
    # One look at all ids together is enough for nearly every event, and is cheaper.
    ids = event_id + user_id + item_id + session_id + token
    is_short = len(ids) <= MAX_EVENT_ID_BYTES and ids.isascii() and "\0" not in ids
    has_needed = item_id and (event_id or inline) and (user_id or may_lack_user)
    if not (is_short and has_needed):
        token_bytes = MAX_ATTRIBUTION_TOKEN_BYTES
        for reason, field, value, max_bytes, may_be_empty in (
            ("EVENT_ID_INVALID", "event_id", event_id, MAX_EVENT_ID_BYTES, inline),
            ("USER_ID_INVALID", "user_id", user_id, MAX_ID_BYTES, may_lack_user),
            ("ITEM_ID_INVALID", "item_id", item_id, MAX_ID_BYTES, False),
            ("SESSION_ID_INVALID", "session_id", session_id, MAX_SESSION_ID_BYTES, True),
            ("ATTRIBUTION_TOKEN_INVALID", "attribution_token", token, token_bytes, True),
        ):
            problem = id_problem(value, max_bytes, may_be_empty=may_be_empty)
            if problem is not None:
                return reason, f"{field} {problem}"
    return _measure_problem(event)


def _measure_problem(event: Event) -> tuple[str, str] | None:
    if event.action not in ACTIONS:
        return "ACTION_INVALID", f"action {event.action} is none of 1 to {max(ACTIONS)}"
    if not math.isfinite(event.value):
        return "VALUE_INVALID", "value is not finite"
    time = event.time
    if not time.seconds and not event.HasField("time"):
        return "TIME_INVALID", "time is not set"
    problem = time_problem(time)
    if problem is not None:
        return "TIME_INVALID", f"time {problem}"
    if event.ordinal < 0:
        return "ORDINAL_INVALID", f"ordinal {event.ordinal} is negative"
    return None


def to_us(time: Timestamp) -> int:
    """Microseconds since 1970; what is below a microsecond is cut off."""
    return time.seconds * US_PER_S + time.nanos // 1000


def to_timestamp(time_us: int) -> Timestamp:
    """The time at `time_us` microseconds since 1970."""
    seconds, rest_us = divmod(time_us, US_PER_S)
    return Timestamp(seconds=seconds, nanos=rest_us * 1000)
