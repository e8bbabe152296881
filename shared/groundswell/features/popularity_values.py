"""Popularity with exponential decay: each event counts half after every half-life.

An item's value is log2 Σ 2^(t / half-life) over its events at times t. It changes with new events
alone, not with time (forward decay, Cormode et al. 2009), and in logarithms it cannot overflow.
What counts is the difference of two items' values: the logarithm of the ratio of their popularity,
which is the same at any time.

Shapes: n events, m items.
"""

import math

import numpy as np
from numpy.typing import NDArray

NEVER = -np.inf
"""The value of an item without an event."""
NUM_STRONGEST = 1_000
"""At most so many items get a score by their popularity."""


def event_values(times_us: NDArray[np.int64], half_life_s: float) -> NDArray[np.float64]:
    """Return [n] what each event at a time [n] adds to its item, as a value."""
    return times_us / (half_life_s * 1e6)


def item_values(
    items: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Add up values [n] by their items [n]; return the items [m], ascending, and their values."""
    found, places = np.unique(items, return_inverse=True)
    total = np.full(len(found), NEVER)
    np.logaddexp2.at(total, places, values)
    return found, total


def relative(values: NDArray[np.float64], highest: float) -> NDArray[np.float64]:
    """Return [m] each item's popularity as a share of that of the most popular one."""
    return np.exp2(values - highest)


def strongest(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the places of the most popular items among [m], NUM_STRONGEST at most, and what each
    adds to a score, before its weight.

    It is the natural logarithm of how many times as popular an item is as the last of them; so it
    is 0 for the last one, as it is for all that are not among them.
    """
    counted = np.flatnonzero(values > NEVER)
    if len(counted) > NUM_STRONGEST:
        best = np.argpartition(values[counted], -NUM_STRONGEST)[-NUM_STRONGEST:]
        counted = np.sort(counted[best])
    found = values[counted]
    return counted, math.log(2) * (found - found.min(initial=np.inf))
