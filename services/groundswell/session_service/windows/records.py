"""Packs the events of a window into records of 19 bytes each."""

import struct
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_RECORD = struct.Struct(">QII3s")
"""Time and action, sequence, item number, session. Time and action share 8 bytes: the seven upper
ones are the microseconds since `_FIRST_US`, so that records compare as their times do."""
RECORD_BYTES = _RECORD.size
_FIRST_US = -(2**51)
"""Before 1900, the first year that the contract allows."""
_DTYPE = np.dtype([("when", ">u8"), ("sequence", ">u4"), ("item_no", ">u4"), ("session", "u1", 3)])
NO_SESSION = bytes(3)


class WindowEvent(NamedTuple):
    """One event, as a window holds it. Its place in the window is its place in the one order."""

    time_us: int
    sequence: int
    """The event's place in the order of the user's writes, from 1; 0 when it is not stored."""
    item_no: int
    action: int
    session: bytes
    """The `session_code` of its session id."""


class Columns(NamedTuple):
    """The n events of a window as arrays [n], oldest first."""

    times_us: NDArray[np.int64]
    item_nos: NDArray[np.int64]
    actions: NDArray[np.int64]
    sessions: NDArray[np.int64]
    """The codes of the sessions as numbers; 0 for none."""


@lru_cache(4096)
def session_code(session_id: str) -> bytes:
    """Return 3 bytes that stand for a session id; `NO_SESSION` for none.

    Codes are only compared within one window. Two sessions of a window get the same code once in 16
    million times; they then count as one, unless a pause parts them.
    """
    if not session_id:
        return NO_SESSION
    code = blake2b(session_id.encode(), digest_size=3).digest()
    return b"\0\0\1" if code == NO_SESSION else code


def pack(events: Iterable[WindowEvent]) -> bytes:
    """Return the records of events. Sequences and item numbers are below 2^32."""
    return b"".join(
        [
            _RECORD.pack((time_us - _FIRST_US) << 8 | action, sequence, item_no, session)
            for time_us, sequence, item_no, action, session in events
        ]
    )


def unpack(records: bytes) -> list[WindowEvent]:
    """Return the events of records, in their order."""
    return [
        WindowEvent((when >> 8) + _FIRST_US, sequence, item_no, when & 0xFF, session)
        for when, sequence, item_no, session in _RECORD.iter_unpack(records)
    ]


def columns(records: bytes) -> Columns:
    """Return the events of records as arrays."""
    read = np.frombuffer(records, _DTYPE)
    when = read["when"].astype(np.int64)
    sessions = read["session"].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    item_nos = read["item_no"].astype(np.int64)
    return Columns((when >> 8) + _FIRST_US, item_nos, when & 0xFF, sessions)


def highest_sequence(records: bytes) -> int:
    """Return the highest sequence of records; 0 without any."""
    return int(np.frombuffer(records, _DTYPE)["sequence"].max(initial=0))
