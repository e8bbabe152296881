"""The metrics of classification and calibration, in plain numpy."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15


class ClassScores(NamedTuple):
    """Averages over classes."""

    macro_recall: float
    """Over the classes that occur; one that is only ever predicted counts with 0."""
    macro_f1: float
    """Likewise."""
    weighted_f1: float
    """Each class weighs as much as it has actual cases."""


class Bin(NamedTuple):
    """The predictions whose confidence lies within (low, high]; 0 belongs to the first bin."""

    low: float
    high: float
    predictions: int
    confidence: float
    """Mean."""
    accuracy: float


def class_scores(actual: NDArray[np.integer], predicted: NDArray[np.integer]) -> ClassScores:
    """Compare n ≥ 1 predicted classes with the actual ones, as scikit-learn does."""
    classes, both = np.unique(np.concatenate([actual, predicted]), return_inverse=True)
    truth, answer = both[: len(actual)], both[len(actual) :]
    size = len(classes)
    given, answered = np.bincount(truth, minlength=size), np.bincount(answer, minlength=size)
    right = np.bincount(truth[truth == answer], minlength=size)
    recall, f1 = right / np.maximum(given, 1), 2 * right / (given + answered)
    return ClassScores(
        float(recall.mean()), float(f1.mean()), float((f1 * given).sum() / given.sum())
    )


def calibration(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> list[Bin]:
    """Sort n predictions into bins of equal width by their confidence; empty bins are left out.

    A confidence is the probability of the predicted class, in [0, 1].
    """
    place = np.ceil(np.asarray(confidence, np.float64) * CALIBRATION_BINS).astype(np.int64) - 1
    place = np.clip(place, 0, CALIBRATION_BINS - 1)
    bins = []
    for number in np.unique(place).tolist():
        inside = place == number
        low, high = number / CALIBRATION_BINS, (number + 1) / CALIBRATION_BINS
        means = (float(values[inside].mean()) for values in (confidence, right))
        bins.append(Bin(low, high, int(inside.sum()), *means))
    return bins


def expected_calibration_error(bins: list[Bin]) -> float:
    """Average |accuracy - confidence| over the predictions (Guo et al. 2017, equation 3)."""
    total = sum(one.predictions for one in bins)
    return sum(one.predictions * abs(one.accuracy - one.confidence) for one in bins) / total
