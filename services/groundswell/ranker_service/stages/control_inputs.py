"""Control stage: turns the controls of requests into inputs of the pipeline."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.bitmaps import FilterBitmaps
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.control_requests import AskedControls
from groundswell.ranker_service.pipeline import RankInput
from groundswell.ranker_service.requests import Ask, located
from groundswell.ranker_service.stages.page_controls import Boost, Controls, Promotion
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.query import NO_IDS
from groundswell.serving.errors import InvalidArgument, ServiceError

_MAX_EXPLORED = 1_000


async def control_masks(bitmaps: FilterBitmaps, asks: Sequence[Ask]) -> list[list[IdSet]]:
    """Return for each ask which items pass each filter of its controls, by item number.

    Raises InvalidArgument (FILTER_INVALID) and ResourceExhausted (OVERLOADED).
    """
    filters = [[] if ask.controls is None else ask.controls.filters() for ask in asks]
    if len(asks) == 1:
        return [[await _mask(bitmaps, *each, asks[0].where) for each in filters[0]]]
    texts = [text for some in filters for text, _ in some]
    found = iter(await bitmaps.allowed_by_all(texts) if texts else ())
    masks = []
    for ask, some in zip(asks, filters, strict=True):
        masks.append([_checked(next(found), path, ask.where) for _, path in some])
    return masks


async def _mask(bitmaps: FilterBitmaps, text: str, path: str, where: str) -> IdSet:
    try:
        found: IdSet | ServiceError | None = await bitmaps.allowed(text)
    except InvalidArgument as error:
        found = error
    return _checked(found, path, where)


def _checked(found: IdSet | ServiceError | None, path: str, where: str) -> IdSet:
    if isinstance(found, ServiceError):
        raise located(located(found, path), where)
    if found is None:
        raise AssertionError("a filter of a control is never empty")
    return found


def with_controls(
    ranker: BundleRanker, ask: Ask, one: RankInput, masks: Sequence[IdSet]
) -> RankInput:
    """Add the controls of an ask to its input, and what the pages before have shown.

    `masks` are those of `control_masks`. What the input excludes first is what the ask denies.
    Raises InvalidArgument (PAGE_TOKEN_INVALID) for a page of another lineage.
    """
    asked, shown = ask.controls, NO_IDS
    if ask.shown is not None:
        try:
            ask.shown.check(ranker.space.lineage)
        except InvalidArgument as error:
            raise located(error, ask.where) from error
        shown = ask.shown.item_nos
        one = replace(one, exclude=(*one.exclude, shown))
    if asked is None:
        return one
    liked, disliked = map(ranker.items.numbers, (asked.liked, asked.disliked))
    weights = [weight for _, weight in asked.boosts]
    places = [num_items for _, num_items in asked.promotions]
    numbers = {place: ranker.items.number(item_id) for place, item_id in asked.pins.items()}
    controls = Controls(
        pins={place: item_no for place, item_no in numbers.items() if item_no is not None},
        never=(one.exclude[0], disliked, shown),
        boosts=[Boost(*each) for each in zip(masks[: len(weights)], weights, strict=True)],
        promotions=[Promotion(*each) for each in zip(masks[len(weights) :], places, strict=True)],
        diversity=asked.diversity,
        max_per_category=asked.max_per_category,
        categories=ranker.columns.categories,
        min_relevance=asked.min_relevance,
        # By likes the page would not be in the order that the request asks for.
        liked=NO_IDS if ask.is_trending else liked,
        disliked=disliked,
        exploration=asked.exploration,
        explored=_explored(ranker, ask, asked),
        seed=asked.seed,
    )
    exclude = (*one.exclude, disliked, liked if ask.exclude_seen else NO_IDS)
    return replace(one, exclude=exclude, controls=controls)


def _explored(ranker: BundleRanker, ask: Ask, asked: AskedControls) -> NDArray[np.int64]:
    if not asked.exploration:
        return NO_IDS
    return ranker.columns.young(ask.as_of_us - asked.max_item_age_us, _MAX_EXPLORED, asked.seed)
