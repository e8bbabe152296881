"""Scores every item of a small index, which is cheaper than to find out which ones need it."""

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.candidates import rounding
from groundswell.retrieval.item_rows import ItemRows
from groundswell.retrieval.query import NO_IDS, Query

SCANNED_UP_TO = 16_384
"""The most positions that are scored whole when an index serves. With neighbour scores that takes
0.28 times as long as the engine at 1,700, 0.42 at 16,384 and 0.7 at 50,000; without, 0.66, 1.08 and
1.24 times."""

_EPSILON = float(np.finfo(np.float32).eps)


def scan(rows: ItemRows, query: Query) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return positions [m] among which the best k items lie, and the scores [m, P] of their parts.

    The scores have what is added to them, and are in double precision.
    """
    places = rows.all_passing(NO_IDS, query.allowed)
    if len(query.exclude):
        found = rows.find(query.exclude)
        is_excluded = np.zeros(rows.num_positions, dtype=bool)
        is_excluded[found[found >= 0]] = True
        places = places[~is_excluded[places]]
    added = np.zeros((len(query.parts), rows.num_positions))
    for part, one in zip(added, query.added, strict=False):
        found = rows.find(one.rows)
        is_there = found >= 0
        part[found[is_there]] = one.scores[is_there]
    if len(places) > query.k:
        vector = query.vector
        products = np.concatenate([rows.main @ vector, rows.delta @ vector])
        totals = (products + added.sum(0))[places]
        bar = np.partition(totals, -query.k)[-query.k]
        places = places[totals >= bar - rounding(rows, vector) - 2 * _EPSILON * abs(bar)]
    parts = rows.vectors(places).astype(np.float64) @ query.parts.T.astype(np.float64)
    return places, parts + added[:, places].T
