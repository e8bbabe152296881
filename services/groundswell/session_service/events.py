"""Events that clients send, and what becomes of them, as plain values."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class SentEvent(NamedTuple):
    """An event that a client sent; its form has been checked."""

    user_id: str
    """The subject id: of a user, or of an anonymous session."""
    event_id: str
    item_id: str
    action: int
    value: float | None
    time_us: int
    ordinal: int
    session_id: str
    attribution_token: str

    @property
    def order(self) -> tuple[int, int, str]:
        """The one order of a user's events."""
        return self.time_us, self.ordinal, self.event_id


class WriteStatus(Enum):
    """What became of an event; the values are those of EventStatus in event.proto."""

    ACCEPTED = 1
    DUPLICATE = 2
    REJECTED = 3


class WriteResult(NamedTuple):
    """What became of one event."""

    status: WriteStatus
    sequence: int = 0
    """Its place in the order of the user's writes, from 1; 0 for a rejected one, and for a
    duplicate that LinkSession has moved to another user."""
    item_no: int = 0
    history: int = 0
    """Sequences of two histories of a user cannot be compared; 0: not known."""
    reason: str = ""
    """Why it was rejected, UPPER_SNAKE."""
    detail: str = ""


class Appended(NamedTuple):
    """The answer of the log to a write."""

    results: Sequence[WriteResult]
    """In the order of the events."""
    lineage: str
    """The lineage of the database that sequences and item numbers belong to."""
