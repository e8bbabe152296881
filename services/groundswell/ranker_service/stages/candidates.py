"""Candidate stage of a page with controls: the best items, and the best of each kind it asks for.

Shapes: P candidates, Q promotions, parts of a score as in `retrieval.item_index`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.stages.page_controls import Controls, ScoreSpread
from groundswell.ranker_service.stages.retrieve import NO_HITS, PopularItems, Retrieval
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.query import Hits, Query

_DEPTH, _LEAST_DEPTH = 5, 100


@dataclass(frozen=True)
class UserSearch:
    """Finds the best items of one user."""

    retrieval: Retrieval
    query: Query
    """What is searched with; for a user of whom nothing is known, only its limits count."""
    popular: PopularItems | None
    """For a user of whom nothing is known; else None."""
    spread: ScoreSpread
    num_parts: int = 2
    """The parts of a score without that of likes."""

    def best(
        self,
        k: int,
        within: IdSet | None = None,
        exclude: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Return the best k items of those in `within`, None: of all.

        `exclude` replaces what the query excludes.
        """
        if k < 1:
            return NO_HITS
        allowed = both_sets(self.query.allowed, within)
        left_out = self.query.exclude if exclude is None else exclude
        if self.popular is not None:
            return self.popular.best(self.retrieval, k, left_out, allowed)
        query = self.query._replace(k=k, exclude=left_out, allowed=allowed)
        return self.retrieval.search([query])[0]


@dataclass(frozen=True)
class Pool:
    """The candidates of a page, the highest score with boosts first; of equal ones the lower id."""

    ids: NDArray[np.int64]
    """[P]"""
    part_scores: NDArray[np.float64]
    """[P, parts]; of popular items zeros."""
    scores: NDArray[np.float64]
    """[P] without boosts."""
    boosts: NDArray[np.float64]
    """[P] what boosts add to the scores."""
    relevance: NDArray[np.float64]
    """[P] the scores in standard deviations above the mean."""
    ranks: NDArray[np.int64]
    """[P] by score, from 1; 0 for an item that only a control brought in."""
    boosted: NDArray[np.bool_]
    """[boosts, P]"""
    promoted: NDArray[np.bool_]
    """[Q, P]"""
    explored: NDArray[np.bool_]
    """[P] True where an item may be explored."""
    categories: NDArray[np.int32]
    """[P] −1 for none."""
    pins: dict[int, int]
    """The row of the pool by place, for items that can be pinned."""


@dataclass(frozen=True)
class FoundCandidates:
    """Hits of the searches of one page."""

    best: Hits
    """Without regard to any control."""
    others: Sequence[Hits]
    pinned: Hits

    @property
    def ids(self) -> NDArray[np.int64]:
        """All ids, some of them several times."""
        return np.concatenate([hits.ids for hits in (self.best, *self.others, self.pinned)])


def depth(k: int) -> int:
    """How many candidates a page of k items chooses from."""
    return max(_DEPTH * k, _LEAST_DEPTH)


def find(search: UserSearch, controls: Controls, k: int) -> FoundCandidates:
    """Search for the candidates of a page of k items."""
    wanted = depth(k)
    kinds = [boost.items for boost in controls.boosts if boost.weight > 0]
    kinds += [promotion.items for promotion in controls.promotions]
    lowered = [boost.items for boost in controls.boosts if boost.weight < 0]
    if lowered:
        kinds.append(_neither(lowered, len(controls.categories)))
    if len(controls.explored):
        kinds.append(only(controls.explored))
    pinned = np.array(list(controls.pins.values()), np.int64)
    never = np.concatenate([np.empty(0, np.int64), *controls.never])
    return FoundCandidates(
        search.best(wanted),
        [search.best(wanted, kind) for kind in kinds],
        search.best(len(pinned), only(pinned), never) if len(pinned) else NO_HITS,
    )


