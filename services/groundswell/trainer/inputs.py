"""What the models read before an event, for training and evaluation alike, as the servers do it.

B events, L the window's length, N chunks, t text dimensions.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.features.chunks import chunk_ages
from groundswell.features.gate import gate_features
from groundswell.features.text import chunk_text
from groundswell.trainer.data import Prepared


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
    """What the profile head reads, by the names of its exported inputs."""

    chunk_vectors: NDArray[np.float32]
    """[B, N, t]"""
    chunk_ages: NDArray[np.float32]
    """[B, N]"""
    num_chunks: NDArray[np.int64]
    """[B]"""
    tail_vectors: NDArray[np.float32]
    """[B, t]"""
    tail_lengths: NDArray[np.int64]
    """[B]"""


def window_rows(
    prepared: Prepared, first: NDArray[np.int64], lengths: NDArray[np.int64]
) -> WindowInputs:
    """Return the windows of events [first, first + length) of one user each."""
    longest = max(int(lengths.max(initial=0)), 1)
    offset = np.arange(longest)
    real = offset[None, :] < lengths[:, None]
    event = np.where(real, first[:, None] + offset[None, :], 0)
    gaps = np.zeros(event.shape, np.float32)
    starts = np.zeros(event.shape, np.float32)
    if not prepared.order_only:
        seconds = np.diff(prepared.times_us[event], axis=1) / 1e6
        gaps[:, 1:] = np.log1p(np.maximum(seconds, 0)) * real[:, 1:]
        starts = (prepared.starts[event] & real).astype(np.float32)
    rows = np.where(real, prepared.items[event], 0).astype(np.int64)
    actions = np.where(real, prepared.actions[event], 0).astype(np.int64)
    return WindowInputs(rows, actions, gaps, starts, lengths.astype(np.int64))


def windows_before(
    prepared: Prepared, events: NDArray[np.int64], window_length: int
) -> WindowInputs:
    """Return the newest `window_length` events before each event, of its user."""
    begin = prepared.offsets[prepared.users[events]]
    first = np.maximum(begin, events - window_length)
    return window_rows(prepared, first, events - first)


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


def cut_chunks(prepared: Prepared, chunk_length: int) -> Chunks:
    """Cut every history into full chunks, from its start."""
    counts = np.diff(prepared.offsets) // chunk_length
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


class Histories:
    """Gives what the profile head reads before any event.

    `chunk_vectors` [M, t] are those of `chunks`, `item_texts` [I, t] those of the items.
    """

    def __init__(
        self,
        prepared: Prepared,
        chunks: Chunks,
        chunk_vectors: NDArray[np.float32],
        item_texts: NDArray[np.float32],
        max_chunks: int,
    ) -> None:
        self._prepared = prepared
        self._chunks = chunks
        # As the profile service stores them.
        self._chunk_vectors = chunk_vectors.astype(np.float16).astype(np.float32)
        self._item_texts = item_texts
        self._max_chunks = max_chunks

    def before(self, events: NDArray[np.int64]) -> ProfileInputs:
        """Return the inputs of the histories before each event, of its user."""
        prepared, size = self._prepared, self._chunks.chunk_length
        user = prepared.users[events]
        begin = prepared.offsets[user]
        num_full = (events - begin) // size
        shown = np.minimum(num_full, self._max_chunks)
        place = np.arange(max(int(shown.max(initial=0)), 1))
        real = place[None, :] < shown[:, None]
        first = self._chunks.offsets[user] + num_full - shown
        chunk = np.where(real, first[:, None] + place[None, :], 0)
        if len(self._chunk_vectors):
            vectors = self._chunk_vectors[chunk] * real[..., None]
            times_us = self._chunks.last_times_us[chunk]
        else:
            vectors = np.zeros((*chunk.shape, self._item_texts.shape[1]), np.float32)
            times_us = np.zeros(chunk.shape, np.int64)
        last_us = prepared.times_us[np.maximum(events - 1, 0)]
        ages = chunk_ages(times_us, last_us[:, None], use_time=not prepared.order_only) * real
        tails, lengths = self.tails(events)
        return ProfileInputs(vectors, ages.astype(np.float32), shown, tails, lengths)

    def tails(self, events: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the mean text vector [B, t] of the events after the last full chunk, and [B] of
        how many."""
        prepared = self._prepared
        begin = prepared.offsets[prepared.users[events]]
        lengths = (events - begin) % self._chunks.chunk_length
        longest = max(int(lengths.max(initial=0)), 1)
        offset = np.arange(longest)
        real = offset[None, :] < lengths[:, None]
        place = np.where(real, (events - lengths)[:, None] + offset[None, :], 0)
        vectors = self._item_texts[prepared.items[place]] * real[..., None]
        means = vectors.sum(1) / np.maximum(lengths, 1)[:, None]
        return means.astype(np.float32), lengths.astype(np.int64)


def gate_inputs(
    prepared: Prepared, events: NDArray[np.int64], window_length: int
) -> NDArray[np.float32]:
    """Return [B, 3] gate features before each event, at the event's own time."""
    begin = prepared.offsets[prepared.users[events]]
    index = np.arange(len(prepared.items))
    last_start = np.maximum.accumulate(np.where(prepared.starts, index, 0))
    features = np.zeros((len(events), 3), np.float32)
    for b, (event, first) in enumerate(zip(events.tolist(), begin.tolist(), strict=True)):
        known = event - first
        session = min(event - int(last_start[event - 1]), window_length) if known else 0
        features[b] = gate_features(
            int(prepared.times_us[event]),
            int(prepared.times_us[event - 1]) if known else None,
            session,
            known,
            use_time=not prepared.order_only,
        )
    return features
