"""Means of every metric with intervals: by model, by slice of the targets, and for pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.evaluation.bootstrap import (
    Means,
    clustered_means,
    difference,
    interval,
)
from groundswell.trainer.evaluation.metrics import BY_SLICE, COMPARED
from groundswell.trainer.evaluation.slices import LATER_POSITIONS, POSITION, Slices

ALL = "all"

Values = dict[str, dict[str, NDArray[np.float64]]]
"""By model and metric, as `metrics.metric_values` returns them."""


def model_figures(values: Values, users: NDArray[np.integer], slices: Slices) -> dict[str, Any]:
    """Average every metric of every model over all targets and, the main ones, over slices.

    In the form of the JSON: by model its metrics, "ci95" and "slices".
    """
    columns = [(model, name) for model in values for name, one in values[model].items() if one.ndim]
    everything = np.ones((1, len(users)), bool)
    means = clustered_means(_stacked(values, columns), users, everything)
    figures: dict[str, Any] = {
        model: {"ci95": {}} | {name: float(one) for name, one in found.items() if not one.ndim}
        for model, found in values.items()
    }
    for number, (model, metric) in enumerate(columns):
        figures[model][metric] = float(means.observed[0, number])
        figures[model]["ci95"][metric] = interval(means.resampled[:, 0, number])
    for model, found in _slice_figures(values, users, slices).items():
        figures[model]["slices"] = found
    return figures


def paired_figures(
    values: Values,
    users: NDArray[np.integer],
    slices: Slices,
    later: NDArray[np.bool_],
    pairs: Sequence[tuple[str, str]],
) -> list[dict[str, Any]]:
    """Compare pairs of models over all targets and over the positions in a session.

    `later` [n]: the targets of positions 2 to 10. In the form of the JSON's "paired".
    """
    groups = {ALL: np.ones(len(users), bool)}
    if POSITION in slices:
        positions = {**slices[POSITION], LATER_POSITIONS: later}
        groups |= {f"{POSITION}:{name}": inside for name, inside in positions.items()}
    groups = {name: inside for name, inside in groups.items() if inside.any()}
    columns = [(model, metric) for model in values for metric in COMPARED]
    means = clustered_means(_stacked(values, columns), users, np.stack(list(groups.values())))
    figures = []
    for a, b in pairs:
        for metric in COMPARED:
            first, second = columns.index((a, metric)), columns.index((b, metric))
            for number, name in enumerate(groups):
                found = difference(means, number, first, second)
                figures.append({"a": a, "b": b, "metric": metric, "slice": name} | found._asdict())
    return figures


def _slice_figures(
    values: Values, users: NDArray[np.integer], slices: Slices
) -> dict[str, dict[str, dict[str, Any]]]:
    """By model, kind and name: targets, the main metrics and "ci95"."""
    names = [(kind, name) for kind, parts in slices.items() for name in parts]
    columns = [(model, metric) for model in values for metric in BY_SLICE]
    masks = np.stack([slices[kind][name] for kind, name in names])
    means = clustered_means(_stacked(values, columns), users, masks)
    return {
        model: {
            kind: {
                name: _one_slice(means, columns, model, names.index((kind, name)), masks)
                for name in parts
            }
            for kind, parts in slices.items()
        }
        for model in values
    }


def _one_slice(
    means: Means,
    columns: Sequence[tuple[str, str]],
    model: str,
    group: int,
    masks: NDArray[np.bool_],
) -> dict[str, Any]:
    figures: dict[str, Any] = {"targets": int(masks[group].sum())}
    intervals = {}
    for metric in BY_SLICE:
        column = columns.index((model, metric))
        figures[metric] = float(means.observed[group, column])
        intervals[metric] = interval(means.resampled[:, group, column])
    return figures | {"ci95": intervals}


def _stacked(values: Values, columns: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    return np.stack([values[model][metric] for model, metric in columns], axis=1)
