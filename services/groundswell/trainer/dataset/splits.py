"""Splits a log into events for training, validation and test, and marks those to be predicted."""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import TEST, TRAIN, VALIDATION
from groundswell.trainer.errors import DataError

MIN_EVENTS = 3
"""Users with fewer events only train under leave-one-out."""
_MANY_SESSIONS, _IN_SESSIONS = 0.1, 0.5
"""A log has sessions when so many of its users have three or more, and so many of its events
another one in their session."""
_WITH_PAST, _OF_USERS, _TRAINING = 0.5, 0.01, 0.5
"""A temporal split is sound when so many of its targets have an event to be predicted from, so many
of the users are targets in each part, and so many of the events train."""
SESSION_TARGETS = 10
"""So many events of a session, from its first one, are predicted under next-session."""


class Split(StrEnum):
    """How a log is split."""

    LEAVE_ONE_OUT = "leave-one-out"
    """The last event of each user with at least 3 is test, the one before it validation."""
    TEMPORAL = "temporal"
    """The last tenth of the time span is test, the tenth before it validation; a user's first
    event inside of each is the target."""
    NEXT_SESSION = "next-session"
    """The last session of each user with at least 2 is test, the one before it validation where a
    user has at least 3; the first ten events of each are the targets."""
    NONE = "none"
    """Everything trains."""


class Assignment(NamedTuple):
    """Where each event lies and whether it is a target, as in `data.Prepared`."""

    split_of: NDArray[np.int8]
    target: NDArray[np.int8]


class Log(NamedTuple):
    """U users' E events, as `data.Prepared` orders and numbers them."""

    offsets: NDArray[np.int64]
    """[U + 1]"""
    times_us: NDArray[np.int64]
    """[E]"""
    sessions: NDArray[np.int32]
    """[E]"""
    weights: NDArray[np.float32]
    """[E] 0 for an event that is never to be predicted."""


def assign(split: Split, log: Log) -> Assignment:
    """Split the events of a log.

    Raises DataError when a temporal split has no span to cut.
    """
    if split is Split.LEAVE_ONE_OUT:
        split_of, predicted = _leave_one_out(log.offsets)
    elif split is Split.TEMPORAL:
        split_of, predicted = _temporal(log.offsets, log.times_us)
    elif split is Split.NEXT_SESSION:
        split_of, predicted = _next_session(log.offsets, log.sessions)
    else:
        split_of, predicted = _everything_trains(log.offsets)
    predicted &= log.weights > 0
    return Assignment(split_of, np.where(predicted, split_of, 0).astype(np.int8))


class Choice(NamedTuple):
    """A split, and why it suits a log."""

    split: Split
    reason: str


def choose(log: Log, *, order_only: bool, has_session_ids: bool) -> Choice:
    """Choose the split that asks of a log what it is asked in production.

    Where users come in sessions it is the next session; else, where times are known and most users
    of the last two tenths were there before, the time; else each user's last events.
    """
    without = "the times are only positions, and no event names a session"
    if has_session_ids or not order_only:
        part, in_sessions = _sessions_of(log)
        said = (
            f"{part:.0%} of the users have three sessions or more, and {in_sessions:.0%} of the "
            "events another one in their session"
        )
        if part >= _MANY_SESSIONS and in_sessions >= _IN_SESSIONS:
            return Choice(Split.NEXT_SESSION, said)
        without = f"only {said}"
    if order_only or log.times_us.min() == log.times_us.max():
        return Choice(Split.LEAVE_ONE_OUT, without)
    assigned = assign(Split.TEMPORAL, log)
    trains = float((assigned.split_of == TRAIN).mean())
    targets = np.flatnonzero(assigned.target)
    past = np.isin(targets, log.offsets, invert=True)
    with_past = float(past.mean()) if len(past) else 0.0
    least = min(int((assigned.target == part).sum()) for part in (VALIDATION, TEST))
    said = (
        f"{with_past:.0%} of those who act in the last two tenths of the time span acted before, "
        f"and {trains:.0%} of the events train"
    )
    if (
        with_past >= _WITH_PAST
        and trains >= _TRAINING
        and least >= max(_OF_USERS * (len(log.offsets) - 1), 1)
    ):
        return Choice(Split.TEMPORAL, f"{without}; {said}")
    return Choice(Split.LEAVE_ONE_OUT, f"{without}; by time, only {said}")


