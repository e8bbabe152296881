"""Scores of an index's items: exact inner products, and what is added to some of them.

Shapes: n positions of the index, P parts of a query, T positions that something is added to.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.item_rows import ItemRows
from groundswell.retrieval.neighbours import grouped
from groundswell.retrieval.query import Query


class AddedScores(NamedTuple):
    """What is added to the scores of some positions; all others get 0."""

    places: NDArray[np.int64]
    """[T] ascending."""
    parts: NDArray[np.float64]
    """[P, T] at least 0, and more than 0 in one part at least."""

    @classmethod
    def of(cls, rows: ItemRows, query: Query) -> "AddedScores":
        """Find the positions that pass of the ids that a query adds scores to."""
        added = query.added
        places, values = [], []
        for one in added:
            found = rows.find(one.rows)
            counts = np.flatnonzero((found >= 0) & (one.scores > 0))
            counts = counts[rows.passing(found[counts], query.exclude, query.allowed)]
            places.append(found[counts])
            values.append(one.scores[counts])
        every_place = np.concatenate([np.empty(0, np.int64), *places])
        if len(every_place) == 0:
            return cls(every_place, np.empty((len(added), 0)))
        order, starts = grouped(every_place)
        spots = np.empty(len(order), np.int64)
        spots[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
        parts = np.zeros((len(added), len(starts)))
        ends = np.cumsum([len(found) for found in places])
        for part, of_part in enumerate(np.split(spots, ends[:-1])):
            parts[part][of_part] = values[part]
        return cls(every_place[order[starts]], parts)

    def of_places(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what is added to the scores of positions [k]: [k, P]."""
        if len(self.places) == 0:
            return np.zeros((len(places), len(self.parts)))
        spots = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
        return np.where(self.places[spots] == places, self.parts[:, spots], 0.0).T


def contenders(
    rows: ItemRows,
    vector: NDArray[np.float32],
    k: int,
    found: NDArray[np.int64],
    added: AddedScores,
    slack: float,
) -> NDArray[np.int64]:
    """Return positions among which the best k by inner product and added score together lie.

    `found` [m], m ≥ k, has the best k by inner product with `vector` [d] alone; so, what is added
    being at least 0, only items that something is added to can be missing. `slack` is how far two
    float32 inner products may be from the order of the exact ones.
    """
    totals = added.parts.sum(0)
    strongest = np.argpartition(totals, -k)[-k:] if k < len(totals) else np.arange(len(totals))
    near = np.union1d(found, added.places[strongest])
    products = (rows.vectors(near) @ vector).astype(np.float64)
    added_near = added.of_places(near).sum(1)
    bar = np.partition(products + added_near, -k)[-k]
    slack += 2 * float(np.finfo(np.float32).eps) * abs(bar)
    # No inner product is above the best one, so what is added rules most items out by itself: to
    # gather the vectors of all of them would cost more than the search.
    hopeful = np.flatnonzero(totals >= bar - products.max() - slack)
    places = added.places[hopeful]
    close = rows.vectors(places) @ vector + totals[hopeful] >= bar - slack
    return np.union1d(near, places[close])


def part_scores(
    rows: ItemRows, parts: NDArray[np.float32], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score positions [k] against the parts [P, d] of a query: [k, P], in double precision.

    Single precision would order equal items by the shape of the batch that they came in.
    """
    scores: NDArray[np.float64] = rows.vectors(places).astype(np.float64) @ parts.T
    return scores
