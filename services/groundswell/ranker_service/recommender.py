"""Recommends to users: gather and filter at once → rank (see `pipeline`) → explain."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from groundswell.features.gate import GateFeatures, seconds_since
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.pipeline import RankInput
from groundswell.ranker_service.replicas import BundleNotHeldError, BundleSpace
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.explain import Recommendations, explain
from groundswell.ranker_service.stages.filter import Exclusions, allowed_items
from groundswell.ranker_service.stages.gather import Gather, Gathered
from groundswell.retrieval.item_index import NO_IDS
from groundswell.serving.slices import Slices
from groundswell.serving.telemetry import count
from groundswell.serving.together import both


class Recommender:
    """Recommends to one user or to many, with the rankers that the caller gives."""

    def __init__(self, gather: Gather, exclusions: Exclusions) -> None:
        self._gather = gather
        self._exclusions = exclusions
        self._slices = Slices()

    async def recommend(
        self, rankers: Sequence[BundleRanker], asks: Sequence[Ask], gather_s: float
    ) -> list[Recommendations]:
        """Recommend for each ask, in their order; wait for other services for at most `gather_s`.

        The first ranker ranks. A later one ranks only when a service does not hold the bundles of
        those before it, as happens around a swap. One ranker ranks for all asks: vectors of two
        bundles are never mixed.

        Raises InvalidArgument (FILTER_INVALID, and what is wrong with inline events), NotFound
        (ITEM_NOT_FOUND) and ResourceExhausted (OVERLOADED).
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + gather_s
        for ranker in rankers if len(rankers) > 1 else ():
            space = replace(ranker.space, has_substitute=True)
            try:
                return await self._recommend(ranker, space, asks, deadline - loop.time())
            except BundleNotHeldError:
                count("bundles_substituted")
        # Both services hold no bundle in common: the first one ranks with what there is.
        ranker = rankers[0]
        return await self._recommend(ranker, ranker.space, asks, max(deadline - loop.time(), 0.0))

    async def _recommend(
        self, ranker: BundleRanker, space: BundleSpace, asks: Sequence[Ask], gather_s: float
    ) -> list[Recommendations]:
        gathered, allowed = await both(
            self._gather(asks, space, gather_s), allowed_items(ranker.filters, asks)
        )

        def rank_input(b: int) -> RankInput:
            return self._rank_input(ranker, asks[b], gathered[b], allowed[b])

        if len(asks) == 1:
            # It does not wait for the slices of a batch.
            [ranked] = await ranker.rank([rank_input(0)])
            return [explain(ranker, asks[0], gathered[0], ranked)]
        all_ranked = await ranker.rank(await self._slices.map(rank_input, range(len(asks))))
        return await self._slices.map(
            lambda b: explain(ranker, asks[b], gathered[b], all_ranked[b]), range(len(asks))
        )

    def _rank_input(
        self,
        ranker: BundleRanker,
        ask: Ask,
        gathered: Gathered,
        allowed: NDArray[np.bool_] | None,
    ) -> RankInput:
        short, long = gathered.short, gathered.long
        items = None if long is None else long.items
        return RankInput(
            k=ask.k,
            short_vector=None if short is None else short.vector,
            long_vector=None if long is None else long.vector,
            window=NO_IDS if short is None else short.window,
            history=NO_IDS if items is None else items.history,
            gate_features=GateFeatures(
                seconds_since(
                    ask.as_of_us,
                    None if short is None else short.last_event_us,
                    use_time=ranker.manifest.use_time,
                ),
                session_length=0 if short is None else short.num_session_events,
                history_length=0 if long is None else long.num_events,
            ),
            fusion_weight=ask.fusion_weight,
            exclude=self._exclusions.of(ranker.items, ask, gathered),
            allowed=allowed,
        )
