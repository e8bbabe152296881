"""Impression stage: leaves out, or lowers, what a user was shown often."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.pipeline import RankInput
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.candidates import only
from groundswell.ranker_service.stages.gather import Gathered
from groundswell.ranker_service.stages.page_controls import Boost, Controls
from groundswell.retrieval.query import NO_IDS

_MAX_LEVELS = 5
"""An item that was shown more often than this is lowered as one that was shown so often."""


def capped_items(ask: Ask, gathered: Gathered) -> NDArray[np.int64]:
    """Return the items that the user was shown too often."""
    if ask.impressions is None or gathered.shown is None or not ask.impressions.max_times:
        return NO_IDS
    shown = gathered.shown
    return shown.item_nos[shown.counts >= ask.impressions.max_times]


def with_impressions(
    ranker: BundleRanker, ask: Ask, gathered: Gathered, one: RankInput
) -> RankInput:
    """Add the limits on impressions to an input.

    A penalty is a negative boost, one for each number of times, after those of the request.
    """
    if ask.impressions is None or gathered.shown is None:
        return one
    one = replace(one, exclude=(*one.exclude, capped_items(ask, gathered)))
    shown, penalty = gathered.shown, ask.impressions.penalty
    if not (penalty and one.k and len(shown.item_nos)):
        return one
    levels = np.minimum(shown.counts, _MAX_LEVELS)
    lowered = [
        Boost(only(shown.item_nos[levels == level]), -penalty * level)
        for level in range(1, _MAX_LEVELS + 1)
        if (levels == level).any()
    ]
    controls = one.controls or Controls(categories=ranker.columns.categories)
    return replace(one, controls=replace(controls, boosts=[*controls.boosts, *lowered]))
