"""A user's events → the chunks and the tail that a profile is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.features.chunks import num_full_chunks
from groundswell.features.text import chunk_text, content_hash
from groundswell.profile_service.store.profiles import Spec


@dataclass(frozen=True, slots=True)
class Chunk:
    """One full chunk of a history."""

    number: int
    text: str
    content_hash: bytes
    last_time_us: int


@dataclass(frozen=True, slots=True)
class CutHistory:
    """A user's whole history, cut."""

    user_no: int
    covered_sequence: int
    """The highest sequence in it."""
    last_event_us: int
    chunks: list[Chunk]
    tail_items: list[int]
    """Item numbers of the events after the last full chunk."""


def cut(rows: Sequence[Any], spec: Spec) -> list[CutHistory]:
    """Cut the histories in (user_no, sequence, item_no, time_us, title) rows, sorted by user."""
    histories = []
    for user_no, group in groupby(rows, key=lambda row: row.user_no):
        events = list(group)
        size = spec.chunk_length
        chunks = []
        for number in range(num_full_chunks(len(events), size)):
            part = events[number * size : (number + 1) * size]
            text = chunk_text([event.title for event in part])
            digest = content_hash(text, spec.fingerprint)
            chunks.append(Chunk(number, text, digest, part[-1].time_us))
        tail = [event.item_no for event in events[len(chunks) * size :]]
        covered = max(event.sequence for event in events)
        histories.append(CutHistory(user_no, covered, events[-1].time_us, chunks, tail))
    return histories


def tail_vector(
    items: Sequence[int], text_vectors: Mapping[int, bytes], dimension: int
) -> tuple[NDArray[np.float32], int]:
    """Return the mean of the items' text vectors [t] and how many had one; zeros without any."""
    known = [np.frombuffer(text_vectors[n], "<f4") for n in items if n in text_vectors]
    if not known:
        return np.zeros(dimension, np.float32), 0
    mean: NDArray[np.float32] = np.stack(known).mean(0, dtype=np.float64).astype(np.float32)
    return mean, len(known)
