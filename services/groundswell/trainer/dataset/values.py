"""Values and actions → what a model can read and weigh: normalised values, weights of actions."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.features.actions import ACTIONS, DISLIKE, NUM_ACTIONS, action_number
from groundswell.trainer.errors import DataError

_NORMAL_IQR = 1.349
_CLIP = 3.0

Scales = dict[str, dict[str, float]]
"""By the action's name: the `centre` and the `scale` of its values."""


def value_scales(
    values: NDArray[np.float64], actions: NDArray[np.int8], in_training: NDArray[np.bool_]
) -> Scales:
    """Measure the training values of each action; all [E], NaN for a missing value.

    The centre is the median, the scale the interquartile range / 1.349: the standard deviation of
    a normal distribution, and moved by no few wild values (P. J. Huber, Robust Statistics, 1981).
    Where the middle half of the values is one number, it is their mean distance from it.
    """
    scales: Scales = {}
    for number, name in enumerate(ACTIONS, start=1):
        given = values[(actions == number) & in_training]
        given = given[np.isfinite(given)]
        if len(given):
            low, centre, high = np.quantile(given, [0.25, 0.5, 0.75]).tolist()
            scale = (high - low) / _NORMAL_IQR or float(np.abs(given - centre).mean())
            scales[name] = {"centre": centre, "scale": scale}
    return scales


def normalised(
    values: NDArray[np.float64], actions: NDArray[np.int8], scales: Scales
) -> NDArray[np.float32]:
    """Normalise E values, each among those of its own action: a rating and a price share no scale.

    (value - centre) / scale, clipped to [-3, 3]. A missing value becomes 0, as the median would: it
    says nothing. So does every value of an action that has but one, or none in training.
    """
    centre, scale = np.zeros(NUM_ACTIONS), np.full(NUM_ACTIONS, np.inf)
    for name, measured in scales.items():
        number = action_number(name)
        centre[number], scale[number] = measured["centre"], measured["scale"] or np.inf
    found = np.clip((values - centre[actions]) / scale[actions], -_CLIP, _CLIP)
    return np.where(np.isnan(found), 0.0, found).astype(np.float32)


def parse_action_weights(given: Sequence[str]) -> dict[str, float]:
    """Read texts such as "view=0.5". Raises DataError for one that is none or names one twice."""
    weights: dict[str, float] = {}
    for text in given:
        name, _, number = (part.strip() for part in text.partition("="))
        name = name.lower()
        if name in weights:
            raise DataError(f"the action weight of {name} is given twice")
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise DataError(f"an action weight is ACTION=WEIGHT, not {text!r}") from error
    return weights


def action_weights(given: Mapping[str, float]) -> NDArray[np.float32]:
    """Return the weight of each action number: as given by name, else 1, and 0 for DISLIKE.

    Raises DataError for an unknown action, a weight that is negative or no number, and for one of
    DISLIKE, which is never a target.
    """
    weights = np.ones(NUM_ACTIONS, dtype=np.float32)
    weights[DISLIKE] = 0
    for name, weight in given.items():
        try:
            number = action_number(name)
        except ValueError as error:
            raise DataError(f"the weight {name}={weight}: {error}") from error
        if not 0 <= weight < np.inf:
            raise DataError(f"the weight {name}={weight} must be a number of at least 0")
        if number == DISLIKE and weight:
            raise DataError(f"the weight {name}={weight} must be 0: a dislike is never a target")
        weights[number] = weight
    return weights
