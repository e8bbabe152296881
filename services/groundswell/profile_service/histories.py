"""A user's events → the chunks and the tail that a profile is made of."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.features.chunks import num_full_chunks
from groundswell.features.text import chunk_text, content_hash
from groundswell.profile_service.store.events import OrderKey
from groundswell.profile_service.store.profiles import Spec

_BEFORE_EVERYTHING: OrderKey = (-(2**62), -1, "")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a history has to be cut anew; what lies before is stored and stays."""

    num_chunks: int
    """The stored chunks that stay."""
    place: OrderKey
    """The last event in them."""
    covered_sequence: int
    """The highest sequence of all stored events."""


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
    """A user's history, cut from where it has to be."""

    user_no: int
    covered_sequence: int
    last_event_us: int
    num_chunks: int
    """All full chunks, those before the cut too."""
    chunks: list[Chunk]
    """The full chunks after the place where the cut starts."""
    tail_items: list[int]
    """Item numbers of the events after the last full chunk."""


def start_of(stored: Sequence[Any], covered_sequence: int, newer: tuple[int, int] | None) -> Start:
    """Find where to cut: before the first stored chunk that a newer event may change.

    `stored` are the chunks in order; `newer` is the earliest time and the highest sequence of the
    events after `covered_sequence`, None without any.
    """
    if newer is None:
        kept, covered = len(stored), covered_sequence
    else:
        times = [chunk.last_time_us for chunk in stored]
        kept, covered = bisect_left(times, newer[0]), newer[1]
    if kept == 0:
        return Start(0, _BEFORE_EVERYTHING, covered)
    last = stored[kept - 1]
    return Start(kept, (last.last_time_us, last.last_ordinal, last.last_event_id), covered)


def cut(rows: Sequence[Any], starts: Mapping[int, Start], spec: Spec) -> list[CutHistory]:
    """Cut each user's events after their start: rows as `store.events.events_after` gives them."""
    events = {user_no: list(group) for user_no, group in groupby(rows, key=lambda r: r.user_no)}
    return [
        _cut(user_no, events.get(user_no, []), start, spec) for user_no, start in starts.items()
    ]


def _cut(user_no: int, events: Sequence[Any], start: Start, spec: Spec) -> CutHistory:
    size = spec.chunk_length
    chunks = []
    for number in range(num_full_chunks(len(events), size)):
        part = events[number * size : (number + 1) * size]
        text = chunk_text([event.title for event in part])
        digest = content_hash(text, spec.fingerprint)
        last = (part[-1].time_us, part[-1].ordinal, part[-1].event_id)
        chunks.append(Chunk(start.num_chunks + number, text, digest, last))
    return CutHistory(
        user_no,
        start.covered_sequence,
        events[-1].time_us if events else start.place[0],
        start.num_chunks + len(chunks),
        chunks,
        [event.item_no for event in events[len(chunks) * size :]],
    )


def tail_vector(
    items: Sequence[int], text_vectors: Mapping[int, bytes], dimension: int
) -> tuple[NDArray[np.float32], int]:
    """Return the mean of the items' text vectors [t] and how many had one; zeros without any."""
    known = [np.frombuffer(text_vectors[n], "<f4") for n in items if n in text_vectors]
    if not known:
        return np.zeros(dimension, np.float32), 0
    mean: NDArray[np.float32] = np.stack(known).mean(0, dtype=np.float64).astype(np.float32)
    return mean, len(known)
