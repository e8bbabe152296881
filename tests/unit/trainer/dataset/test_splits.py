"""The splits hold out what they promise, and nothing else."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from groundswell.trainer.dataset.prepared import TEST, TRAIN, VALIDATION
from groundswell.trainer.dataset.splits import (
    Assignment,
    Log,
    Split,
    assign,
    choose,
    hold_out_cold,
)
from groundswell.trainer.errors import DataError

logs = st.lists(st.lists(st.integers(0, 10**15), min_size=1, max_size=9), min_size=1, max_size=9)


def flat(log: list[list[int]]) -> Log:
    """A log of each user's times; each user has one session."""
    lengths = [len(times) for times in log]
    return Log(
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array([time for times in log for time in sorted(times)], dtype=np.int64),
        np.repeat(np.arange(len(log)), lengths).astype(np.int32),
        np.ones(sum(lengths), np.float32),
    )


def of_sessions(log: list[list[int]]) -> Log:
    """A log of the lengths of each user's sessions."""
    lengths = [length for sessions in log for length in sessions]
    return Log(
        np.concatenate([[0], np.cumsum([sum(sessions) for sessions in log])]),
        np.arange(sum(lengths)),
        np.repeat(np.arange(len(lengths)), lengths).astype(np.int32),
        np.ones(sum(lengths), np.float32),
    )


@given(logs)
def test_leave_one_out_holds_back_the_last_two_events_of_users_with_three(
    log: list[list[int]],
) -> None:
    flat_log = flat(log)
    split_of, target = assign(Split.LEAVE_ONE_OUT, flat_log)
    for user, (start, end) in enumerate(pairwise(flat_log.offsets)):
        held = [VALIDATION, TEST] if len(log[user]) >= 3 else []
        expected = [TRAIN] * (end - start - len(held)) + held
        assert split_of[start:end].tolist() == expected
        assert target[start:end].tolist() == expected