def _sessions_of(log: Log) -> tuple[float, float]:
    """Return the shares of users with three sessions, and of events that are not alone in one."""
    lengths = np.unique(log.sessions, return_counts=True)[1]
    users = np.repeat(np.arange(len(log.offsets) - 1), np.diff(log.offsets))
    begins = np.flatnonzero(np.diff(log.sessions, prepend=-1))
    num_sessions = np.bincount(users[begins], minlength=len(log.offsets) - 1)
    in_sessions = lengths[lengths > 1].sum() / max(lengths.sum(), 1)
    return float((num_sessions >= 3).mean()), float(in_sessions)


def hold_out_cold(assignment: Assignment, log: Log, is_cold: NDArray[np.bool_]) -> Assignment:
    """Make every event on a cold item, [E] `is_cold`, a test target, and nothing else one.

    A user's first event is no target: there is nothing to predict it from. Validation targets stay
    what they are, but for those on cold items. Without cold items nothing changes.
    """
    if not is_cold.any():
        return assignment
    has_past = np.ones(len(is_cold), dtype=bool)
    has_past[log.offsets[:-1]] = False
    split_of, target = assignment.split_of.copy(), assignment.target.copy()
    split_of[is_cold] = TEST
    target[is_cold | (target == TEST)] = 0
    target[is_cold & has_past & (log.weights > 0)] = TEST
    return Assignment(split_of, target)


_Parts = tuple[NDArray[np.int8], NDArray[np.bool_]]
"""[E] where each event lies, and [E] True for those that a held-out part is about."""


def _everything_trains(offsets: NDArray[np.int64]) -> _Parts:
    size = int(offsets[-1])
    return np.full(size, TRAIN, dtype=np.int8), np.zeros(size, dtype=bool)


def _leave_one_out(offsets: NDArray[np.int64]) -> _Parts:
    split_of = np.full(int(offsets[-1]), TRAIN, dtype=np.int8)
    ends = offsets[1:][np.diff(offsets) >= MIN_EVENTS]
    split_of[ends - 1] = TEST
    split_of[ends - 2] = VALIDATION
    return split_of, split_of != TRAIN


def _temporal(offsets: NDArray[np.int64], times_us: NDArray[np.int64]) -> _Parts:
    first, last = int(times_us.min()), int(times_us.max())
    if first == last:
        raise DataError("a temporal split needs a span of time, and all events have one time")
    span = last - first
    split_of = np.full(len(times_us), TRAIN, dtype=np.int8)
    # Rounded up: an event before the bound trains, however short the span.
    split_of[times_us >= first - (-span * 8 // 10)] = VALIDATION
    split_of[times_us >= first - (-span * 9 // 10)] = TEST
    # Where sessions overlap an earlier event may stand after a held-out one: it is held out too.
    before = np.repeat(np.arange(len(offsets) - 1) * (TEST + 1), np.diff(offsets))
    split_of = (np.maximum.accumulate(split_of + before) - before).astype(np.int8)
    first_inside = np.ones(len(times_us), dtype=bool)
    first_inside[1:] = split_of[1:] != split_of[:-1]
    first_inside[offsets[:-1]] = True
    return split_of, first_inside


def _next_session(offsets: NDArray[np.int64], sessions: NDArray[np.int32]) -> _Parts:
    starts = np.flatnonzero(np.diff(sessions, prepend=-1))
    lengths = np.diff(starts, append=len(sessions))
    # Of S sessions: how many their user has, and how many of those come later.
    bounds = np.searchsorted(starts, offsets)
    num_sessions = np.repeat(np.diff(bounds), np.diff(bounds))
    num_later = np.repeat(bounds[1:], np.diff(bounds)) - 1 - np.arange(len(starts))
    part = np.full(len(starts), TRAIN, dtype=np.int8)
    part[(num_later == 0) & (num_sessions >= 2)] = TEST
    part[(num_later == 1) & (num_sessions >= 3)] = VALIDATION
    place = np.arange(len(sessions)) - np.repeat(starts, lengths)
    return np.repeat(part, lengths), place < SESSION_TARGETS
