"""The gRPC methods of the ranker service: each reads a request and writes its answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import numpy as np

from groundswell.ranker.v1.ranker_service_pb2 import (
    BatchRecommendRequest,
    BatchRecommendResponse,
    CategoryRecommendations,
    ExplainItemRequest,
    ExplainItemResponse,
    GetInterestsRequest,
    GetInterestsResponse,
    RecommendCategoriesRequest,
    RecommendCategoriesResponse,
    RecommendRequest,
    RecommendResponse,
    ReplayRecommendRequest,
    ReplayRecommendResponse,
    SimilarItemsRequest,
    SimilarItemsResponse,
    StreamRecommendRequest,
    StreamRecommendResponse,
)
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceServicer
from groundswell.ranker_service.answers import (
    interests_response,
    recommend_responses,
    similar_response,
)
from groundswell.ranker_service.assignment import AssignedRankers, by_bundle
from groundswell.ranker_service.bundles import RankerBundles
from groundswell.ranker_service.explanation_messages import item_explained
from groundswell.ranker_service.page_tokens import MAX_SHOWN, PageTokens, ShownItems
from groundswell.ranker_service.probation import FAILED, badness
from groundswell.ranker_service.recommender import Recommender
from groundswell.ranker_service.replay import as_then, changes_since, is_same_list
from groundswell.ranker_service.requests import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Ask, RequestReader
from groundswell.ranker_service.settings import RankerSettings
from groundswell.ranker_service.shown import AnsweredList, AnsweredLists
from groundswell.ranker_service.stages.draw import RandomFusion
from groundswell.ranker_service.stages.explain import Recommendations
from groundswell.retrieval.query import NO_IDS
from groundswell.serving.around import Context
from groundswell.serving.attribution import AttributionTokens, Draw
from groundswell.serving.deadlines import call_timeout, time_left_s
from groundswell.serving.errors import FailedPrecondition, ServiceError
from groundswell.serving.in_order import in_order
from groundswell.serving.together import all_of
from groundswell.serving.validation import check_item_id, check_page_size

OfBatch = TypeVar("OfBatch", BatchRecommendResponse, StreamRecommendResponse)

LONG_ANSWER = 50
"""More items and interests could hold the event loop for several milliseconds."""
_STREAM_BATCHES = 2
"""While one batch is ranked, the users of the next one are asked for."""
_ENOUGH_S = 0.1
"""A missing vector says nothing about the bundle when its service had less time than this."""


class RankerServicer(RankerServiceServicer):
    """Serves RankerService. Its contract is in ranker_service.proto."""

    def __init__(
        self,
        recommender: Recommender,
        bundles: RankerBundles,
        reader: RequestReader,
        settings: RankerSettings,
        tokens: PageTokens,
        assignment: AssignedRankers,
        answered: AnsweredLists | None = None,
    ) -> None:
        """`answered` gets the list of each answer of Recommend; None: they are not kept."""
        self._recommender = recommender
        self._bundles = bundles
        self._reader = reader
        self._settings = settings
        self._tokens = tokens
        self._assignment = assignment
        self._attribution = AttributionTokens(*settings.secrets)
        self._answered = answered
        self._fusion = RandomFusion(settings.random_fusion_share, settings.random_fusion_weights)

    async def Recommend(self, request: RecommendRequest, context: Context) -> RecommendResponse:
        """Recommend to one user or visitor."""
        ask = self._assignment.of(self._reader.recommend(request))
        if self._answered is not None:  # else no log would tell how the drawn weights did
            constant = self._bundles.current().manifest.fusion.constant_alpha
            ask = self._fusion.drawn(ask, constant)
        answer = await self._answer_one(ask, context)
        if ask.k + ask.num_interests > LONG_ANSWER:
            [response] = await asyncio.to_thread(recommend_responses, [answer], self._attribution)
        else:
            [response] = recommend_responses([answer], self._attribution)
        if ask.with_next_page:
            response.next_page_token = self._next_page(ask, answer)
        if self._answered is not None:
            item_nos = [item.item_no for item in answer.items if item is not None]
            self._answered.put(
                AnsweredList(response.attribution_token, ask.user_id, item_nos, answer.lineage)
            )
        return response

    async def BatchRecommend(
        self, request: BatchRecommendRequest, context: Context
    ) -> BatchRecommendResponse:
        """Recommend to many users or visitors."""
        timeout_s = time_left_s(context, self._settings.batch_timeout_s)
        return await self._batch(request, BatchRecommendResponse, timeout_s)

    async def StreamRecommend(
        self, requests: AsyncIterator[StreamRecommendRequest], context: Context
    ) -> AsyncIterator[StreamRecommendResponse]:
        """Recommend to any number of users or visitors, batch by batch."""
        timeout_s = self._settings.batch_timeout_s

        async def answer(request: StreamRecommendRequest) -> StreamRecommendResponse:
            return await self._batch(request, StreamRecommendResponse, timeout_s)

        async with aclosing(in_order(answer, requests, _STREAM_BATCHES)) as responses:
            async for response in responses:
                yield response

    async def GetInterests(
        self, request: GetInterestsRequest, context: Context
    ) -> GetInterestsResponse:
        """Return the interests of a user or visitor."""
        ask = self._reader.interests(request)
        self._check_categories()
        answer = await self._answer_one(ask, context)
        if len(answer.interests) > LONG_ANSWER:
            return await asyncio.to_thread(interests_response, answer)
        return interests_response(answer)

    async def RecommendCategories(
        self, request: RecommendCategoriesRequest, context: Context
    ) -> RecommendCategoriesResponse:
        """Recommend categories with their items."""
        ask, number = self._reader.categories(request)
        self._check_categories()
        timeout_s, gather_s = self._long_times(context)
        ask = self._assignment.of(ask)
        with self._assignment.rankers(ask) as rankers:
            async with asyncio.timeout(timeout_s):
                found = await self._recommender.categories(rankers, ask, number, gather_s)
        answers = await asyncio.to_thread(
            recommend_responses, [one.answer for one in found], self._attribution
        )
        return RecommendCategoriesResponse(
            categories=[
                CategoryRecommendations(
                    category=one.category, probability=one.probability, answer=answer
                )
                for one, answer in zip(found, answers, strict=True)
            ]
        )

    async def ExplainItem(
        self, request: ExplainItemRequest, context: Context
    ) -> ExplainItemResponse:
        """Say why an item is in an answer, or why not."""
        check_item_id(request.item_id)
        ask = self._reader.nested(request)
        if request.attribution_token:
            made = self._attribution.read(request.attribution_token, "attribution_token")
            if made.draw is not Draw.NONE and ask.fusion_weight is None:
                ask = replace(ask, fusion_weight=made.fusion_weight, draw=made.draw)
        timeout_s, gather_s = self._long_times(context)
        ask = self._assignment.of(ask)
        with self._assignment.rankers(ask) as rankers:
            async with asyncio.timeout(timeout_s):
                found = await self._recommender.explain_item(
                    rankers, ask, request.item_id, gather_s, timeout_s / 2
                )
            return item_explained(rankers[0].items, found)

    async def ReplayRecommend(
        self, request: ReplayRecommendRequest, context: Context
    ) -> ReplayRecommendResponse:
        """Make an answer again, and say what of its inputs has changed."""
        made = self._attribution.read(request.attribution_token, "attribution_token")
        inputs = made.inputs
        if inputs is None:
            message = "the token does not say what its answer was made of"
            raise FailedPrecondition("NOT_REPLAYABLE", message, field="attribution_token")
        ask = as_then(self._reader.nested(request), made, inputs, self._bundles)
        timeout_s, gather_s = self._long_times(context)
        async with asyncio.timeout(timeout_s):
            [answer] = await self._of_one_bundle([ask], gather_s)
        [response] = await asyncio.to_thread(recommend_responses, [answer], self._attribution)
        return ReplayRecommendResponse(
            answer=response,
            same_list=is_same_list(inputs, answer),
            changes=changes_since(made, inputs, answer, self._attribution),
        )

    async def SimilarItems(
        self, request: SimilarItemsRequest, context: Context
    ) -> SimilarItemsResponse:
        """Return the items that are nearest to an item."""
        check_item_id(request.item_id)
        k = check_page_size(request, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        with self._bundles.in_use() as [ranker, *_]:
            item_no = ranker.items.of_id(request.item_id).item_no
            async with call_timeout(context, self._settings.recommend_timeout_s):
                hits = await ranker.similar(item_no, k, request.filter)
            return similar_response(ranker, hits)

    def _check_categories(self) -> None:
        if not self._bundles.current().manifest.categories:
            raise FailedPrecondition("NO_CATEGORIES", "the catalogue that trained has none")

    def _next_page(self, ask: Ask, answer: Recommendations) -> str:
        """Return the token of the page after an answer; empty when there is none."""
        before = NO_IDS if ask.shown is None else ask.shown.item_nos
        shown = np.concatenate([before, answer.ranked.ids])
        if len(answer.ranked.ids) < ask.k or len(shown) > MAX_SHOWN:
            return ""
        return self._tokens.write(ShownItems(answer.lineage, shown))

    def _long_times(self, context: Context) -> tuple[float, float]:
        """Return how long a costly call may take, and how long it may wait for other services."""
        timeout_s = time_left_s(context, self._settings.batch_timeout_s)
        share = self._settings.upstream_share
        return timeout_s, min(self._settings.upstream_timeout_s, share * timeout_s)

    async def _batch(
        self,
        request: BatchRecommendRequest | StreamRecommendRequest,
        response: type[OfBatch],
        timeout_s: float,
    ) -> OfBatch:
        asks = await self._reader.batch(request)
        answers = await self._answer(asks, timeout_s, self._settings.upstream_share * timeout_s)
        # Thousands of messages: in a thread, other calls are answered between them.
        return await asyncio.to_thread(
            lambda: response(responses=recommend_responses(answers, self._attribution))
        )

    async def _answer_one(self, ask: Ask, context: Context) -> Recommendations:
        settings = self._settings
        timeout_s = time_left_s(context, settings.recommend_timeout_s)
        gather_s = min(settings.upstream_timeout_s, settings.upstream_share * timeout_s)
        [answer] = await self._answer([ask], timeout_s, gather_s)
        return answer

    async def _answer(
        self, asks: Sequence[Ask], timeout_s: float, gather_s: float
    ) -> list[Recommendations]:
        """Answer within `timeout_s`; wait for the other services for at most `gather_s`."""
        asks = [self._assignment.of(ask) for ask in asks]
        groups = by_bundle(asks)
        parts = [self._of_one_bundle([asks[n] for n in group], gather_s) for group in groups]
        async with asyncio.timeout(timeout_s):
            answers = await all_of(parts) if len(parts) > 1 else [await parts[0]]
        placed = dict(zip(chain(*groups), chain(*answers), strict=True))
        return [placed[n] for n in range(len(asks))]

    async def _of_one_bundle(self, asks: Sequence[Ask], gather_s: float) -> list[Recommendations]:
        with self._assignment.rankers(asks[0]) as rankers:
            try:
                answers = await self._recommender.recommend(rankers, asks, gather_s)
            except (ServiceError, TimeoutError):
                raise
            except Exception:  # whatever failed counts against the bundle, and goes on
                self._bundles.note(rankers[0].space.bundle_id, FAILED)
                raise
        if not self._recommender.upstream_is_down:
            for one in answers:
                lacks = one.degradations if gather_s >= _ENOUGH_S else ()
                self._bundles.note(one.bundle_id, badness(lacks, is_empty=one.is_oddly_empty))
        return answers
