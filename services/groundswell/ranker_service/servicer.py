"""The gRPC methods of the ranker service: each reads a request and writes its answer."""

import asyncio
from collections.abc import Sequence

from groundswell.ranker.v1.ranker_service_pb2 import (
    BatchRecommendRequest,
    BatchRecommendResponse,
    GetInterestsRequest,
    GetInterestsResponse,
    RecommendRequest,
    RecommendResponse,
    SimilarItemsRequest,
    SimilarItemsResponse,
)
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceServicer
from groundswell.ranker_service.answers import (
    interests_response,
    recommend_responses,
    similar_response,
)
from groundswell.ranker_service.bundles import RankerBundles
from groundswell.ranker_service.recommender import Recommender
from groundswell.ranker_service.requests import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Ask, RequestReader
from groundswell.ranker_service.settings import RankerSettings
from groundswell.ranker_service.stages.explain import Recommendations
from groundswell.serving.around import Context
from groundswell.serving.deadlines import call_timeout, time_left_s
from groundswell.serving.errors import FailedPrecondition, NotFound
from groundswell.serving.validation import check_item_id, check_page_size


class RankerServicer(RankerServiceServicer):
    """Serves RankerService. Its contract is in ranker_service.proto."""

    def __init__(
        self,
        recommender: Recommender,
        bundles: RankerBundles,
        reader: RequestReader,
        settings: RankerSettings,
    ) -> None:
        self._recommender = recommender
        self._bundles = bundles
        self._reader = reader
        self._settings = settings

    async def Recommend(self, request: RecommendRequest, context: Context) -> RecommendResponse:
        """Recommend to one user or visitor."""
        ask = self._reader.recommend(request)
        [response] = recommend_responses([await self._answer_one(ask, context)])
        return response

    async def BatchRecommend(
        self, request: BatchRecommendRequest, context: Context
    ) -> BatchRecommendResponse:
        """Recommend to many users or visitors."""
        asks = await self._reader.batch(request)
        timeout_s = time_left_s(context, self._settings.batch_timeout_s)
        answers = await self._answer(asks, timeout_s, self._settings.upstream_share * timeout_s)
        # Thousands of messages: in a thread, other calls are answered between them.
        return BatchRecommendResponse(
            responses=await asyncio.to_thread(recommend_responses, answers)
        )

    async def GetInterests(
        self, request: GetInterestsRequest, context: Context
    ) -> GetInterestsResponse:
        """Return the interests of a user or visitor."""
        ask = self._reader.interests(request)
        if not self._bundles.current().manifest.categories:
            raise FailedPrecondition("NO_CATEGORIES", "the catalogue that trained has none")
        return interests_response(await self._answer_one(ask, context))

    async def SimilarItems(
        self, request: SimilarItemsRequest, context: Context
    ) -> SimilarItemsResponse:
        """Return the items that are nearest to an item."""
        check_item_id(request.item_id)
        k = check_page_size(request, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        with self._bundles.in_use() as [ranker, *_]:
            item_no = ranker.items.number(request.item_id)
            if item_no is None:
                raise NotFound(
                    "ITEM_NOT_FOUND", "item_id names no item of the catalogue", field="item_id"
                )
            async with call_timeout(context, self._settings.recommend_timeout_s):
                hits = await ranker.similar(item_no, k, request.filter)
            return similar_response(ranker, hits)

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
        with self._bundles.in_use() as rankers:
            async with asyncio.timeout(timeout_s):
                return await self._recommender.recommend(rankers, asks, gather_s)
