"""The most probable categories of a distribution, as answers give them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.common.v1.item_pb2 import Interest

DEFAULT_INTERESTS = 20
MAX_INTERESTS = 10_000
"""More categories with the longest names would not fit into one answer."""


def top_interests(
    probabilities: NDArray[np.floating], categories: Sequence[str], limit: int
) -> list[tuple[str, float]]:
    """(category, probability) of the `limit` most probable of C categories, most probable first.

    `probabilities` is [C]. Equal probabilities are ordered by name. Not all categories are sorted.
    """
    if limit <= 0:
        return []
    places = np.arange(len(categories))
    if limit < len(categories):
        least = np.partition(probabilities, -limit)[-limit]
        places = np.flatnonzero(probabilities >= least)
    pairs = [(categories[place], float(probabilities[place])) for place in places.tolist()]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:limit]


def interest_messages(pairs: Sequence[tuple[str, float]]) -> list[Interest]:
    """The messages of (category, probability)."""
    return [Interest(category=category, probability=p) for category, p in pairs]
