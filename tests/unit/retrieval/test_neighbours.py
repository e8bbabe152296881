"""What the neighbours of a window and of a history add up to, in numbers by hand."""

import numpy as np
import pytest

from groundswell.artifacts.manifest import NeighbourSpec
from groundswell.retrieval.neighbours import NOTHING, Neighbours, Sparse, summed

SPEC = NeighbourSpec(count=2, window_length=3, decay=0.5, short_weight=4.0, long_weight=6.0)
# 0 goes with 1 and 2, 1 with 2 alone, 2 with 0 and 3; 3 with nothing.
ROWS = np.array([[1, 2], [2, -1], [0, 3], [-1, -1]], np.int32)
SIMILARITIES = np.array([[0.5, 0.25], [1.0, 0.0], [0.75, 0.125], [0.0, 0.0]], np.float16)


def neighbours(**changes: float) -> Neighbours:
    return Neighbours(ROWS, SIMILARITIES, SPEC.model_copy(update=changes))


def as_dict(scores: Sparse) -> dict[int, float]:
    return dict(zip(scores.rows.tolist(), scores.scores.tolist(), strict=True))


def test_an_older_event_of_the_window_weighs_less() -> None:
    found = neighbours().short(np.array([0, 1]))
    assert as_dict(found) == {1: 2 * 0.5, 2: 2 * 0.25 + 4 * 1.0}
    assert found.rows.dtype == np.int64
    assert found.scores.dtype == np.float32


def test_an_item_that_comes_twice_counts_twice() -> None:
    assert as_dict(neighbours().short(np.array([1, 1]))) == {2: 2.0 + 4.0}


def test_events_before_the_windows_length_are_not_read() -> None:
    assert as_dict(neighbours().short(np.array([2, 1, 3, 3]))) == {2: 1.0}
    assert as_dict(neighbours().short(np.array([2, 3, 3, 3]))) == {}


def test_an_unknown_item_keeps_its_place_in_the_window() -> None:
    assert as_dict(neighbours().short(np.array([1, -1]))) == {2: 2.0}


def test_a_history_counts_by_the_root_of_its_length_unknown_items_included() -> None:
    found = as_dict(neighbours().long(np.array([0, 2, 1, -1])))
    assert found == {0: 3 * 0.75, 1: 3 * 0.5, 2: 3 * 1.25, 3: 3 * 0.125}


def test_an_older_item_of_a_history_weighs_less() -> None:
    found = as_dict(neighbours(history_decay=0.5).long(np.array([0, 1])))
    newest, older = 6 / 1.25**0.5, 3 / 1.25**0.5
    assert found == pytest.approx({1: older * 0.5, 2: older * 0.25 + newest})


@pytest.mark.parametrize("items", [[], [-1], [3], [3, -1]])
def test_without_neighbours_there_is_nothing(items: list[int]) -> None:
    read = np.array(items, np.int64)
    assert as_dict(neighbours().short(read)) == as_dict(neighbours().long(read)) == {}


def test_a_weight_of_zero_is_no_source() -> None:
    assert as_dict(neighbours(short_weight=0.0).short(np.array([0]))) == {}
    assert as_dict(neighbours(long_weight=0.0).long(np.array([0]))) == {}
    assert as_dict(neighbours(decay=0.0).short(np.array([0, 1]))) == {2: 4.0}


def test_sums_are_those_of_a_loop_over_every_pair() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 50, 3_000).astype(np.int32)
    scores = rng.integers(0, 8, 3_000).astype(np.float32)
    due: dict[int, float] = {}
    for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
        due[row] = due.get(row, 0.0) + score
    assert as_dict(summed(rows, scores)) == dict(sorted(due.items()))
    assert summed(rows[:0], scores[:0]) is NOTHING
