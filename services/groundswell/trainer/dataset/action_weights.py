"""The weight of each action as a target of training."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.features.actions import DISLIKE, NUM_ACTIONS, action_number
from groundswell.trainer.errors import DataError


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
