"""Histories → windows whose every position is a training target once an epoch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.features.actions import DISLIKE
from groundswell.trainer.data import TRAIN, Prepared, check_training_targets


class Windows(NamedTuple):
    """W windows of events [first, first + length); slots [target_from, length] are predicted."""

    first: NDArray[np.int64]
    lengths: NDArray[np.int64]
    target_from: NDArray[np.int64]


class TrainingLog:
    """The part of a prepared log that training may see.

    Each history's training events are its first ones: what comes later is for validation or test.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        in_training = (prepared.split_of == TRAIN).astype(np.int64)
        total = np.concatenate([[0], np.cumsum(in_training)])
        self.ends = prepared.offsets[:-1] + np.diff(total[prepared.offsets])
        """[U] where each history's training events end."""
        self.is_target = (prepared.split_of == TRAIN) & (prepared.actions != DISLIKE)
        """[E] True where the event may be predicted in training."""
        check_training_targets(prepared, np.flatnonzero(self.is_target))

    @property
    def num_targets(self) -> int:
        """How many events are predicted in an epoch."""
        return int(self.is_target.sum())

    def windows(self, length: int, rng: np.random.Generator) -> Windows:
        """Cut all histories at random places, so that each target has up to `length` events before.

        A window's input ends one event before its last target: a target is never its own input.
        """
        rows: list[tuple[int, int, int]] = []
        begins, ends = self.prepared.offsets[:-1], self.ends
        cuts = rng.integers(1, length + 1, len(begins))
        for begin, end, cut in zip(begins.tolist(), ends.tolist(), cuts.tolist(), strict=True):
            target = begin
            stop = min(begin + cut, end)
            while target < end:
                first = begin if target == begin else max(begin, min(stop - 1 - length, target - 1))
                rows.append((first, stop - 1 - first, target - first))
                target, stop = stop, min(stop + length, end)
        table = np.array(rows, np.int64).reshape(-1, 3)
        return Windows(table[:, 0], table[:, 1], table[:, 2])

    def sample_positions(self, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return up to `most` training targets at random, ascending; those with a past alone."""
        has_past = np.ones(len(self.is_target), bool)
        has_past[self.prepared.offsets[:-1][np.diff(self.prepared.offsets) > 0]] = False
        events = np.flatnonzero(self.is_target & has_past)
        if len(events) > most:
            events = np.sort(rng.choice(events, most, replace=False))
        return events


def batches_by_length(
    lengths: NDArray[np.int64], size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield batches of indices in random order; what shares a batch is of about one length."""
    shuffled = rng.permutation(len(lengths))
    order = shuffled[np.argsort(lengths[shuffled] // 8, kind="stable")]
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    rng.shuffle(batches)
    yield from batches
