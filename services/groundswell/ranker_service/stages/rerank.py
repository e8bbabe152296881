"""Rerank stage: arranges a page by the controls of its request.

A page without controls never comes here: it is what the search found.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.stages.candidates import (
    Pool,
    UserSearch,
    depth,
    find,
    find_more,
    pool_of,
    with_more,
)
from groundswell.ranker_service.stages.page_controls import (
    Arranged,
    Controls,
    Placement,
    directions,
)
from groundswell.retrieval.query import Hits

_MAX_ROUNDS = 8
"""The places of one page are filled so many times at most, each time from twice as many more."""


class ArrangedPage(NamedTuple):
    """An arranged page."""

    hits: Hits
    """In the order of the page; scores with boosts."""
    arranged: Arranged


def rerank(search: UserSearch, controls: Controls, k: int) -> ArrangedPage:
    """Arrange the page of k items of one user.

    A page that is short because categories are full gets candidates of the others, at most
    `_MAX_ROUNDS` - 1 times.
    """
    found = find(search, controls, k)
    for n in range(_MAX_ROUNDS):
        pool = pool_of(found, controls, search.spread)
        filling = _Filling(pool, controls, k, search)
        filling.fill()
        if len(filling.rows) == k or not len(filling.full):
            break
        more = find_more(search, found, controls, filling.full, depth(k) << n)
        if not len(more.ids):
            break
        found = with_more(found, more)
    return _page(pool, filling, controls, search)


class _Filling:
    """Fills the places of one page from the first on."""

    def __init__(self, pool: Pool, controls: Controls, k: int, search: UserSearch) -> None:
        self.rows: list[int] = []
        self.placements: list[Placement] = []
        self._pool, self._controls, self._k = pool, controls, k
        pinned = list(pool.pins.values())
        least = -np.inf if controls.min_relevance is None else controls.min_relevance
        self._below = pool.relevance < least
        self._below[pinned] = False
        self._free = ~self._below
        self._free[pinned] = False
        # The first counts items without a category, which are not limited.
        self._counts = np.zeros(int(pool.categories.max(initial=-1)) + 2, np.int64)
        for row in pinned:
            self._count(row)
        self._num_promoted = pool.promoted[:, pinned].sum(1)
        self._due = np.array([promotion.num_items for promotion in controls.promotions], np.int64)
        rng = np.random.default_rng(controls.seed)
        self._draws = rng.random(k) if controls.exploration else np.ones(k)
        self._drawn = pool.relevance + rng.gumbel(size=len(pool.ids))
        self._set_values(search, pinned)

    @property
    def num_below(self) -> int:
        """The number of candidates that the minimum relevance removed."""
        return int(self._below.sum())

    @property
    def full(self) -> NDArray[np.int32]:
        """The categories that no more items may come from."""
        most = self._controls.max_per_category
        full = np.flatnonzero(self._counts[1:] >= most) if most else np.empty(0)
        return full.astype(np.int32)

    def fill(self) -> None:
        """Choose the items; a place for which there is none left stays out."""
        for place in range(self._k):
            chosen = self._choose(place)
            if chosen is not None:
                self._put(*chosen)

    def _choose(self, place: int) -> tuple[int, Placement] | None:
        pinned = self._pool.pins.get(place)
        if pinned is not None:
            return pinned, Placement.PINNED
        if not self._free.any():
            return None
        best = self._best(self._values, self._free)
        lacking = np.maximum(self._due - self._num_promoted, 0)
        num_left = self._num_left(place)
        if lacking.any() and lacking.sum() >= num_left:
            needed = self._needed(lacking)
            if needed and len(needed) >= num_left:
                row = needed[0]
                return row, Placement.RELEVANCE if row == best else Placement.PROMOTED
        if self._draws[place] < self._controls.exploration:
            young = self._free & self._pool.explored
            if young.any():
                return self._best(self._drawn, young), Placement.EXPLORED
        return best, Placement.RELEVANCE

    def _needed(self, lacking: NDArray[np.int64]) -> list[int]:
        """Return the best rows that give promotions the items they lack, as far as there are any.

        An item of several promotions counts for each; a category gets no more than it may.
        """
        rows = np.flatnonzero(self._free & self._pool.promoted[lacking > 0].any(0))
        rows = rows[np.argsort(-self._values[rows], kind="stable")]
        categories, most = self._pool.categories[rows], self._controls.max_per_category
        counts = self._counts.copy()
        taken = np.zeros(len(rows), bool)
        for promoted, number in zip(self._pool.promoted[:, rows], lacking, strict=True):
            num_more = max(int(number - (promoted & taken).sum()), 0)
            for n in np.flatnonzero(promoted & ~taken):
                if not num_more:
                    break
                if most and categories[n] >= 0 and counts[categories[n] + 1] >= most:
                    continue
                counts[categories[n] + 1] += 1
                taken[n] = True
                num_more -= 1
        return [int(row) for row in rows[taken]]

    def _num_left(self, place: int) -> int:
        """Return how many places from one on are not pinned."""
        return sum(later not in self._pool.pins for later in range(place, self._k))

    def _put(self, row: int, placement: Placement) -> None:
        self.rows.append(row)
        self.placements.append(placement)
        if placement is Placement.PINNED:
            return  # it was counted before the first place was filled
        self._free[row] = False
        self._num_promoted = self._num_promoted + self._pool.promoted[:, row]
        self._count(row)
        self._move_away(row)

    def _count(self, row: int) -> None:
        """Count an item for its category; close the category when it is full."""
        category, most = self._pool.categories[row], self._controls.max_per_category
        self._counts[category + 1] += 1
        if most and category >= 0 and self._counts[category + 1] >= most:
            self._free &= self._pool.categories != category

    def _set_values(self, search: UserSearch, pinned: list[int]) -> None:
        """Set what the next item is the largest of: scores, and with diversity their balance."""
        scores, diversity = self._pool.scores + self._pool.boosts, self._controls.diversity
        if not diversity:
            self._values = scores
            return
        vectors = search.retrieval.known_vectors(self._pool.ids)
        self._directions = directions(vectors).astype(np.float32)
        among = scores[self._free] if self._free.any() else np.zeros(1)
        low, high = among.min(), among.max()
        self._shares = (scores - low) / ((high - low) or 1.0)
        self._nearest = np.full(len(scores), -1.0)
        self._values = (1 - diversity) * self._shares + diversity
        for row in pinned:
            self._move_away(row)

    def _move_away(self, row: int) -> None:
        diversity = self._controls.diversity
        if diversity:
            self._nearest = np.maximum(self._nearest, self._directions @ self._directions[row])
            self._values = (1 - diversity) * self._shares - diversity * self._nearest

    @staticmethod
    def _best(values: NDArray[np.float64], among: NDArray[np.bool_]) -> int:
        """Return the first row of the largest value."""
        return int(np.argmax(np.where(among, values, -np.inf)))


def _page(pool: Pool, filling: _Filling, controls: Controls, search: UserSearch) -> ArrangedPage:
    rows = np.array(filling.rows, np.int64)
    parts = pool.part_scores[rows]
    scores = pool.scores[rows] + pool.boosts[rows]
    return ArrangedPage(
        Hits(pool.ids[rows], scores.astype(np.float32), parts.astype(np.float32)),
        Arranged(
            placements=filling.placements,
            relevance=pool.relevance[rows],
            boost_scores=pool.boosts[rows],
            liked_scores=parts[:, search.num_parts :].sum(1),
            ranks=pool.ranks[rows],
            boosted=pool.boosted[:, rows],
            promoted=pool.promoted[:, rows],
            deviation=search.spread.deviation,
            num_candidates=len(pool.ids),
            num_below=filling.num_below,
            full_categories=filling.full,
            seed=controls.seed if controls.exploration else 0,
        ),
    )
