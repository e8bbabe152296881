"""Builds the messages that a caller hands over, and reads vectors."""

import struct
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1 import event_pb2, item_pb2

# A datetime with a time zone, seconds since 1970, or the message itself.
TimeLike: TypeAlias = datetime | float | Timestamp
AttributeLike: TypeAlias = str | float | bool | Sequence[str]

_ACTION_PREFIX = "ACTION_"


def event(
    user_id: str,
    item_id: str,
    action: str | event_pb2.Action.ValueType = "click",
    *,
    time: TimeLike | None = None,
    value: float | None = None,
    event_id: str | None = None,
    ordinal: int | None = None,
    session_id: str = "",
    attribution_token: str = "",
) -> event_pb2.Event:
    """One thing that a user did with an item.

    `action` is a name ("view", "click", "cart", "purchase", "like", "dislike", "rate", "consume",
    "share") or the enum's value; `time` is now when it is not given. `event_id` makes a write
    idempotent: keep the event and send the same one again after a failure. It is drawn at random
    when it is not given. Raises ValueError for an unknown action and a time without a zone.
    """
    return event_pb2.Event(
        event_id=uuid.uuid4().hex if event_id is None else event_id,
        user_id=user_id,
        item_id=item_id,
        action=_action(action),
        value=value,
        time=timestamp(datetime.now(UTC) if time is None else time),
        ordinal=ordinal,
        session_id=session_id,
        attribution_token=attribution_token,
    )


def item(
    item_id: str,
    title: str = "",
    *,
    description: str = "",
    categories: Sequence[str] = (),
    attributes: Mapping[str, AttributeLike] | None = None,
    available: bool | None = None,
) -> item_pb2.Item:
    """One thing that can be recommended; the primary category comes first."""
    return item_pb2.Item(
        item_id=item_id,
        title=title,
        description=description,
        categories=categories,
        attributes={name: attribute(value) for name, value in (attributes or {}).items()},
        available=available,
    )


def attribute(value: AttributeLike) -> item_pb2.AttributeValue:
    """An attribute's value: a text, a number, a truth value or a list of texts."""
    if isinstance(value, bool):
        return item_pb2.AttributeValue(flag=value)
    if isinstance(value, str):
        return item_pb2.AttributeValue(text=value)
    if isinstance(value, int | float):
        return item_pb2.AttributeValue(number=value)
    return item_pb2.AttributeValue(texts=item_pb2.TextList(values=value))


def timestamp(time: TimeLike) -> Timestamp:
    """A time as a message. Raises ValueError for a datetime without a time zone."""
    if isinstance(time, Timestamp):
        return time
    made = Timestamp()
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError(f"{time} has no time zone; for UTC say {time}.replace(tzinfo=UTC)")
        made.FromDatetime(time)
    else:
        made.FromMicroseconds(round(time * 1_000_000))
    return made


def vector_values(vector: item_pb2.Vector) -> tuple[float, ...]:
    """The values of a vector; empty when there is none."""
    return struct.unpack(f"<{len(vector.values) // 4}f", vector.values)


def _action(action: str | event_pb2.Action.ValueType) -> event_pb2.Action.ValueType:
    if not isinstance(action, str):
        return action
    name = _ACTION_PREFIX + action.upper()
    if name not in event_pb2.Action.keys() or name == "ACTION_UNSPECIFIED":  # noqa: SIM118 - an enum
        known = ", ".join(
            key.removeprefix(_ACTION_PREFIX).lower() for key in event_pb2.Action.keys()[1:]
        )
        raise ValueError(f"unknown action {action!r}; known are {known}")
    return event_pb2.Action.Value(name)
