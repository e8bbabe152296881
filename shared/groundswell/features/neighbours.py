"""Weighs each event of a window, and each item of a history, for the scores of its neighbours.

The newest has age 0. The decay over the window is after Ludewig and Jannach 2018.
"""

import numpy as np
from numpy.typing import NDArray


def window_weights(ages: NDArray[np.integer], decay: float) -> NDArray[np.float64]:
    """Return [m] weights of events of a window by their ages [m]: each older one weighs `decay` of
    the next newer one."""
    weights: NDArray[np.float64] = np.asarray(decay**ages, np.float64)
    return weights


def history_weights(
    rows: NDArray[np.integer], ages: NDArray[np.integer], decay: float
) -> NDArray[np.float64]:
    """Return [m] weights of the items of many histories, those of each of Euclidean norm 1.

    `rows` [m] says which history an item belongs to, `ages` [m] how many items of that history are
    newer.
    """
    weights = window_weights(ages, decay)
    norms = np.sqrt(np.bincount(rows, weights**2))
    unit: NDArray[np.float64] = weights / norms[rows]
    return unit
