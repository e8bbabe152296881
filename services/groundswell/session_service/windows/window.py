"""The window of a user: their newest events, merged from listings of the log and from writes."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from groundswell.session_service.windows.records import (
    RECORD_BYTES,
    WindowEvent,
    highest_sequence,
    pack,
    unpack,
)

_HEAD = struct.Struct(">HIQQ16sQ")
"""Capacity, `complete_to` + 1, `listed_us`, `doubt_until_us`, lineage, history."""


class Listing(NamedTuple):
    """The answer of the durable log for a user."""

    events: Sequence[WindowEvent]
    """The newest events in the one order, oldest first."""
    last_sequence: int
    """The user's highest sequence when the log was read."""
    lineage: str = ""
    """The lineage of the database that the sequences and item numbers belong to."""
    history: int = 0
    """The user's history that the sequences count in; 0 for an unknown user."""


class Written(NamedTuple):
    """One user's events of one write, at least one; the log holds them all."""

    accepted: list[WindowEvent]
    """The events that this write stored, in the one order."""
    duplicates: list[WindowEvent]
    """The events that were stored before, in the one order, with the content that was sent now."""
    lineage: str
    now_us: int
    history: int = 0
    """The history that the sequences count in; 0: not known."""


@dataclass(frozen=True, slots=True)
class Window:
    """The newest `capacity` events of a user, merged from listings of the log and from writes.

    A write is known by its sequence, so it counts once however often and in whatever order it
    comes. Every change gives a new window. All times are microseconds since 1970. A window is the
    same value in every process: `to_bytes` and `from_bytes` keep all of it.
    """

    capacity: int
    records: bytes = b""
    """The events in the one order, oldest first, as the module `records` packs them."""
    complete_to: int = -1
    """Every event up to this sequence was taken into account; -1 before the first listing."""
    listed_us: int = 0
    """When the last listing began; 0 before the first."""
    doubt_until_us: int = 0
    """Until then the log may hold what is not here; only a listing that began later is certain."""
    lineage: str = ""
    """The lineage of the database that the events were read from, 32 hexadecimal digits; empty
    before the first."""
    history: int = 0
    """The history that the sequences count in, new when an expired session comes back; 0: not
    known."""
    last_sequence: int = field(init=False, repr=False, compare=False)
    """The highest sequence that it holds; 0 for none."""

    def __post_init__(self) -> None:
        # Once, and not at every read of a window that is held.
        last = max(self.complete_to, highest_sequence(self.records))
        object.__setattr__(self, "last_sequence", last)

    @property
    def events(self) -> list[WindowEvent]:
        """The events in the one order, oldest first."""
        return unpack(self.records)

    @property
    def was_listed(self) -> bool:
        """Whether it holds a listing of the log, and not only the writes since it was made."""
        return self.complete_to >= 0

    @property
    def is_whole(self) -> bool:
        """Whether no write is known to be missing."""
        return self.was_listed and self.last_sequence == self.complete_to

    def is_current(self, capacity: int, *, now_us: int, ttl_us: int) -> bool:
        """Whether it holds `capacity` events without a gap, and was listed at most `ttl_us` ago.

        A listing of the future does not count either: the clock may have been set back since.
        """
        is_fresh = abs(now_us - self.listed_us) <= ttl_us and self.listed_us >= self.doubt_until_us
        if not is_fresh:
            return False
        holds = self.capacity >= capacity or len(self.records) < self.capacity * RECORD_BYTES
        return holds and self.is_whole

    def taken(self, written: Written) -> "Window":
        """Take a write into account that the log has stored.

        A duplicate that the window lacks shows that it missed the write. The stored event may
        differ from the one that was sent now, so the log is read before the window counts as
        current. It is also read after a write of the very time of an event that the window holds:
        the window does not know which of them comes first.
        """
        window = self
        if self._is_other(written.lineage, written.history):
            # Sequences of two histories cannot be compared.
            window = Window(
                self.capacity, doubt_until_us=self.doubt_until_us, lineage=written.lineage
            )
        if written.history not in (0, window.history):
            window = replace(window, history=written.history)
        return window._merged(written.accepted, written.now_us, are_doubtful=False)._merged(
            written.duplicates, written.now_us, are_doubtful=True
        )

    def doubted(self, until_us: int) -> "Window":
        """Note that a write with an unknown outcome may still be stored, until then.

        What was listed is doubted in any case: it may be of another clock, or of before a change of
        the clock.
        """
        return replace(self, doubt_until_us=max(self.doubt_until_us, until_us, self.listed_us + 1))

    def relisted(self, listing: Listing, *, capacity: int, known: int, now_us: int) -> "Window":
        """Take what the log held as the truth, and keep the writes that came while it was read.

        `now_us` is when the read began, and `known` the `last_sequence` at that time. A log with a
        lower one, or of another history, was erased or restored from a backup: then nothing of the
        window is kept but its doubt.
        """
        if listing.last_sequence < known or self._is_other(listing.lineage, listing.history):
            empty = Window(capacity, doubt_until_us=self.doubt_until_us, lineage=listing.lineage)
            return empty.relisted(listing, capacity=capacity, known=0, now_us=now_us)
        held = self.events
        newer = [e for e in held if e.sequence > listing.last_sequence]
        taken = {e.sequence for e in newer}
        doubt_us = self.doubt_until_us
        if self.capacity >= capacity:
            taken.update(range(listing.last_sequence + 1, self.complete_to + 1))
        elif newer:
            # A shorter window may have dropped a late event that this one has room for.
            doubt_us = max(doubt_us, now_us + 1)
        events, is_tied = _in_order(listing.events, newer)
        return Window(
            capacity=capacity,
            records=pack(events[-capacity:]),
            complete_to=_complete_to(listing.last_sequence, taken),
            listed_us=now_us,
            doubt_until_us=max(doubt_us, now_us + 1) if is_tied else doubt_us,
            lineage=listing.lineage,
            history=listing.history or self.history,
        )

    def _is_other(self, lineage: str, history: int) -> bool:
        """Whether sequences of a history cannot be compared with those of the window."""
        both_known = history != 0 and self.history != 0
        return lineage != self.lineage or (both_known and history != self.history)

    def to_bytes(self) -> bytes:
        """Return all of it as bytes: 46, and 19 for each event."""
        head = _HEAD.pack(
            self.capacity,
            self.complete_to + 1,
            self.listed_us,
            self.doubt_until_us,
            lineage_bytes(self.lineage),
            self.history,
        )
        return head + self.records

    @classmethod
    def from_bytes(cls, packed: bytes) -> "Window":
        """Read what `to_bytes` wrote. Raises ValueError for other bytes."""
        if len(packed) < _HEAD.size or (len(packed) - _HEAD.size) % RECORD_BYTES:
            raise ValueError(f"{len(packed)} bytes are no window")
        capacity, following, listed_us, doubt_us, lineage, history = _HEAD.unpack_from(packed)
        return cls(
            capacity,
            packed[_HEAD.size :],
            following - 1,
            listed_us,
            doubt_us,
            lineage.hex() if any(lineage) else "",
            history,
        )

    def _merged(
        self, events: Sequence[WindowEvent], now_us: int, *, are_doubtful: bool
    ) -> "Window":
        held = self.events
        sequences = {e.sequence for e in held}
        news = [e for e in events if e.sequence > self.complete_to and e.sequence not in sequences]
        if not news:
            return self
        merged, is_tied = _in_order(held, news)
        window = replace(
            self,
            records=pack(merged[-self.capacity :]),
            complete_to=_complete_to(self.complete_to, sequences | {e.sequence for e in news}),
        )
        return window.doubted(now_us + 1) if are_doubtful or is_tied else window


def lineage_bytes(lineage: str) -> bytes:
    """Return a lineage as 16 bytes, zeros for the empty one."""
    return bytes.fromhex(lineage) or bytes(16)


def _in_order(
    held: Sequence[WindowEvent], news: Sequence[WindowEvent]
) -> tuple[list[WindowEvent], bool]:
    """Merge ordered events; also return whether the order of two of them is not known."""
    times = {event.time_us for event in held}
    is_tied = any(event.time_us in times for event in news)
    return sorted([*held, *news], key=lambda event: event.time_us), is_tied


def _complete_to(complete_to: int, taken: set[int]) -> int:
    """Move `complete_to` over the sequences that follow it without a gap.

    Before the first listing `complete_to` is -1 and stays.
    """
    while complete_to >= 0 and complete_to + 1 in taken:
        complete_to += 1
    return complete_to
