"""Accuracy and calibration of the interest head on the categories of the targets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.evaluation.bootstrap import clustered_means, difference, interval
from groundswell.trainer.evaluation.opened import FusedUsers
from groundswell.trainer.ranking.classification import (
    calibration,
    class_scores,
    expected_calibration_error,
)

_COLUMNS = ("accuracy", "hit_any", "most_frequent_accuracy")


def interest_figures(
    bundle: Bundle, prepared: Prepared, events: NDArray[np.int64], fused: FusedUsers
) -> dict[str, Any] | None:
    """Hold the likeliest category of each fused vector against those of the target [n].

    Targets without a category, and users of whom nothing was known, do not count. A category that
    the bundle does not know is never right. The answer to beat is the category that is the most
    frequent among these very targets, which none could know. None without categories.
    """
    head = bundle.interest_head()
    items = prepared.items[events]
    counted = (prepared.item_category[items] >= 0) & fused.known
    if head is None or not counted.any():
        return None
    items, events = items[counted], events[counted]
    number = {name: c for c, name in enumerate(bundle.manifest.categories)}
    known = np.array([number.get(name, -1) for name in prepared.categories], np.int64)
    actual = known[prepared.item_category[items]]
    probabilities = head.run(vectors=fused.vectors[counted])
    predicted = probabilities.argmax(axis=1)
    right = predicted == actual
    frequent = np.bincount(actual + 1).argmax() - 1
    columns = np.stack([right, _is_any(bundle, prepared, items, predicted), actual == frequent])
    whole = np.ones((1, len(events)), bool)
    means = clustered_means(columns.T.astype(np.float64), prepared.users[events], whole)
    bins = calibration(probabilities.max(axis=1), right)
    names = ("unknown to the bundle", *bundle.manifest.categories)
    return {
        "targets": len(events),
        **dict(zip(_COLUMNS, means.observed[0].tolist(), strict=True)),
        **class_scores(actual, predicted)._asdict(),
        "ece": expected_calibration_error(bins),
        "most_frequent": names[frequent + 1],
        "ci95": {
            name: interval(means.resampled[:, 0, column]) for column, name in enumerate(_COLUMNS)
        },
        "gain": difference(means, 0, 0, 2)._asdict(),
        "reliability": [one._asdict() for one in bins],
    }


def _is_any(
    bundle: Bundle, prepared: Prepared, items: NDArray[np.int32], predicted: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say whether the predicted category is among those of the item: [n] each."""
    different, place = np.unique(items, return_inverse=True)
    number = {name: c for c, name in enumerate(bundle.manifest.categories)}
    of_item = np.zeros((len(different), len(number)), bool)
    for row, names in enumerate(prepared.item_table["categories"].gather(different)):
        of_item[row, [number[name] for name in names if name in number]] = True
    found: NDArray[np.bool_] = of_item[place, predicted]
    return found
