"""Makes the models' inputs before an event, for training and evaluation, as the servers make them.

B events, L the window's length, N chunks, t text dimensions.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.features.actions import DISLIKE
from groundswell.features.chunks import chunk_ages
from groundswell.features.gate import GateFeatures, seconds_since
from groundswell.features.text import chunk_text
from groundswell.features.window import window_tensors
from groundswell.trainer.dataset.prepared import Prepared


class WindowInputs(NamedTuple):
    """Windows of events, padded on the right; item vectors are looked up by row."""

    rows: NDArray[np.int64]
    """[B, L] item of each event; 0 where padded."""
    actions: NDArray[np.int64]
    gaps: NDArray[np.float32]
    starts: NDArray[np.float32]
    lengths: NDArray[np.int64]
    """[B]"""


class ProfileInputs(NamedTuple):
    """What the profile head reads; item vectors are looked up by row."""

    chunk_vectors: NDArray[np.float32]
    """[B, N, t]"""
    chunk_ages: NDArray[np.float32]
    """[B, N]"""
    num_chunks: NDArray[np.int64]
    """[B]"""
    recent: WindowInputs
    """The newest events that the profile knows."""

    def named(self, contexts: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return the inputs of the exported head; `contexts` [N, c] are the vectors of all items
        as a history holds them."""
        return {
            "chunk_vectors": self.chunk_vectors,
            "chunk_ages": self.chunk_ages,
            "num_chunks": self.num_chunks,
            "recent_vectors": contexts[self.recent.rows],
            "recent_actions": self.recent.actions,
            "recent_gaps": self.recent.gaps,
            "recent_starts": self.recent.starts,
            "recent_lengths": self.recent.lengths,
        }


def window_rows(
    prepared: Prepared, first: NDArray[np.int64], lengths: NDArray[np.int64]
) -> WindowInputs:
    """Return the windows of events [first, first + length) of one user each."""
    longest = max(int(lengths.max(initial=0)), 1)
    offset = np.arange(longest)
    real = offset[None, :] < lengths[:, None]
    event = np.where(real, first[:, None] + offset[None, :], 0)
    actions, gaps, starts = window_tensors(
        prepared.times_us[event],
        prepared.actions[event],
        prepared.starts[event],
        use_time=not prepared.order_only,
    )
    return WindowInputs(
        np.where(real, prepared.items[event].astype(np.int64), 0),
        np.where(real, actions, 0),
        np.where(real, gaps, 0),
        np.where(real, starts, 0),
        lengths.astype(np.int64),
    )


def windows_before(
    prepared: Prepared,
    events: NDArray[np.int64],
    window_length: int,
    known: NDArray[np.int64] | None = None,
) -> WindowInputs:
    """Return the newest `window_length` events before each event, of its user.

    With `known` [B] the windows end there, before the event.
    """
    end = events if known is None else known
    begin = prepared.offsets[prepared.users[events]]
    first = np.maximum(begin, end - window_length)
    return window_rows(prepared, first, end - first)


@dataclass(frozen=True)
class Chunks:
    """Every full chunk of every history, user after user."""

    chunk_length: int
    offsets: NDArray[np.int64]
    """[U + 1] the chunks of user x are [offsets[x], offsets[x + 1])."""
    last_times_us: NDArray[np.int64]
    """[M] when each chunk's last event happened."""
    texts: list[str]
    """[M] what the text encoder reads."""

    def within(self, num_events: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return [M] True for chunks of each history's first `num_events` [U]."""
        counts = np.diff(self.offsets)
        number = np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], counts)
        return (number + 1) * self.chunk_length <= np.repeat(num_events, counts)


def cut_chunks(prepared: Prepared, chunk_length: int, *, read: bool = True) -> Chunks:
    """Cut every history into full chunks, from its start; there are none unless they are read."""
    counts = np.diff(prepared.offsets) // chunk_length * read
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    user = np.repeat(np.arange(prepared.num_users), counts)
    number = np.arange(offsets[-1]) - offsets[user]
    first = prepared.offsets[user] + number * chunk_length
    titles, items = prepared.titles, prepared.items
    texts = [
        chunk_text([titles[item] for item in items[begin : begin + chunk_length]])
        for begin in first.tolist()
    ]
    return Chunks(chunk_length, offsets, prepared.times_us[first + chunk_length - 1], texts)


