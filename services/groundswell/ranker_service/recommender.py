"""Recommends to users: gather and filter at once → rank (see `pipeline`) → explain."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from groundswell.features.gate import GateFeatures, seconds_since
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.pipeline import RankInput
from groundswell.ranker_service.replicas import BundleNotHeldError, BundleSpace
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.by_vector import ByVector, ranked_by_vector
from groundswell.ranker_service.stages.categories import CategoryPage, category_pages
from groundswell.ranker_service.stages.control_inputs import (
    control_masks,
    with_controls,
)
from groundswell.ranker_service.stages.explain import Recommendations, explain
from groundswell.ranker_service.stages.explain_item import ItemExplanation, explain_item
from groundswell.ranker_service.stages.filter import Exclusions, allowed_items
from groundswell.ranker_service.stages.gather import Gather, Gathered
from groundswell.ranker_service.stages.impressions import with_impressions
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.query import NO_IDS
from groundswell.serving.errors import FailedPrecondition
from groundswell.serving.slices import Slices
from groundswell.serving.telemetry import count
from groundswell.serving.together import both
from groundswell.serving.tracing import stage

T = TypeVar("T")
MANY_INTERESTS = 1_000
"""To sort or write more would hold the event loop for several milliseconds."""


class Recommender:
    """Recommends to one user or to many, with the rankers that the caller gives."""

    def __init__(self, gather: Gather, exclusions: Exclusions) -> None:
        self._gather = gather
        self._exclusions = exclusions
        self._slices = Slices()

    @property
    def upstream_is_down(self) -> bool:
        """Whether a service is taken for down, so that answers lack what it would give."""
        return self._gather.is_down

    async def recommend(
        self, rankers: Sequence[BundleRanker], asks: Sequence[Ask], gather_s: float
    ) -> list[Recommendations]:
        """Recommend for each ask, in their order; wait for other services for at most `gather_s`.

        The first ranker ranks. A later one ranks only when a service does not hold the bundles of
        those before it, as happens around a swap. One ranker ranks for all asks: vectors of two
        bundles are never mixed.

        All asks name the same bundle, or none does.

        Raises InvalidArgument (FILTER_INVALID, and what is wrong with inline events), NotFound
        (ITEM_NOT_FOUND), FailedPrecondition (BUNDLE_NOT_LOADED) and ResourceExhausted (OVERLOADED).
        """
        work = partial(self._recommend, asks)
        return await self._with_one(rankers, gather_s, work, bool(asks[0].bundle_id))

    async def explain_item(
        self,
        rankers: Sequence[BundleRanker],
        ask: Ask,
        item_id: str,
        gather_s: float,
        effects_s: float,
    ) -> ItemExplanation:
        """Explain why the answer to an ask has an item, or why not; see `recommend`.

        What the parts of the history do for the item is waited for for at most `effects_s`. Raises
        NotFound (ITEM_NOT_FOUND) for the item too.
        """
        work = partial(self._explain_item, ask, item_id, effects_s)
        return await self._with_one(rankers, gather_s, work, bool(ask.bundle_id))

    async def categories(
        self, rankers: Sequence[BundleRanker], ask: Ask, number: int, gather_s: float
    ) -> list[CategoryPage]:
        """Recommend a page of each of the most probable categories; see `recommend`."""
        work = partial(self._categories, ask, number)
        return await self._with_one(rankers, gather_s, work, bool(ask.bundle_id))

    async def _with_one(
        self,
        rankers: Sequence[BundleRanker],
        gather_s: float,
        work: Callable[[BundleRanker, BundleSpace, float], Awaitable[T]],
        is_named: bool,
    ) -> T:
        """Work with the first ranker whose bundle both services hold.

        Raises FailedPrecondition (BUNDLE_NOT_LOADED) where the request names the bundle, and a
        service lacks it.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + gather_s
        for ranker in rankers if is_named or len(rankers) > 1 else ():
            space = replace(ranker.space, has_substitute=True)
            try:
                return await work(ranker, space, deadline - loop.time())
            except BundleNotHeldError as error:
                if is_named:
                    message = "a service has not loaded the bundle that the request names"
                    raise FailedPrecondition(
                        "BUNDLE_NOT_LOADED", message, field="bundle_id"
                    ) from error
                count("bundles_substituted")
        # Both services hold no bundle in common: the first one ranks with what there is.
        ranker = rankers[0]
        return await work(ranker, ranker.space, max(deadline - loop.time(), 0.0))

    async def _recommend(
        self, asks: Sequence[Ask], ranker: BundleRanker, space: BundleSpace, gather_s: float
    ) -> list[Recommendations]:
        gathered, inputs = await self._prepared(asks, ranker, space, gather_s)
        ranked = await ranker.rank(inputs)
        by_vector: Sequence[ByVector | None] = [None] * len(asks)
        if any(ask.by_vector for ask in asks):
            by_vector = await ranked_by_vector(ranker, asks, inputs)

        def explained(b: int) -> Recommendations:
            answer = explain(ranker, asks[b], gathered[b], ranked[b], by_vector[b])
            is_odd = not answer.items and _should_have_items(ranker, asks[b], inputs[b])
            return replace(answer, is_oddly_empty=True) if is_odd else answer

        if len(asks) == 1:
            is_long = asks[0].num_interests > MANY_INTERESTS
            with stage("explain"):
                return [await asyncio.to_thread(explained, 0) if is_long else explained(0)]
        with stage("explain"):
            return await self._slices.map(explained, range(len(asks)))

    async def _explain_item(
        self,
        ask: Ask,
        item_id: str,
        effects_s: float,
        ranker: BundleRanker,
        space: BundleSpace,
        gather_s: float,
    ) -> ItemExplanation:
        item = ranker.items.of_id(item_id)
        [gathered], [one] = await self._prepared([ask], ranker, space, gather_s)
        [ranked] = await ranker.rank([one])
        answer = explain(ranker, ask, gathered, ranked)
        vector = ranker.index.vector(item.item_no)
        found, effects = await both(
            explain_item(ranker, ask, gathered, one, answer, item),
            self._gather.effects(ask, space, vector, effects_s),
        )
        return replace(found, effects=effects)

    async def _categories(
        self, ask: Ask, number: int, ranker: BundleRanker, space: BundleSpace, gather_s: float
    ) -> list[CategoryPage]:
        [gathered], [one] = await self._prepared([ask], ranker, space, gather_s)
        return await category_pages(ranker, ask, gathered, one, number)

    async def _prepared(
        self, asks: Sequence[Ask], ranker: BundleRanker, space: BundleSpace, gather_s: float
    ) -> tuple[list[Gathered], list[RankInput]]:
        """Gather, and find what limits each ask; return the inputs of the pipeline."""
        allowed: Sequence[IdSet | None]
        if any(ask.filter for ask in asks):
            with stage("gather"):
                gathered, allowed = await both(
                    self._gather(asks, space, gather_s), allowed_items(ranker.filters, asks)
                )
        else:
            with stage("gather"):
                gathered = await self._gather(asks, space, gather_s)
            allowed = [None] * len(asks)
        masks: list[list[IdSet]] | None = None
        if any(ask.controls is not None or ask.shown is not None for ask in asks):
            masks = await control_masks(ranker.filters, asks)

        def rank_input(b: int) -> RankInput:
            one = self._rank_input(ranker, asks[b], gathered[b], allowed[b])
            if masks is not None:
                one = with_controls(ranker, asks[b], one, masks[b])
            return with_impressions(ranker, asks[b], gathered[b], one)

        if len(asks) == 1:
            # It does not wait for the slices of a batch.
            return gathered, [rank_input(0)]
        return gathered, await self._slices.map(rank_input, range(len(asks)))

    def _rank_input(
        self,
        ranker: BundleRanker,
        ask: Ask,
        gathered: Gathered,
        allowed: IdSet | None,
    ) -> RankInput:
        short, long = gathered.short, gathered.long
        items = None if long is None else long.items
        # Without a vector the pipeline returns what is popular.
        return RankInput(
            k=ask.k,
            short_vector=None if short is None or ask.is_trending else short.vector,
            long_vector=None if long is None or ask.is_trending else long.vector,
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


def _should_have_items(ranker: BundleRanker, ask: Ask, one: RankInput) -> bool:
    """Whether something is left for a list after what the request and the user's past take away.

    A bundle without any item should have some. What is taken away may overlap, so for a small
    catalogue this may be False though an item is left.
    """
    if not ask.k or one.allowed is not None:
        return False
    if ask.controls is not None and ask.controls.min_relevance is not None:
        return False
    num_items = ranker.index.num_items
    return num_items == 0 or num_items > sum(len(ids) for ids in one.exclude)
