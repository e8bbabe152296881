"""The splits hold out what they promise, and nothing else."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.trainer.data import TEST, TRAIN, VALIDATION
from groundswell.trainer.errors import DataError
from groundswell.trainer.splits import Split, assign

logs = st.lists(st.lists(st.integers(0, 10**15), min_size=1, max_size=9), min_size=1, max_size=9)


def flat(log: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(times) for times in log])])
    return offsets, np.array([time for times in log for time in sorted(times)], dtype=np.int64)


@given(logs)
def test_leave_one_out_holds_back_the_last_two_events_of_users_with_three(
    log: list[list[int]],
) -> None:
    offsets, times = flat(log)
    split_of, target = assign(Split.LEAVE_ONE_OUT, offsets, times)
    for user, (start, end) in enumerate(pairwise(offsets)):
        held = [VALIDATION, TEST] if len(log[user]) >= 3 else []
        expected = [TRAIN] * (end - start - len(held)) + held
        assert split_of[start:end].tolist() == expected
        assert target[start:end].tolist() == expected


@given(logs)
def test_a_temporal_split_cuts_the_span_and_predicts_first_events(log: list[list[int]]) -> None:
    offsets, times = flat(log)
    if times.min() == times.max():
        with pytest.raises(DataError, match="span of time"):
            assign(Split.TEMPORAL, offsets, times)
        return
    split_of, target = assign(Split.TEMPORAL, offsets, times)
    first, span = int(times.min()), int(times.max() - times.min())
    tenths = [(int(time) - first) * 10 // span for time in times]
    expected = [TEST if t >= 9 else VALIDATION if t >= 8 else TRAIN for t in tenths]
    assert split_of.tolist() == expected
    for start, end in pairwise(offsets):
        for part in (VALIDATION, TEST):
            inside = start + np.flatnonzero(split_of[start:end] == part)
            assert np.flatnonzero(target[start:end] == part).tolist() == (
                [inside[0] - start] if len(inside) else []
            )


def test_without_a_split_everything_trains() -> None:
    split_of, target = assign(Split.NONE, np.array([0, 4]), np.arange(4))
    assert not split_of.any()
    assert not target.any()
