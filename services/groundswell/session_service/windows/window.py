"""The window of a user: their newest events, merged from listings of the log and from writes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


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
    comes. Every change gives a new window. All times are microseconds since 1970.
    """

    capacity: int
    events: tuple[WindowEvent, ...] = ()
    """In the one order, oldest first."""
    complete_to: int = -1
    """Every event up to this sequence was taken into account; -1 before the first listing."""
    ahead: frozenset[int] = frozenset()
    """Sequences above `complete_to` that were taken into account too."""
    listed_us: int = 0
    """When the last listing began; 0 before the first."""
    doubt_until_us: int = 0
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

    def is_current(self, capacity: int, *, now_us: int, ttl_us: int) -> bool:
        """Whether it holds `capacity` events without a gap, and was listed at most `ttl_us` ago.

        A listing of the future does not count either: the clock may have been set back since.
        """
        holds = self.capacity >= capacity or len(self.events) < self.capacity
        is_fresh = abs(now_us - self.listed_us) <= ttl_us and self.listed_us >= self.doubt_until_us
        return self.is_whole and holds and is_fresh

    def of_lineage(self, lineage: str) -> "Window":
        """Return the window when it is of a lineage, and an empty one of that lineage when not.

        Sequences and item numbers of two lineages cannot be compared.
        """
        if lineage == self.lineage:
            return self
        return Window(self.capacity, doubt_until_us=self.doubt_until_us, lineage=lineage)

    def merged(self, events: Iterable[WindowEvent], *, duplicates_us: int = 0) -> "Window":
        """Take committed writes into account.

        Duplicates come with the present time, `duplicates_us`. A duplicate that the window lacks
        shows that it missed the write. The stored event may differ from the one that was sent now,
        so the log is read before the window counts as current.
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
            doubt_until_us=max(self.doubt_until_us, duplicates_us),
        )

    def doubted(self, until_us: int) -> "Window":
        """Note that a write with an unknown outcome may still be stored, until then."""
        return replace(self, doubt_until_us=max(self.doubt_until_us, until_us))

    def relisted(self, listing: Listing, *, capacity: int, known: int, now_us: int) -> "Window":
        """Take what the log held as the truth, and keep the writes that came while it was read.

        `now_us` is when the read began, and `known` the `last_sequence` at that time. A log with a
        lower one, or of another lineage, was erased or restored from a backup: then nothing of the
        window is kept but its doubt.
        """
        if listing.last_sequence < known or listing.lineage != self.lineage:
            empty = Window(capacity, doubt_until_us=self.doubt_until_us, lineage=listing.lineage)
            return empty.relisted(listing, capacity=capacity, known=0, now_us=now_us)
        newer = [e for e in self.events if e.sequence > listing.last_sequence]
        taken = self.ahead | {e.sequence for e in newer}
        if self.capacity >= capacity:
            taken |= set(range(listing.last_sequence + 1, self.complete_to + 1))
        complete_to, ahead = _absorbed(listing.last_sequence, taken)
        events = _newest([*listing.events, *newer], capacity)
        return Window(
            capacity=capacity,
            # Who holds the same events shares their memory.
            events=self.events if events == self.events else events,
            complete_to=complete_to,
            ahead=ahead,
            listed_us=now_us,
            doubt_until_us=self.doubt_until_us,
            lineage=listing.lineage,
        )


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