class ChunkTable:
    """All encoded chunks of a log, and one of nothing behind them, which padding points to.

    `vectors` [M, t] are those of `chunks`.
    """

    def __init__(self, prepared: Prepared, chunks: Chunks, vectors: NDArray[np.float32]) -> None:
        # As the profile service stores them.
        stored = vectors.astype(np.float16).astype(np.float32)
        self.vectors = np.concatenate([stored, np.zeros((1, vectors.shape[1]), np.float32)])
        self._last_times_us = np.append(chunks.last_times_us, 0)
        self._offsets = chunks.offsets
        self._begins = prepared.offsets
        self._length = chunks.chunk_length
        self._use_time = not prepared.order_only

    def num_before(self, users: NDArray[np.integer], known: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many full chunks of `users` end before the events at `known`."""
        ended = (known - self._begins[users]) // self._length
        counts: NDArray[np.int64] = np.minimum(ended, np.diff(self._offsets)[users])
        return counts

    def rows(
        self, users: NDArray[np.integer], first: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return [B, N] rows of `counts` [B] chunks of each user from its `first` [B] on, padded on
        the right."""
        place = np.arange(max(int(counts.max(initial=0)), 1))
        row = (self._offsets[users] + first)[:, None] + place[None, :]
        return np.where(place[None, :] < counts[:, None], row, len(self._last_times_us) - 1)

    def ages(self, rows: NDArray[np.int64], last_us: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the ages of chunks at events of `last_us`; the shapes broadcast."""
        return chunk_ages(self._last_times_us[rows], last_us, use_time=self._use_time)


class Histories:
    """Gives what the profile head reads before any event, as far as the profile knows it."""

    def __init__(
        self, prepared: Prepared, chunks: ChunkTable, max_chunks: int, recent_length: int
    ) -> None:
        self._prepared = prepared
        self._chunks = chunks
        self._max_chunks = max_chunks
        self._recent_length = recent_length

    def without_text(self) -> "Histories":
        """Return the same as it is before any chunk is encoded."""
        return Histories(self._prepared, self._chunks, 0, self._recent_length)

    def before(self, events: NDArray[np.int64]) -> ProfileInputs:
        """Return the inputs before each event, of what its user's profile knows by then."""
        known = self._prepared.profile_until(events)
        users = self._prepared.users[events]
        recent = windows_before(self._prepared, events, self._recent_length, known)
        num_full = self._chunks.num_before(users, known)
        shown = np.minimum(num_full, self._max_chunks)
        rows = self._chunks.rows(users, num_full - shown, shown)
        # Where no event is known there is no chunk either.
        last_us = self._prepared.times_us[np.maximum(known - 1, 0)]
        ages = self._chunks.ages(rows, last_us[:, None])
        ages[np.arange(rows.shape[1])[None, :] >= shown[:, None]] = 0
        return ProfileInputs(self._chunks.vectors[rows], ages, shown, recent)


def ranges(
    first: NDArray[np.int64], until: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all numbers of the ranges [first, until), with the place of their range."""
    lengths = until - first
    row = np.repeat(np.arange(len(first)), lengths)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return row, first[row] + offset


def history_items(
    prepared: Prepared, events: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the items that each user's profile knows before each event [n], each once.

    They are given by their newest events: rows [m] in [0, n), ascending, and events [m], oldest
    first in each row. What was only disliked is no part of a history.
    """
    begin = prepared.offsets[prepared.users[events]]
    row, read = ranges(begin, prepared.profile_until(events))
    row, read = row[::-1], read[::-1]
    item = row * prepared.num_items + prepared.items[read]
    _, newest, place = np.unique(item, return_index=True, return_inverse=True)
    counts = np.bincount(place, prepared.actions[read] != DISLIKE, len(newest)) > 0
    kept = np.sort(newest[counts])[::-1]
    return row[kept], read[kept]


def gate_inputs(prepared: Prepared, events: NDArray[np.int64], window_length: int) -> GateFeatures:
    """Return what the gate knows before each of [B] events, at the event's own time."""
    known = events - prepared.offsets[prepared.users[events]]
    before = np.maximum(events - 1, 0)
    index = np.arange(len(prepared.items))
    last_start = np.maximum.accumulate(np.where(prepared.starts, index, 0))
    in_session = np.minimum(events - last_start[before], window_length)
    seconds = seconds_since(
        prepared.times_us[events], prepared.times_us[before], use_time=not prepared.order_only
    )
    return GateFeatures(
        np.where(known > 0, seconds, 0.0),
        session_length=np.where(known > 0, in_session, 0),
        history_length=known,
    )
