"""Explain stage of one item: why it is in a user's page, or which rule keeps it out."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from groundswell.profile.v1.profile_service_pb2 import ExplainProfileResponse
from groundswell.ranker.v1.ranker_service_pb2 import Omission
from groundswell.ranker_service.availability import now_us
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.catalogue import CatalogueItem
from groundswell.ranker_service.pipeline import RankInput
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.explain import Recommendations
from groundswell.ranker_service.stages.gather import Gathered
from groundswell.ranker_service.stages.impressions import capped_items
from groundswell.ranker_service.stages.item_ranks import ItemRanks
from groundswell.ranker_service.stages.page_controls import directions

_MAX_PULLS = 10


@dataclass(frozen=True)
class Pull:
    """What one item of a window or a history does for the explained item."""

    item: CatalogueItem
    neighbour_score: float
    similarity: float


@dataclass(frozen=True)
class ItemExplanation:
    """Why an item is in a page, or why not."""

    item: CatalogueItem
    answer: Recommendations
    """The page."""
    place: int | None
    """From 0; None outside of the page."""
    omission: Omission.ValueType
    ranks: ItemRanks | None
    """None without a vector of the item."""
    window_pulls: Sequence[Pull]
    history_pulls: Sequence[Pull]
    effects: ExplainProfileResponse | None = None
    """What the parts of the history do for it by the long-term vector, if that is known."""


async def explain_item(
    ranker: BundleRanker,
    ask: Ask,
    gathered: Gathered,
    one: RankInput,
    answer: Recommendations,
    item: CatalogueItem,
) -> ItemExplanation:
    """Explain an item of the catalogue in the light of the answer to an ask, ranked from `one`.

    Raises ResourceExhausted (OVERLOADED).
    """
    shown = answer.ranked.ids.tolist()
    place = shown.index(item.item_no) if item.item_no in shown else None
    ranks = await ranker.item_ranks(one, item.item_no)
    omission = Omission.OMISSION_UNSPECIFIED
    if place is None:
        omission = _excluded(ask, gathered, one, item, has_vector=ranks is not None)
        if not omission:
            omission = await _outranked(ranker, one, item.item_no)
    # A history may have a hundred thousand items.
    window, history = await asyncio.to_thread(_all_pulls, ranker, one, item.item_no)
    return ItemExplanation(item, answer, place, omission, ranks, window, history)


def _excluded(
    ask: Ask,
    gathered: Gathered,
    one: RankInput,
    item: CatalogueItem,
    *,
    has_vector: bool,
) -> Omission.ValueType:
    """Return the first rule of the filter stage that holds for an item; unspecified for none."""
    number, controls = item.item_no, ask.controls
    seen = gathered.long.items.seen if gathered.long and gathered.long.items else ()
    rules: list[tuple[Callable[[], bool], Omission.ValueType]] = [
        (lambda: not item.is_available(now_us()), Omission.OMISSION_UNAVAILABLE),
        (lambda: not has_vector, Omission.OMISSION_NOT_ENCODED),
        (lambda: item.item_id in ask.deny_item_ids, Omission.OMISSION_DENIED),
        (
            lambda: one.allowed is not None and not one.allowed.has(np.array([number]))[0],
            Omission.OMISSION_FILTER,
        ),
        (
            lambda: controls is not None and item.item_id in controls.disliked,
            Omission.OMISSION_DISLIKED,
        ),
        (
            lambda: controls is not None and ask.exclude_seen and item.item_id in controls.liked,
            Omission.OMISSION_LIKED,
        ),
        (lambda: ask.shown is not None and number in ask.shown.item_nos, Omission.OMISSION_SHOWN),
        (lambda: ask.exclude_seen and number in seen, Omission.OMISSION_SEEN_IN_HISTORY),
        (lambda: number in capped_items(ask, gathered), Omission.OMISSION_SHOWN_TOO_OFTEN),
        (lambda: _is_among(one.exclude, number), Omission.OMISSION_SEEN_IN_SESSION),
    ]
    return next((rule for holds, rule in rules if holds()), Omission.OMISSION_UNSPECIFIED)


async def _outranked(ranker: BundleRanker, one: RankInput, number: int) -> Omission.ValueType:
    """Return the control without which the item would be in the page; else its rank is too low."""
    controls = one.controls
    if controls is None:
        return Omission.OMISSION_RANK
    tried = {
        Omission.OMISSION_MIN_RELEVANCE: replace(controls, min_relevance=None),
        Omission.OMISSION_CATEGORY_FULL: replace(controls, max_per_category=0),
        Omission.OMISSION_DISPLACED: None,
    }
    pages = await ranker.rank([replace(one, controls=other) for other in tried.values()])
    found = (rule for rule, page in zip(tried, pages, strict=True) if number in page.ids)
    return next(found, Omission.OMISSION_RANK)


def _all_pulls(ranker: BundleRanker, one: RankInput, item_no: int) -> tuple[list[Pull], list[Pull]]:
    window, history = ranker.neighbour_shares(one, item_no)
    return (
        _pulls(ranker, item_no, one.window, window),
        _pulls(ranker, item_no, one.history, history),
    )


def _pulls(
    ranker: BundleRanker, item_no: int, item_nos: NDArray[np.int64], shares: NDArray[np.float32]
) -> list[Pull]:
    """Return those of a user's items that do most for an item, the strongest first."""
    if not len(item_nos):
        return []
    vectors = directions(ranker.index.known_vectors(np.append(item_nos, item_no)))
    cosines = vectors[:-1] @ vectors[-1]
    order = np.lexsort((-cosines, -shares))
    pulls: dict[int, Pull] = {}
    for row in order.tolist():
        known = ranker.items.get(int(item_nos[row]))
        if known is not None and known.item_no not in pulls:
            pulls[known.item_no] = Pull(known, float(shares[row]), float(cosines[row]))
        if len(pulls) == _MAX_PULLS:
            break
    return list(pulls.values())


def _is_among(arrays: Sequence[NDArray[np.int64]], number: int) -> bool:
    return any(number in ids for ids in arrays)
