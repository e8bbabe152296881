"""Inline events read by column are those that a look at each of them takes or refuses."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from groundswell.common.v1.event_pb2 import Event
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.inline_events import MAX_INLINE_EVENTS, read_inline_events
from groundswell.serving.validation import event_problem, to_us

# Each rule at its limits, on both sides of it.
_VALUES: dict[str, list[Any]] = {
    "event_id": ["e", "", "x" * 128, "x" * 129, "é" * 64, "é" * 65, "a\0b"],
    "user_id": ["", "u", "x" * 256, "x" * 257, "\0"],
    "item_id": ["i", "x" * 256, "x" * 257, "é" * 129, "", "\0"],
    "session_id": ["", "s", "x" * 129],
    "attribution_token": ["", "t", "x" * 512, "x" * 513],
    "action": [2, 9, 0, 10, -1],
    "value": [0.0, -1.5, float("nan"), float("inf")],
    "ordinal": [0, 3, -1],
    "time": [
        *(Timestamp(seconds=s) for s in (1_700_000_000, 0, -2_208_988_800, -2_208_988_801)),
        *(Timestamp(seconds=s, nanos=999_999_999) for s in (7_258_118_399, 7_258_118_400)),
        *(Timestamp(seconds=1, nanos=n) for n in (-1, 1_000_000_000)),
        None,
    ],
}
_GOOD = {name: values[0] for name, values in _VALUES.items()}
_CHANGES = [{name: value} for name, values in _VALUES.items() for value in values]


@given(st.lists(st.sampled_from(_CHANGES), max_size=6))
def test_events_are_taken_and_refused_as_one_by_one(changes: list[dict[str, Any]]) -> None:
    events = [Event(**{**_GOOD, **change}) for change in changes]
    problems = [event_problem(event, inline=True) for event in events]
    if any(problems):
        index = next(n for n, problem in enumerate(problems) if problem)
        reason, detail = problems[index] or ("", "")
        with pytest.raises(InvalidArgument) as caught:
            read_inline_events(events)
        assert caught.value.reason == reason
        assert caught.value.message == f"inline_events.events[{index}].{detail}"
        assert caught.value.field == f"inline_events.events[{index}].{detail.split(' ')[0]}"
        return
    read = read_inline_events(events)
    for name in ("event_id", "item_id", "session_id", "action", "ordinal"):
        assert list(getattr(read, f"{name}s")) == [getattr(event, name) for event in events]
    assert list(read.times_us) == [to_us(event.time) for event in events]


def test_as_many_as_a_request_may_have_are_read_and_one_more_is_refused() -> None:
    events = [Event(**_GOOD)] * MAX_INLINE_EVENTS
    assert len(read_inline_events(events).item_ids) == MAX_INLINE_EVENTS
    with pytest.raises(InvalidArgument) as caught:
        read_inline_events([*events, events[0]])
    assert (caught.value.reason, caught.value.field) == (
        "EVENTS_INVALID",
        "inline_events.events",
    )
