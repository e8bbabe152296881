"""The training part of a log, cut into windows; each target is predicted once an epoch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import TRAIN, Prepared, check_training_targets

_GATE_STRIDE = 10
_GATE_HISTORY = 4
_GATE_EVENTS = 10


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
        may_be_target = (prepared.split_of == TRAIN) & (prepared.weights > 0)
        self.is_for_gate = may_be_target & _for_gate(prepared, self.ends)
        """[E] True where the event is kept from the encoders, for the gate: on their own targets
        the gate would learn to trust the encoder that memorises more."""
        self.is_target = may_be_target & ~self.is_for_gate
        """[E] True where the encoders are trained to predict the event."""
        self.has_event = (
            np.bincount(prepared.items[prepared.split_of == TRAIN], minlength=prepared.num_items)
            > 0
        )
        """[N] True for items that training sees."""
        check_training_targets(prepared, np.flatnonzero(may_be_target))

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

    def sample_positions(
        self, among: NDArray[np.bool_], most: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return up to `most` of the events `among` [E], at random; those with a past alone."""
        has_past = np.ones(len(among), bool)
        has_past[self.prepared.offsets[:-1][np.diff(self.prepared.offsets) > 0]] = False
        events = np.flatnonzero(among & has_past)
        if len(events) > most:
            events = np.sort(rng.choice(events, most, replace=False))
        return events


def _for_gate(prepared: Prepared, ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return [E] True for events that are most like those to predict after training.

    Of every tenth history these are the first events of its last session in training, or, where it
    has one session alone, its last events, at most a quarter of them.
    """
    chosen = np.zeros(len(prepared.items), bool)
    begins = prepared.offsets[:-1]
    for begin, end in zip(begins[::_GATE_STRIDE], ends[::_GATE_STRIDE], strict=True):
        if end - begin < _GATE_HISTORY:
            continue
        first = end - prepared.session_place[end - 1]
        if first == begin:
            first = end - min(_GATE_EVENTS, (end - begin) // 4)
        chosen[first : min(first + _GATE_EVENTS, end)] = True
    return chosen


def batches_by_length(
    lengths: NDArray[np.int64], size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield batches of indices in random order, each of about one length."""
    shuffled = rng.permutation(len(lengths))
    order = shuffled[np.argsort(lengths[shuffled] // 8, kind="stable")]
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    rng.shuffle(batches)
    yield from batches
