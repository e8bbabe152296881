"""Helpers of the tests of the session service."""

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from groundswell.client import event
from groundswell.common.v1.event_pb2 import Event
from groundswell.session.v1.session_service_pb2 import EncodeSessionResponse

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def at(
    user_id: str, minute: float, *, row: int = 0, event_id: str | None = None, ordinal: int = 0
) -> Event:
    """A click of a user on the item of a row of the tiny bundle, some minutes after noon."""
    time_ = NOON + timedelta(minutes=minute)
    event_id = f"{minute}-{row}" if event_id is None else event_id
    return event(user_id, f"item-{row}", time=time_, event_id=event_id, ordinal=ordinal)


def item_nos(answer: EncodeSessionResponse) -> list[int]:
    """The items of the window, oldest event first."""
    return [int(number) for number in np.frombuffer(answer.item_nos, "<i8")]


def vector(answer: EncodeSessionResponse) -> NDArray[np.float32]:
    """The short-term vector."""
    return np.frombuffer(answer.vector.values, "<f4")
