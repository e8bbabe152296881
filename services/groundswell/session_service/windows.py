"""Windows of users: caches of their newest events, merged from listings and from writes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from sys import getsizeof
from typing import NamedTuple, Protocol

from groundswell.serving.bounded import BoundedCache

_NEVER = -math.inf
# The bytes of an event besides its ids, of a sequence in a set, and of a window besides both.
_EVENT_BYTES = 270
_SEQUENCE_BYTES = 100
_WINDOW_BYTES = 500


class WindowEvent(NamedTuple):
    """One event. Its first fields are the one order of events: (time, ordinal, event id)."""

    time_us: int
    ordinal: int
    event_id: str
    sequence: int
    """The event's place in the order of the user's writes, from 1; 0 when it is not stored."""
    item_no: int
    action: int
    session_id: str


class Listing(NamedTuple):
    """The answer of the durable log for a user."""

    events: Sequence[WindowEvent]
    """The newest events, in any order."""
    last_sequence: int
    """The user's highest sequence when the log was read."""
    lineage: str = ""
    """The lineage of the database that the sequences and item numbers belong to."""


@dataclass(frozen=True, slots=True)
class Window:
    """The newest `capacity` events of a user, merged from listings of the log and from writes.

    A write is known by its sequence, so it counts once however often and in whatever order it
    comes. Every change gives a new window; one that changes nothing keeps the tuple of events.
    """

    capacity: int
    events: tuple[WindowEvent, ...] = ()
    """In the one order, oldest first."""
    complete_to: int = -1
    """Every event up to this sequence was taken into account; -1 before the first listing."""
    ahead: frozenset[int] = frozenset()
    """Sequences above `complete_to` that were taken into account too."""
    listed_at: float = _NEVER
    """The clock's seconds when the log was last asked; -inf before that."""
    doubt_ends_at: float = _NEVER
    """Until then the log may take a write that is not here; only a listing that began later is
    certain to hold it."""
    lineage: str = ""
    """The lineage of the database that the events were read from; empty before the first."""

    @property
    def was_listed(self) -> bool:
        """Whether it holds a listing of the log, and not only the writes since it was made."""
        return self.complete_to >= 0

    @property
    def last_sequence(self) -> int:
        """The highest sequence that was taken into account; 0 for none."""
        return max(self.complete_to, 0, *self.ahead)

    @property
    def is_whole(self) -> bool:
        """Whether no write is known to be missing."""
        return self.was_listed and not self.ahead

    def is_current(self, capacity: int, since: float) -> bool:
        """Whether it holds `capacity` events without a gap, and was listed at `since` or later."""
        holds = self.capacity >= capacity or len(self.events) < self.capacity
        return self.is_whole and holds and self.listed_at >= max(since, self.doubt_ends_at)

    def of_lineage(self, lineage: str) -> "Window":
        """Return the window when it is of a lineage, and an empty one of that lineage when not.

        Sequences and item numbers of two lineages cannot be compared.
        """
        return self if lineage == self.lineage else Window(self.capacity, lineage=lineage)

    def merged(self, events: Iterable[WindowEvent], *, duplicates_at: float = _NEVER) -> "Window":
        """Take committed writes into account.

        Duplicates come with the time, `duplicates_at`. A duplicate that the window lacks shows that
        it missed the write. The stored event may differ from the one that was sent now, so the log
        is read before the window counts as current.
        """
        news = [e for e in events if e.sequence > self.complete_to and e.sequence not in self.ahead]
        if not news:
            return self
        complete_to, ahead = _absorbed(self.complete_to, self.ahead | {e.sequence for e in news})
        return replace(
            self,
            events=_newest([*self.events, *news], self.capacity),
            complete_to=complete_to,
            # A window with a gap is read from the log anyway, so only some sequences are kept.
            ahead=frozenset(sorted(ahead)[-self.capacity :]),
            doubt_ends_at=max(self.doubt_ends_at, duplicates_at),
        )

    def doubted(self, until: float) -> "Window":
        """Note that a write with an unknown outcome may still be stored, until then."""
        return replace(self, doubt_ends_at=max(self.doubt_ends_at, until))

    def relisted(self, listing: Listing, *, capacity: int, known: int, now: float) -> "Window":
        """Take what the log held as the truth, and keep the writes that came while it was read.

        `now` is when the read began, and `known` the `last_sequence` at that time. A log with a
        lower one, or of another lineage, was erased or restored from a backup: then nothing of the
        window is kept but its doubt.
        """
        if listing.last_sequence < known or listing.lineage != self.lineage:
            empty = Window(capacity, doubt_ends_at=self.doubt_ends_at, lineage=listing.lineage)
            return empty.relisted(listing, capacity=capacity, known=0, now=now)
        newer = [e for e in self.events if e.sequence > listing.last_sequence]
        taken = self.ahead | {e.sequence for e in newer}
        if self.capacity >= capacity:
            taken |= set(range(listing.last_sequence + 1, self.complete_to + 1))
        complete_to, ahead = _absorbed(listing.last_sequence, taken)
        events = _newest([*listing.events, *newer], capacity)
        return Window(
            capacity=capacity,
            events=self.events if events == self.events else events,
            complete_to=complete_to,
            ahead=ahead,
            listed_at=now,
            doubt_ends_at=self.doubt_ends_at,
            lineage=listing.lineage,
        )


