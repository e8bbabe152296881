"""Picks the users that the demo shows, and a category that one of them hardly knows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import Prepared

MIN_EVENTS = 20

_NUM_NEW_EVENTS = 3
# Only such a category has enough events and items to recommend from.
_MIN_SHARE = 0.02
_MIN_ITEMS = 20


class OtherTaste(NamedTuple):
    """A category with few events of a user, and its most popular items that are new to the user."""

    category: str
    items: list[int]
    """Rows of the item table."""


def pick_people(prepared: Prepared) -> list[int]:
    """One user with a short, a medium and a long history, each with another preferred category.

    It is the category that is most over-represented in their events.
    """
    shares_UC, overall_C = _shares(prepared)
    apart_UC = shares_UC * np.log(np.maximum(shares_UC, 1e-9) / np.maximum(overall_C, 1e-9))
    apart_UC[:, ~_is_taste(prepared, overall_C)] = -np.inf
    lengths_U = np.diff(prepared.offsets)
    regular = np.flatnonzero(lengths_U >= min(MIN_EVENTS, int(lengths_U.max())))
    by_length = regular[np.argsort(lengths_U[regular], kind="stable")]
    people: list[int] = []
    for band in np.array_split(by_length, 3):
        if len(band) == 0:
            continue
        place, category = np.unravel_index(np.argmax(apart_UC[band]), apart_UC[band].shape)
        people.append(int(band[place]))
        apart_UC[:, category] = -np.inf
    return people


def other_taste(prepared: Prepared, user: int) -> OtherTaste:
    """The category that is rarest in the user's events, and its most popular new items."""
    shares_UC, overall_C = _shares(prepared)
    lack_C = shares_UC[user] / np.maximum(overall_C, 1e-9)
    lack_C[~_is_taste(prepared, overall_C)] = np.inf
    category = int(np.argmin(lack_C))
    own = prepared.items[prepared.offsets[user] : prepared.offsets[user + 1]]
    counts_N = np.bincount(prepared.items, minlength=prepared.num_items)
    fitting = np.flatnonzero(prepared.item_category == category)
    unknown = fitting[~np.isin(fitting, own)]
    best = unknown[np.argsort(-counts_N[unknown], kind="stable")][:_NUM_NEW_EVENTS]
    return OtherTaste(prepared.categories[category], [int(row) for row in best])


def _shares(prepared: Prepared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The categories' shares of each user's events, and of all events."""
    category_E = prepared.item_category[prepared.items]
    known = category_E >= 0
    counts_UC = np.zeros((prepared.num_users, len(prepared.categories)))
    np.add.at(counts_UC, (prepared.users[known], category_E[known]), 1)
    totals_U1 = np.maximum(counts_UC.sum(1, keepdims=True), 1)
    return counts_UC / totals_U1, counts_UC.sum(0) / max(1.0, counts_UC.sum())


def _is_taste(prepared: Prepared, overall_C: NDArray[np.float64]) -> NDArray[np.bool_]:
    categories = prepared.item_category[prepared.item_category >= 0]
    num_items_C = np.bincount(categories, minlength=len(prepared.categories))
    enough = (overall_C >= _MIN_SHARE) & (num_items_C >= _MIN_ITEMS)
    return enough if enough.any() else np.ones_like(enough)
