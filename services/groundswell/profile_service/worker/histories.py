"""Cuts a user's events into the chunks and the newest events that a profile is made of."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from groundswell.features.chunks import num_full_chunks
from groundswell.features.text import chunk_text, content_hash
from groundswell.features.window import MAX_RECENT
from groundswell.profile_service.store import recent
from groundswell.profile_service.store.events import OrderKey
from groundswell.profile_service.store.profiles import Spec

_BEFORE_EVERYTHING: OrderKey = (-(2**62), -1, "")

Stored = Mapping[tuple[int, int], tuple[bytes, OrderKey]]
"""The content and the end of each stored chunk, by user and number."""


@dataclass(frozen=True, slots=True)
class Covered:
    """What a stored profile covers of its history."""

    sequence: int
    """The highest sequence of the events that it covers."""
    recent: bytes | None
    """The newest of them (see `recent`); None when they were never stored in the profile."""
    num_gone: int = 0
    """How many of these sequences belong to events that were deleted, or moved to another user."""


@dataclass(frozen=True, slots=True)
class Start:
    """The place from which a history is cut into chunks again; see `num_kept` for earlier ones."""

    num_chunks: int
    """The first chunk that is cut again."""
    place: OrderKey
    """The last event before it."""
    covered_sequence: int
    """The highest sequence of all stored events."""
    recent: bytes
    """The newest events up to the place, as far as the profile has them."""
    num_kept: int
    """Stored chunks before this number stay; those from it up to `num_chunks` are deleted."""
    num_gone: int = 0
    """How many sequences belong to events that were deleted, or moved to another user."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One full chunk of a history."""

    number: int
    text: str
    content_hash: bytes
    last: OrderKey
    """Its last event."""


@dataclass(frozen=True, slots=True)
class CutHistory:
    """A user's history, cut into chunks from its start place on."""

    user_no: int
    covered_sequence: int
    last_event_us: int
    num_chunks: int
    """All full chunks, those before the cut too."""
    chunks: list[Chunk]
    """The full chunks after the place where the cut starts."""
    outdated: range
    """The numbers of stored chunks that are wrong now, and that no head reads."""
    recent: bytes
    """The newest events of the whole history; see `recent`."""


def start_of(
    stored: Sequence[Any], covered: Covered, newer: tuple[int, int] | None, chunk_length: int
) -> Start:
    """Find where to cut: before the first stored chunk that a newer event may change.

    `stored` are the chunks in order; `newer` is the earliest time and the highest sequence of the
    events that are not covered, None without any. Without recent events the cut starts early enough
    to read them again.
    """
    place, sequence, num_gone = len(stored), covered.sequence, covered.num_gone
    num_covered = sequence - num_gone
    if newer is not None:
        earliest_us, sequence = newer
        place = bisect_left([chunk.last_time_us for chunk in stored], earliest_us)
    if covered.recent is None:
        last_no = max(num_covered - MAX_RECENT, 0) // chunk_length
        place = min(place, bisect_left([chunk.chunk_no for chunk in stored], last_no))
    if place == 0:
        return whole(sequence, num_gone)
    last = stored[place - 1]
    kept = last.chunk_no + 1
    # The last chunk that stays ends with this event of the history; newer ones come after it.
    at_hand = recent.without_newest(covered.recent or b"", num_covered - kept * chunk_length)
    end = last.last_time_us, last.last_ordinal, last.last_event_id
    return Start(kept, end, sequence, at_hand, kept, num_gone)


def whole(sequence: int, num_gone: int = 0) -> Start:
    """Return the start of a history that is cut anew, whatever is stored of it."""
    return Start(0, _BEFORE_EVERYTHING, sequence, b"", 0, num_gone)


def pass_over(
    start: Start, spec: Spec, max_chunks: int, place_before: Callable[[int], OrderKey | None]
) -> Start:
    """Move a start behind the events that no head reads any more, whether they changed or not.

    A head reads the newest `max_chunks` chunks, and as many events as a profile has at hand.
    `place_before` gets a number of newest events and returns the last one before them, None where
    the history has none.
    """
    num_events, length = start.covered_sequence - start.num_gone, spec.chunk_length
    if spec.reads_histories:
        first = min(
            num_full_chunks(num_events, length) - max_chunks,
            (num_events - MAX_RECENT - 1) // length,
        )
        num_after, passes_over = num_events - first * length, first > start.num_chunks
    else:
        first, num_after, passes_over = 0, MAX_RECENT, num_events > MAX_RECENT
    place = place_before(num_after) if passes_over else None
    return start if place is None else replace(start, num_chunks=first, place=place, recent=b"")


def new_chunks(histories: Sequence["CutHistory"], stored: Stored) -> list[tuple[int, "Chunk"]]:
    """Return the chunks of the histories that are not stored as they are, each with its user."""
    return [
        (history.user_no, chunk)
        for history in histories
        for chunk in history.chunks
        if stored.get((history.user_no, chunk.number)) != (chunk.content_hash, chunk.last)
    ]


def cut(rows: Sequence[Any], starts: Mapping[int, Start], spec: Spec) -> list[CutHistory]:
    """Cut each user's events from their start: rows as `store.events.events_from` gives them.

    A spec that reads no histories gives no chunks.
    """
    events = {user_no: list(group) for user_no, group in groupby(rows, key=lambda r: r.user_no)}
    return [
        _cut(user_no, events.get(user_no, []), start, spec) for user_no, start in starts.items()
    ]


def _cut(user_no: int, rows: Sequence[Any], start: Start, spec: Spec) -> CutHistory:
    size = spec.chunk_length
    # The first row is the last event of the chunks that stay.
    first_stays = bool(rows) and key_of(rows[0]) == start.place
    events = rows[1:] if first_stays else rows
    chunks = []
    for number in range(num_full_chunks(len(events), size) if spec.reads_histories else 0):
        part = events[number * size : (number + 1) * size]
        text = chunk_text([event.title for event in part])
        digest = content_hash(text, spec.fingerprint)
        chunks.append(Chunk(start.num_chunks + number, text, digest, key_of(part[-1])))
    return CutHistory(
        user_no,
        start.covered_sequence,
        events[-1].time_us if events else start.place[0],
        start.num_chunks + len(chunks),
        chunks,
        range(start.num_kept, start.num_chunks),
        recent.with_newer(start.recent, rows, first_is_held=first_stays),
    )


def key_of(row: Any) -> OrderKey:
    """Return what orders an event among those of its user."""
    return row.time_us, row.ordinal, row.event_id
