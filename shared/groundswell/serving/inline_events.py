"""Checks and reads the inline events of a request, all of them at once."""

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from groundswell.common.v1.event_pb2 import Event
from groundswell.contract.events import EARLIEST_S, LATEST_S, MAX_EVENT_ID_BYTES
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.validation import ACTIONS, NANOS_PER_S, US_PER_S, event_problem

MAX_INLINE_EVENTS = 200

_IDS = attrgetter("event_id", "user_id", "item_id", "session_id", "attribution_token")
_ITEM_ID = 2
_MEASURES = attrgetter("action", "value", "ordinal", "time")
_PARTS = attrgetter("seconds", "nanos")


class InlineColumns(NamedTuple):
    """The n events of a visitor, in the order of the request."""

    event_ids: Sequence[str] = ()
    item_ids: Sequence[str] = ()
    session_ids: Sequence[str] = ()
    actions: Sequence[int] = ()
    """The numbers of the actions."""
    ordinals: Sequence[int] = ()
    times_us: Sequence[int] = ()
    """Microseconds since 1970."""


def read_inline_events(events: Sequence[Event]) -> InlineColumns:
    """Read events by column: a look at a whole column is cheaper than one at each event.

    Raises InvalidArgument: EVENTS_INVALID for too many, and the reasons that Event names.
    """
    if not events:
        return InlineColumns()
    if len(events) > MAX_INLINE_EVENTS:
        raise InvalidArgument(
            "EVENTS_INVALID",
            f"inline_events has {len(events)} events; at most {MAX_INLINE_EVENTS} are read",
            field="inline_events.events",
        )
    held = list(events)
    ids = tuple(zip(*map(_IDS, held), strict=True))
    actions, values, ordinals, times = zip(*map(_MEASURES, held), strict=True)
    seconds, nanos = zip(*map(_PARTS, times), strict=True)
    if not (_ids_are_good(ids) and _measures_are_good(actions, values, ordinals, seconds, nanos)):
        _refuse_bad(held)
    event_ids, _, item_ids, session_ids, _ = ids
    times_us = [s * US_PER_S + n // 1000 for s, n in zip(seconds, nanos, strict=True)]
    return InlineColumns(event_ids, item_ids, session_ids, actions, ordinals, times_us)


def _ids_are_good(ids: Sequence[Sequence[str]]) -> bool:
    """Whether all ids are certainly good; a long one, or one that is not ASCII, may be too."""
    for column in ids:
        text = "".join(column)
        if text:
            is_plain = text.isascii() and "\0" not in text
            if not is_plain or max(map(len, column)) > MAX_EVENT_ID_BYTES:
                return False
    return all(ids[_ITEM_ID])


def _measures_are_good(actions: Any, values: Any, ordinals: Any, seconds: Any, nanos: Any) -> bool:
    """Whether all is certainly good besides the ids; zero seconds may be a time that is not set."""
    return (
        ACTIONS.issuperset(actions)
        and all(map(math.isfinite, values))
        and min(ordinals) >= 0
        and 0 not in seconds
        and min(seconds) >= EARLIEST_S
        and max(seconds) < LATEST_S
        and min(nanos) >= 0
        and max(nanos) < NANOS_PER_S
    )


def _refuse_bad(events: Sequence[Event]) -> None:
    """Raise InvalidArgument for the first event that breaks a rule; there may be none."""
    for index, event in enumerate(events):
        problem = event_problem(event, inline=True)
        if problem is not None:
            reason, detail = problem
            path = f"inline_events.events[{index}]"
            field = f"{path}.{detail.split(' ', 1)[0]}"
            raise InvalidArgument(reason, f"{path}.{detail}", field=field)
