"""The metrics of classification agree with scikit-learn and with their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from groundswell.trainer.ranking.classification import (
    CALIBRATION_BINS,
    calibration,
    class_scores,
    expected_calibration_error,
)

labels = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=1, max_size=40)
answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(labels)
@settings(max_examples=40, deadline=None)
def test_scores_of_classes_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    actual, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    found = class_scores(actual, predicted)
    for ours, theirs, average in (
        (found.macro_recall, recall_score, "macro"),
        (found.macro_f1, f1_score, "macro"),
        (found.weighted_f1, f1_score, "weighted"),
    ):
        due = theirs(actual, predicted, average=average, zero_division=0)
        assert ours == pytest.approx(due), average


def test_always_answering_the_largest_class_has_a_low_macro_score() -> None:
    found = class_scores(np.array([0] * 8 + [1, 2]), np.zeros(10, dtype=np.int64))
    assert found.macro_recall == pytest.approx(1 / 3)
    assert found.macro_f1 == pytest.approx((2 * 8 / 18) / 3)
    assert found.weighted_f1 == pytest.approx(0.8 * 2 * 8 / 18)


@given(answers)
def test_the_calibration_error_is_the_weighted_gap_of_fifteen_equal_bins(
    pairs: list[tuple[float, bool]],
) -> None:
    confidence, right = (np.array(column) for column in zip(*pairs, strict=True))
    bins = calibration(confidence, right)
    assert sum(one.predictions for one in bins) == len(pairs)
    total = 0.0
    for number in range(CALIBRATION_BINS):
        low, high = number / CALIBRATION_BINS, (number + 1) / CALIBRATION_BINS
        inside = [(c, r) for c, r in pairs if low < c <= high or (number == 0 and c == 0)]
        total += abs(sum(r for _, r in inside) - sum(c for c, _ in inside))
    assert expected_calibration_error(bins) == pytest.approx(total / len(pairs), abs=1e-9)


def test_a_head_that_is_as_sure_as_it_is_right_has_no_error() -> None:
    confidence = np.repeat([0.25, 0.75], 400)
    right = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    assert expected_calibration_error(calibration(confidence, right)) == pytest.approx(0)
    sure = expected_calibration_error(calibration(np.ones(800), right))
    assert sure == pytest.approx(0.5)
