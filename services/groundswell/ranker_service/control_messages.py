"""Writes what put each item of a page at its place as messages of the contract."""

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker.v1.ranker_service_pb2 import (
    AppliedControls,
    Placement,
    RecommendationControls,
    RecommendResponse,
    VectorRanks,
)
from groundswell.ranker_service.stages.explain import Recommendations
from groundswell.ranker_service.stages.page_controls import Arranged


def say_why(response: RecommendResponse, answer: Recommendations) -> None:
    """Add to an answer what its controls did, and the ranks by vector, if they are asked for."""
    ranked, messages = answer.ranked, iter(response.recommendations)
    for row, (item, item_no) in enumerate(zip(answer.items, ranked.ids.tolist(), strict=True)):
        if item is None:  # it was deleted since the search
            continue
        message = next(messages)
        if ranked.arranged is not None:
            message.controls.CopyFrom(item_controls(ranked.arranged, row))
        if answer.by_vector is not None:
            short, long, fused = (ranks.get(item_no) for ranks in answer.by_vector.ranks)
            ranks = VectorRanks(short_rank=short, long_rank=long, fused_rank=fused)
            message.ranks.CopyFrom(ranks)
    if ranked.arranged is not None:
        response.controls.CopyFrom(_of_page(ranked.arranged, answer))


def item_controls(arranged: Arranged, row: int) -> RecommendationControls:
    """What the controls did to one item of a page."""
    return RecommendationControls(
        placement=Placement.ValueType(arranged.placements[row].value),
        relevance=arranged.relevance[row],
        boost_score=arranged.boost_scores[row],
        liked_score=arranged.liked_scores[row],
        relevance_rank=arranged.ranks[row],
        boosts=_places(arranged.boosted[:, row]),
        promotions=_places(arranged.promoted[:, row]),
    )


def _of_page(arranged: Arranged, answer: Recommendations) -> AppliedControls:
    return AppliedControls(
        seed=arranged.seed,
        score_deviation=arranged.deviation,
        num_candidates=arranged.num_candidates,
        num_below_min_relevance=arranged.num_below,
        full_categories=answer.full_categories,
        unplaced_item_ids=answer.unplaced,
    )


def _places(true: NDArray[np.bool_]) -> list[int]:
    places: list[int] = np.flatnonzero(true).tolist()
    return places