def find_more(
    search: UserSearch,
    found: FoundCandidates,
    controls: Controls,
    full: NDArray[np.int32],
    num_items: int,
) -> Hits:
    """Search for the best items that were not found and are of no full category.

    Of those of one category only as many as may come are kept.
    """
    left_out = np.concatenate([search.query.exclude, found.ids])
    open_ids = IdSet.of(~np.isin(controls.categories, full))
    hits = search.best(num_items, open_ids, left_out)
    categories = _categories(controls.categories, hits.ids)
    order = np.argsort(categories, kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - np.searchsorted(categories[order], categories[order])
    kept = (categories < 0) | (places < controls.max_per_category)
    return Hits(hits.ids[kept], hits.scores[kept], hits.part_scores[kept])


def with_more(found: FoundCandidates, hits: Hits) -> FoundCandidates:
    """Add hits to what was found."""
    return replace(found, others=[*found.others, hits])


def pool_of(found: FoundCandidates, controls: Controls, spread: ScoreSpread) -> Pool:
    """Bring the candidates together, each once."""
    everything = [found.best, *found.others, found.pinned]
    ids, first = np.unique(found.ids, return_index=True)
    scores = np.concatenate([hits.scores for hits in everything])[first].astype(np.float64)
    widest = max(hits.part_scores.shape[1] for hits in everything)
    parts = np.concatenate([_widened(hits.part_scores, widest) for hits in everything])[first]
    boosted = _among([boost.items for boost in controls.boosts], ids)
    weights = np.array([boost.weight for boost in controls.boosts], np.float64)
    boosts = spread.deviation * (weights @ boosted) if len(boosted) else np.zeros(len(ids))
    order = np.lexsort((ids, -(scores + boosts)))
    order = order[np.isfinite(scores[order])]  # a score that is no number gets no place
    ids = ids[order]
    rows = {int(item): row for row, item in enumerate(ids)}
    ranks = {int(item): rank for rank, item in enumerate(found.best.ids, start=1)}
    pinned = rows.keys() & found.pinned.ids.tolist()
    return Pool(
        ids=ids,
        part_scores=parts[order].astype(np.float64),
        scores=scores[order],
        boosts=boosts[order],
        relevance=(scores[order] - spread.mean) / spread.deviation,
        ranks=np.array([ranks.get(int(item), 0) for item in ids], np.int64),
        boosted=boosted[:, order],
        promoted=_among([promotion.items for promotion in controls.promotions], ids),
        explored=np.isin(ids, controls.explored),
        categories=_categories(controls.categories, ids),
        pins={place: rows[item] for place, item in controls.pins.items() if item in pinned},
    )


def only(ids: NDArray[np.int64]) -> IdSet:
    """Return the set of some ids."""
    return IdSet(np.empty(0, np.uint8)).updated(ids, np.ones(len(ids), dtype=bool))


def both_sets(one: IdSet | None, other: IdSet | None) -> IdSet | None:
    """Return the ids in both sets; None is the set of all."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _neither(kinds: Sequence[IdSet], num_ids: int) -> IdSet:
    """Return the ids of no kind, below `num_ids` or where any kind ends."""
    others = IdSet.of(np.ones(max(num_ids, *(kind.size for kind in kinds)), dtype=bool))
    for kind in kinds:
        others = others - kind
    return others


def _among(kinds: Sequence[IdSet], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return [kinds, P] True where an item is of a kind."""
    among = np.zeros((len(kinds), len(ids)), bool)
    for row, kind in zip(among, kinds, strict=True):
        row[:] = kind.has(ids)
    return among


def _categories(categories: NDArray[np.int32], ids: NDArray[np.int64]) -> NDArray[np.int32]:
    found = np.full(len(ids), -1, np.int32)
    within = ids < len(categories)
    found[within] = categories[ids[within]]
    return found


def _widened(parts: NDArray[np.float32], num_parts: int) -> NDArray[np.float32]:
    return np.pad(parts, ((0, 0), (0, num_parts - parts.shape[1])))