class WindowStore(Protocol):
    """A cache of windows. A lost window is read from the log again."""

    async def get(self, user_key: bytes) -> Window | None:
        """Return a user's window; None when it is not held."""

    async def hold(self, user_key: bytes, window: Window) -> None:
        """Keep a window unless the user has one already."""

    async def update(self, user_key: bytes, change: Callable[[Window], Window]) -> Window | None:
        """Replace a user's window by its changed form, in one step; None when it is not held."""


class MemoryWindows:
    """Windows in this process; the least recently used one is dropped first."""

    def __init__(self, max_windows: int, max_bytes: int) -> None:
        self._windows: BoundedCache[bytes, Window] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_windows, size=_num_bytes
        )

    def __len__(self) -> int:
        return len(self._windows)

    async def get(self, user_key: bytes) -> Window | None:
        """Return a user's window; None when it is not held."""
        return self._windows.get(user_key)

    async def hold(self, user_key: bytes, window: Window) -> None:
        """Keep a window unless the user has one already."""
        if self._windows.get(user_key) is None:
            self._windows.put(user_key, window)

    async def update(self, user_key: bytes, change: Callable[[Window], Window]) -> Window | None:
        """Replace a user's window by its changed form, in one step; None when it is not held."""
        window = self._windows.peek(user_key)
        if window is None:
            return None
        changed = change(window)
        # It does not count as used: only reads make a window worth keeping.
        self._windows.replace(user_key, changed)
        return changed


def events_bytes(events: Sequence[WindowEvent]) -> int:
    """Return the memory that events take."""
    ids = sum(getsizeof(event.event_id) + getsizeof(event.session_id) for event in events)
    return len(events) * _EVENT_BYTES + ids


def _num_bytes(user_key: bytes, window: Window) -> int:
    ahead = len(window.ahead) * _SEQUENCE_BYTES
    return _WINDOW_BYTES + len(user_key) + events_bytes(window.events) + ahead


def _newest(events: list[WindowEvent], capacity: int) -> tuple[WindowEvent, ...]:
    by_sequence = {event.sequence: event for event in events}
    return tuple(sorted(by_sequence.values())[-capacity:])


def _absorbed(complete_to: int, ahead: Iterable[int]) -> tuple[int, frozenset[int]]:
    """Move `complete_to` over the sequences that follow it without a gap.

    Before the first listing `complete_to` is -1 and stays.
    """
    left = {sequence for sequence in ahead if sequence > complete_to}
    while complete_to >= 0 and complete_to + 1 in left:
        complete_to += 1
        left.remove(complete_to)
    return complete_to, frozenset(left)
