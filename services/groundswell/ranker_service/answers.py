"""Turns answers into messages of the contract that every client can receive."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from groundswell.ranker.v1.ranker_service_pb2 import (
    FusionWeightSource,
    GetInterestsResponse,
    RecommendResponse,
    SimilarItem,
    SimilarItemsResponse,
)
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.control_messages import say_why
from groundswell.ranker_service.stages.explain import Recommendations
from groundswell.ranker_service.stages.fuse import FusionWeightOrigin
from groundswell.retrieval.query import Hits
from groundswell.serving.attribution import (
    Attribution,
    AttributionTokens,
    new_recommendation_id,
)
from groundswell.serving.interests import interest_messages
from groundswell.serving.limits import MAX_ANSWER_BYTES
from groundswell.serving.validation import US_PER_S

WEIGHT_SOURCES = {
    FusionWeightOrigin.LEARNED: FusionWeightSource.FUSION_WEIGHT_SOURCE_LEARNED,
    FusionWeightOrigin.CONSTANT: FusionWeightSource.FUSION_WEIGHT_SOURCE_CONSTANT,
    FusionWeightOrigin.FORCED: FusionWeightSource.FUSION_WEIGHT_SOURCE_FORCED,
    FusionWeightOrigin.RANDOM: FusionWeightSource.FUSION_WEIGHT_SOURCE_RANDOM,
    FusionWeightOrigin.ONE_VECTOR: FusionWeightSource.FUSION_WEIGHT_SOURCE_ONE_VIEW,
    FusionWeightOrigin.NONE: FusionWeightSource.FUSION_WEIGHT_SOURCE_UNSPECIFIED,
}
# The bytes of the tag and the length of one answer in a batch.
_BYTES_BESIDE_ANSWER = 8


def recommend_responses(
    answers: Sequence[Recommendations], tokens: AttributionTokens
) -> list[RecommendResponse]:
    """The messages of a call's answers, less than MAX_ANSWER_BYTES together.

    If they are larger, the last ones keep only ids and scores. That always fits, since the contract
    bounds how many items one call asks for.
    """
    responses: list[RecommendResponse] = []
    size = 0
    for answer in answers:
        response = _recommended(answer, tokens, with_details=size < MAX_ANSWER_BYTES)
        size += response.ByteSize() + _BYTES_BESIDE_ANSWER
        responses.append(response)
    for response in reversed(responses):
        if size < MAX_ANSWER_BYTES:
            break
        size -= response.ByteSize()
        _omit_details(response)
        size += response.ByteSize()
    return responses


def interests_response(answer: Recommendations) -> GetInterestsResponse:
    """The message of an answer that was asked for interests alone."""
    short, long = answer.interests_by_vector or ((), ())
    return GetInterestsResponse(
        interests=interest_messages(answer.interests),
        fusion_weight=answer.fusion_weight,
        fusion_weight_source=WEIGHT_SOURCES[answer.fusion_weight_origin],
        bundle_id=answer.bundle_id,
        degradations=answer.degradations,
        short_interests=interest_messages(short),
        long_interests=interest_messages(long),
    )


def similar_response(ranker: BundleRanker, hits: Hits) -> SimilarItemsResponse:
    """The message of an item's neighbours; without titles if it would be too large."""
    response = SimilarItemsResponse(bundle_id=ranker.space.bundle_id)
    for number, cosine in zip(hits.ids.tolist(), hits.scores.tolist(), strict=True):
        item = ranker.items.get(number)
        if item is not None:  # else it was deleted since the search
            response.items.append(
                SimilarItem(
                    item_id=item.item_id,
                    similarity=cosine,
                    title=item.title,
                    categories=item.categories,
                )
            )
    if response.ByteSize() >= MAX_ANSWER_BYTES:
        response.details_omitted = True
        for one in response.items:
            one.ClearField("title")
            one.ClearField("categories")
    return response


def _recommended(
    answer: Recommendations, tokens: AttributionTokens, *, with_details: bool
) -> RecommendResponse:
    made = _attribution(answer, tokens)
    response = RecommendResponse(
        fusion_weight=answer.fusion_weight,
        fusion_weight_source=WEIGHT_SOURCES[answer.fusion_weight_origin],
        bundle_id=answer.bundle_id,
        degradations=answer.degradations,
        profile_age=_duration(answer.profile_age_us),
        session_age=_duration(answer.session_age_us),
        recommendation_id=made.recommendation_id,
        attribution_token=tokens.issue(made),
        details_omitted=not with_details,
        num_capped=answer.num_capped,
        variant=answer.variant,
    )
    ranked = answer.ranked
    scores = (ranked.scores.tolist(), ranked.short_scores.tolist(), ranked.long_scores.tolist())
    # A message that is added in place is not copied.
    for item, score, short_score, long_score in zip(answer.items, *scores, strict=True):
        if item is not None:
            one = response.recommendations.add()
            one.item_id, one.score = item.item_id, score
            one.short_score, one.long_score = short_score, long_score
            if with_details:
                one.title = item.title
                one.categories.extend(item.categories)
    for category, probability in answer.interests if with_details else ():
        response.interests.add(category=category, probability=probability)
    if answer.ranked.popularity_scores is not None:
        shown = (row for row, item in enumerate(answer.items) if item is not None)
        for row, one in zip(shown, response.recommendations, strict=True):
            one.popularity_score = answer.ranked.popularity_scores[row]
    if with_details and (answer.by_vector is not None or answer.ranked.arranged is not None):
        say_why(response, answer)
    return response


def _attribution(answer: Recommendations, tokens: AttributionTokens) -> Attribution:
    inputs = answer.inputs
    if inputs is not None:
        inputs = inputs._replace(request=tokens.digest(answer.request))
    return Attribution(
        new_recommendation_id(),
        answer.bundle_id,
        answer.variant,
        fusion_weight=None if answer.ranked.fallback else answer.fusion_weight,
        draw=answer.draw,
        propensity=answer.propensity,
        inputs=inputs,
    )


def _omit_details(response: RecommendResponse) -> None:
    response.details_omitted = True
    response.ClearField("interests")
    response.ClearField("controls")
    for one in response.recommendations:
        for name in ("title", "categories", "controls", "ranks"):
            one.ClearField(name)


def _duration(microseconds: int | None) -> Duration | None:
    if microseconds is None:
        return None
    seconds, rest_us = divmod(microseconds, US_PER_S)  # it is never negative
    return Duration(seconds=seconds, nanos=rest_us * 1000)
