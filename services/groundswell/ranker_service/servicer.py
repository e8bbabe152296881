"""The gRPC face of the ranker service: checks, converts, calls, converts."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from groundswell.common.v1.item_pb2 import Interest
from groundswell.ranker.v1.ranker_service_pb2 import (
    BatchRecommendRequest,
    BatchRecommendResponse,
    FusionWeightSource,
    GetInterestsRequest,
    GetInterestsResponse,
    Recommendation,
    RecommendRequest,
    RecommendResponse,
    SimilarItem,
    SimilarItemsRequest,
    SimilarItemsResponse,
)
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceServicer
from groundswell.ranker_service.bundles import LoadedBundles
from groundswell.ranker_service.engine import Engine
from groundswell.ranker_service.fusion import AlphaSource
from groundswell.ranker_service.recommender import Answer, Ask, Recommender
from groundswell.ranker_service.requests import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, RequestReader
from groundswell.ranker_service.settings import RankerSettings
from groundswell.serving.deadlines import call_timeout, time_left_s
from groundswell.serving.errors import FailedPrecondition, NotFound
from groundswell.serving.validation import check_item_id, check_page_size

_SOURCES = {
    AlphaSource.LEARNED: FusionWeightSource.FUSION_WEIGHT_SOURCE_LEARNED,
    AlphaSource.CONSTANT: FusionWeightSource.FUSION_WEIGHT_SOURCE_CONSTANT,
    AlphaSource.FORCED: FusionWeightSource.FUSION_WEIGHT_SOURCE_FORCED,
    AlphaSource.ONE_VIEW: FusionWeightSource.FUSION_WEIGHT_SOURCE_ONE_VIEW,
    AlphaSource.NONE: FusionWeightSource.FUSION_WEIGHT_SOURCE_UNSPECIFIED,
}


class RankerServicer(RankerServiceServicer):
    """Serves RankerService. Its contract is in ranker_service.proto."""

    def __init__(
        self,
        recommender: Recommender,
        bundles: LoadedBundles,
        reader: RequestReader,
        settings: RankerSettings,
    ) -> None:
        self._recommender = recommender
        self._bundles = bundles
        self._reader = reader
        self._settings = settings

    async def Recommend(
        self,
        request: RecommendRequest,
        context: grpc.aio.ServicerContext[RecommendRequest, RecommendResponse],
    ) -> RecommendResponse:
        """Recommend to one user or visitor."""
        ask = self._reader.recommend(request)
        [answer] = await self._answer([ask], context, self._settings.recommend_timeout_s)
        return _recommended(answer)

    async def BatchRecommend(
        self,
        request: BatchRecommendRequest,
        context: grpc.aio.ServicerContext[BatchRecommendRequest, BatchRecommendResponse],
    ) -> BatchRecommendResponse:
        """Recommend to many users or visitors."""
        asks = self._reader.batch(request)
        answers = await self._answer(asks, context, self._settings.batch_timeout_s)
        return BatchRecommendResponse(responses=[_recommended(answer) for answer in answers])

    async def GetInterests(
        self,
        request: GetInterestsRequest,
        context: grpc.aio.ServicerContext[GetInterestsRequest, GetInterestsResponse],
    ) -> GetInterestsResponse:
        """Say what a user or visitor is interested in."""
        ask = self._reader.interests(request)
        if not self._bundles.current().manifest.categories:
            raise FailedPrecondition("NO_CATEGORIES", "the catalogue that trained has none")
        [answer] = await self._answer([ask], context, self._settings.recommend_timeout_s)
        return GetInterestsResponse(
            interests=_interests(answer),
            fusion_weight=answer.fusion_weight,
            fusion_weight_source=_SOURCES[answer.source],
            bundle_id=answer.bundle_id,
            degradations=answer.degradations,
        )

    async def SimilarItems(
        self,
        request: SimilarItemsRequest,
        context: grpc.aio.ServicerContext[SimilarItemsRequest, SimilarItemsResponse],
    ) -> SimilarItemsResponse:
        """Find an item's neighbours."""
        check_item_id(request.item_id)
        k = check_page_size(request, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        engine = self._bundles.current()
        item_no = engine.catalogue.number(request.item_id)
        if item_no is None:
            raise NotFound(
                "ITEM_NOT_FOUND", "item_id names no item of the catalogue", field="item_id"
            )
        async with call_timeout(context, self._settings.recommend_timeout_s):
            hits = await engine.similar(item_no, k, request.filter)
        found = zip(hits.ids.tolist(), hits.scores.tolist(), strict=True)
        items = [_similar_item(engine, number, cosine) for number, cosine in found]
        return SimilarItemsResponse(
            items=[item for item in items if item is not None],
            bundle_id=engine.space.bundle_id,
        )

    async def _answer(
        self,
        asks: Sequence[Ask],
        context: "grpc.aio.ServicerContext[Any, Any]",
        default_timeout_s: float,
    ) -> list[Answer]:
        """Answer within the caller's deadline, of which the services get their share."""
        engine = self._bundles.current()
        timeout_s = time_left_s(context, default_timeout_s)
        gather_s = min(self._settings.upstream_timeout_s, self._settings.upstream_share * timeout_s)
        async with asyncio.timeout(timeout_s):
            return await self._recommender.answer(engine, asks, gather_s)


def _recommended(answer: Answer) -> RecommendResponse:
    recommendation_id = uuid.uuid4().hex
    return RecommendResponse(
        recommendations=[
            Recommendation(
                item_id=ranked.item.item_id,
                score=ranked.score,
                short_score=ranked.short_score,
                long_score=ranked.long_score,
                title=ranked.item.title,
                categories=ranked.item.categories,
            )
            for ranked in answer.items
        ],
        interests=_interests(answer),
        fusion_weight=answer.fusion_weight,
        fusion_weight_source=_SOURCES[answer.source],
        bundle_id=answer.bundle_id,
        degradations=answer.degradations,
        profile_age=_duration(answer.profile_age_us),
        session_age=_duration(answer.session_age_us),
        recommendation_id=recommendation_id,
        # Events that carry it can be counted for the answer, and for the bundle that gave it.
        attribution_token=f"{recommendation_id}.{answer.bundle_id}",
    )


def _interests(answer: Answer) -> list[Interest]:
    return [Interest(category=category, probability=p) for category, p in answer.interests]


def _similar_item(engine: Engine, item_no: int, cosine: float) -> SimilarItem | None:
    item = engine.catalogue.get(item_no)
    if item is None:  # it was deleted since the search
        return None
    return SimilarItem(
        item_id=item.item_id, similarity=cosine, title=item.title, categories=item.categories
    )


def _duration(microseconds: int | None) -> Duration | None:
    if microseconds is None:
        return None
    duration = Duration()
    duration.FromMicroseconds(microseconds)
    return duration