@given(logs)
@example([[0, 1]])
def test_a_temporal_split_cuts_the_span_and_predicts_first_events(log: list[list[int]]) -> None:
    flat_log = flat(log)
    times = flat_log.times_us
    if times.min() == times.max():
        with pytest.raises(DataError, match="span of time"):
            assign(Split.TEMPORAL, flat_log)
        return
    split_of, target = assign(Split.TEMPORAL, flat_log)
    first, span = int(times.min()), int(times.max() - times.min())
    tenths = [(int(time) - first) * 10 // span for time in times]
    expected = [TEST if t >= 9 else VALIDATION if t >= 8 else TRAIN for t in tenths]
    assert split_of.tolist() == expected
    for start, end in pairwise(flat_log.offsets):
        for part in (VALIDATION, TEST):
            inside = start + np.flatnonzero(split_of[start:end] == part)
            assert np.flatnonzero(target[start:end] == part).tolist() == (
                [inside[0] - start] if len(inside) else []
            )


def test_without_a_split_everything_trains() -> None:
    split_of, target = assign(Split.NONE, of_sessions([[1, 2, 1]]))
    assert not split_of.any()
    assert not target.any()


def test_a_temporal_split_holds_out_what_stands_after_a_held_out_event() -> None:
    log = flat([[0, 100], [0, 0, 0]])._replace(times_us=np.array([0, 100, 10, 95, 50]))
    split_of, target = assign(Split.TEMPORAL, log)
    assert split_of.tolist() == [TRAIN, TEST, TRAIN, TEST, TEST]
    assert target.tolist() == [0, TEST, 0, TEST, 0]


@given(st.lists(st.lists(st.integers(1, 14), min_size=1, max_size=5), min_size=1, max_size=6))
def test_next_session_holds_back_the_last_two_sessions_and_predicts_ten_events_of_each(
    log: list[list[int]],
) -> None:
    split_of, target = assign(Split.NEXT_SESSION, of_sessions(log))
    due_split: list[int] = []
    due_target: list[int] = []
    for lengths in log:
        held = {1: [], 2: [TEST]}.get(len(lengths), [VALIDATION, TEST])
        parts = [TRAIN] * (len(lengths) - len(held)) + held
        for part, length in zip(parts, lengths, strict=True):
            due_split += [part] * length
            due_target += [part] * min(length, 10) + [0] * (length - 10)
    assert split_of.tolist() == due_split
    assert target.tolist() == due_target


@pytest.mark.parametrize("split", [Split.LEAVE_ONE_OUT, Split.NEXT_SESSION])
def test_an_event_of_weight_zero_is_held_out_but_never_a_target(split: Split) -> None:
    log = of_sessions([[1, 1, 1]])
    log.weights[1:] = 0, 1
    split_of, target = assign(split, log)
    assert split_of.tolist() == [TRAIN, VALIDATION, TEST]
    assert target.tolist() == [0, 0, TEST]


def test_every_event_on_a_cold_item_with_a_past_is_a_test_target_and_nothing_else_is() -> None:
    log = of_sessions([[1, 1, 1, 1], [1, 1, 1]])
    log.weights[2] = 0
    cold = np.array([1, 1, 1, 0, 0, 1, 0], bool)
    split_of, target = hold_out_cold(assign(Split.LEAVE_ONE_OUT, log), log, cold)
    assert split_of.tolist() == [TEST, TEST, TEST, TEST, TRAIN, TEST, TEST]
    assert target.tolist() == [0, TEST, 0, 0, 0, TEST, 0]


def test_cold_items_take_no_other_validation_target_away() -> None:
    log = of_sessions([[1, 1, 1, 1]])
    cold = np.array([0, 1, 0, 0], bool)
    before: Assignment = assign(Split.LEAVE_ONE_OUT, log)
    split_of, target = hold_out_cold(before, log, cold)
    assert split_of.tolist() == [TRAIN, TEST, VALIDATION, TEST]
    assert target.tolist() == [0, TEST, VALIDATION, 0]
    assert hold_out_cold(before, log, np.zeros(4, bool)) is before


def chosen(log: Log, *, order_only: bool = False, ids: bool = False) -> tuple[Split, str]:
    found = choose(log, order_only=order_only, has_session_ids=ids)
    return found.split, found.reason


def test_a_log_of_sessions_is_split_by_session() -> None:
    log = of_sessions([[3, 2, 4]] + [[2]] * 8)
    split, reason = chosen(log, ids=True, order_only=True)
    assert (split, "11% of the users have three sessions") == (Split.NEXT_SESSION, reason[:36])
    # As many sessions, most of one event: they say nothing of what comes within one.
    assert chosen(of_sessions([[1, 1, 1]] * 9 + [[2]]))[0] is not Split.NEXT_SESSION
    # One user in ten is the least.
    assert chosen(of_sessions([[3, 2, 4]] + [[2]] * 10))[0] is not Split.NEXT_SESSION


def test_a_log_of_times_is_split_by_time_where_most_users_were_there_before() -> None:
    staying = flat([[n, n + 200, n + 450, n + 820, n + 910] for n in range(100)])
    split, reason = chosen(staying)
    assert split is Split.TEMPORAL
    assert "100% of those who act in the last two tenths of the time span acted before" in reason
    # Everyone comes once: those of the last tenths have no past.
    coming = flat([[10 * n, 10 * n + 1, 10 * n + 2] for n in range(100)])
    split, reason = chosen(coming)
    assert (split, "by time, only" in reason) == (Split.LEAVE_ONE_OUT, True)


def test_a_log_of_positions_is_split_by_each_users_last_events() -> None:
    split, reason = chosen(flat([[1, 2, 3]] * 4), order_only=True)
    assert (split, "only positions" in reason) == (Split.LEAVE_ONE_OUT, True)
    assert chosen(flat([[5, 5, 5]] * 4))[0] is Split.LEAVE_ONE_OUT
