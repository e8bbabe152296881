"""Packs the newest events of a history into one blob of a profile row, and unpacks them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.features.window import MAX_RECENT, session_starts

LAYOUT = np.dtype(
    [("item_no", "<i8"), ("time_us", "<i8"), ("action", "u1"), ("starts_session", "u1")]
)
"""One event: 18 bytes, little-endian, nothing between them. A blob is at most `MAX_RECENT` events,
oldest first; `starts_session` is 1 or 0."""


class RecentEvent(NamedTuple):
    """What the profile head reads of an event."""

    item_no: int
    time_us: int
    action: int
    session_id: str


def unpack(blob: bytes) -> NDArray[np.void]:
    """Return [n] the events of a blob, with the fields of `LAYOUT`."""
    return np.frombuffer(blob, LAYOUT)


def without_newest(blob: bytes, num_events: int) -> bytes:
    """Return a blob without its newest events; empty when it has no others."""
    return blob[: max(len(blob) - num_events * LAYOUT.itemsize, 0)]


def with_newer(blob: bytes, rows: Sequence[Any], *, first_is_held: bool) -> bytes:
    """Return the newest events of a blob and of the ordered rows after it.

    Rows have item_no, time_us, action and session_id. With `first_is_held` the first one is the
    blob's last event again: it tells whether the second one starts a session.
    """
    read = rows[-(MAX_RECENT + 1) :]
    times_us = np.array([row.time_us for row in read], np.int64)
    events = np.empty(len(read), LAYOUT)
    events["item_no"] = [row.item_no for row in read]
    events["time_us"] = times_us
    events["action"] = [row.action for row in read]
    events["starts_session"] = session_starts(times_us, [row.session_id for row in read])
    newer = events[1:] if first_is_held and len(read) == len(rows) else events
    # With more than MAX_RECENT rows, the first lacks the row before it; it is cut off here.
    return (blob + newer.tobytes())[-MAX_RECENT * LAYOUT.itemsize :]
