"""Which events train, which validate, which test, and which of them are to be predicted."""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.data import TEST, TRAIN, VALIDATION
from groundswell.trainer.errors import DataError

MIN_EVENTS = 3
"""Users with fewer events only train under leave-one-out."""


class Split(StrEnum):
    """How a log is split."""

    LEAVE_ONE_OUT = "leave-one-out"
    """The last event of each user with at least 3 is test, the one before it validation."""
    TEMPORAL = "temporal"
    """The last tenth of the time span is test, the tenth before it validation; a user's first
    event inside of each is the target."""
    NONE = "none"
    """Everything trains."""


class Assignment(NamedTuple):
    """Where each event lies and whether it is a target, as in `data.Prepared`."""

    split_of: NDArray[np.int8]
    target: NDArray[np.int8]


def assign(split: Split, offsets: NDArray[np.int64], times_us: NDArray[np.int64]) -> Assignment:
    """Split E events that are ordered within each user; offsets [U + 1], times_us [E].

    Raises DataError when a temporal split has no span to cut.
    """
    if split is Split.LEAVE_ONE_OUT:
        return _leave_one_out(offsets)
    if split is Split.TEMPORAL:
        return _temporal(offsets, times_us)
    nothing = np.zeros(len(times_us), dtype=np.int8)
    return Assignment(nothing, nothing.copy())


def _leave_one_out(offsets: NDArray[np.int64]) -> Assignment:
    split_of = np.full(int(offsets[-1]), TRAIN, dtype=np.int8)
    ends = offsets[1:][np.diff(offsets) >= MIN_EVENTS]
    split_of[ends - 1] = TEST
    split_of[ends - 2] = VALIDATION
    return Assignment(split_of, split_of.copy())


def _temporal(offsets: NDArray[np.int64], times_us: NDArray[np.int64]) -> Assignment:
    first, last = int(times_us.min()), int(times_us.max())
    if first == last:
        raise DataError("a temporal split needs a span of time, and all events have one time")
    span = last - first
    split_of = np.full(len(times_us), TRAIN, dtype=np.int8)
    split_of[times_us >= first + span * 8 // 10] = VALIDATION
    split_of[times_us >= first + span * 9 // 10] = TEST
    # Times ascend within a user, so a set's first event is the one after an event of another set.
    first_inside = np.ones(len(times_us), dtype=bool)
    first_inside[1:] = split_of[1:] != split_of[:-1]
    first_inside[offsets[:-1]] = True
    return Assignment(split_of, np.where(first_inside, split_of, 0).astype(np.int8))
