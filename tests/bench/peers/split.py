"""A prepared log → the job of a peer: the events it may train on, and those it has to rank."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import TEST, TRAIN, Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.ranking.validation import Validation


def job(prepared: Prepared) -> dict[str, Any]:
    """Describe the log and its split in plain lists.

    "items" and "weights" are of all E events. "training" is a span [begin, end) of the log for each
    history: its events that train. "validation" and "test" are spans too, one for each target: the
    target is the event at its end, and the span is what its user had before. They are the targets
    that training validates on, and those that `evaluate` ranks. Raises DataError when a set is
    empty, or when items are kept out of training: a peer has no vectors for them.
    """
    if prepared.cold.any():
        raise DataError(f"{prepared.folder} keeps items out of training: prepare it without")
    validation, test = Validation(prepared).events, test_targets(prepared)
    if not len(validation) or not len(test):
        raise DataError(f"{prepared.folder} lacks validation or test targets")
    counts = np.bincount(prepared.users[prepared.split_of == TRAIN], minlength=prepared.num_users)
    training = np.stack([prepared.offsets[:-1], prepared.offsets[:-1] + counts], axis=1)
    return {
        "items": prepared.items.tolist(),
        "weights": prepared.weights.tolist(),
        "training": training[counts > 0].tolist(),
        "validation": _spans(prepared, validation),
        "test": _spans(prepared, test),
    }


def test_targets(prepared: Prepared) -> NDArray[np.int64]:
    """Return [n] positions of the test targets whose item is new to their user, as is due."""
    events = np.flatnonzero(prepared.target == TEST)
    begins = prepared.offsets[prepared.users[events]]
    is_new = [
        begin < event and prepared.items[event] not in prepared.items[begin:event]
        for begin, event in zip(begins.tolist(), events.tolist(), strict=True)
    ]
    found: NDArray[np.int64] = events[np.array(is_new, dtype=bool)]
    return found


def _spans(prepared: Prepared, events: NDArray[np.int64]) -> list[list[int]]:
    begins = prepared.offsets[prepared.users[events]]
    return [[begin, event] for begin, event in zip(begins.tolist(), events.tolist(), strict=True)]
