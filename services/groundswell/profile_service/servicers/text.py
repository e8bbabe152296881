"""Serves TextService."""

import numpy as np

from groundswell.profile.v1 import text_service_pb2 as pb
from groundswell.profile.v1.text_service_pb2_grpc import TextServiceServicer
from groundswell.profile_service.bundles.loaded import ProfileBundles
from groundswell.profile_service.settings import ProfileSettings
from groundswell.serving.around import Context
from groundswell.serving.deadlines import call_timeout
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.interests import MAX_INTERESTS, interest_messages, top_interests
from groundswell.serving.validation import check_num_interests, id_problem
from groundswell.serving.vectors import vector_to_proto

MAX_TEXTS = 64
MAX_TEXT_BYTES = 20_000
MAX_UNKNOWN_SHARE = 0.5


class TextServicer(TextServiceServicer):
    """The contract is in text_service.proto."""

    def __init__(self, bundles: ProfileBundles, settings: ProfileSettings) -> None:
        self._bundles = bundles
        self._settings = settings

    async def EncodeTexts(
        self, request: pb.EncodeTextsRequest, context: Context
    ) -> pb.EncodeTextsResponse:
        """Encode texts into the item space."""
        texts = request.texts
        if not 1 <= len(texts) <= MAX_TEXTS:
            message = f"texts has {len(texts)}; it must have 1 to {MAX_TEXTS}"
            raise InvalidArgument("TEXTS_INVALID", message, field="texts")
        for index, text in enumerate(texts):
            _check_text(text, f"texts[{index}]", "TEXTS_INVALID")
        with self._bundles.held.asked_for(request.bundle_id) as models:
            async with call_timeout(context, self._settings.encode_texts_timeout_s):
                encoded = await models.encode_texts(texts)
                vectors = await models.item_vectors(
                    np.stack([e.vector for e in encoded]), np.full(len(encoded), -1, np.int64)
                )
        return pb.EncodeTextsResponse(
            vectors=[vector_to_proto(vector, models.id) for vector in vectors],
            unknown_shares=[e.unknown_share for e in encoded],
        )

    async def PredictInterests(
        self, request: pb.PredictInterestsRequest, context: Context
    ) -> pb.PredictInterestsResponse:
        """Return the interest distribution of a text."""
        _check_text(request.text, "text", "TEXT_INVALID")
        num_interests = check_num_interests(request, 1, MAX_INTERESTS)
        with self._bundles.held.asked_for("") as models:
            async with call_timeout(context, self._settings.predict_interests_timeout_s):
                encoded = await models.encode_text(request.text)
                probabilities = await models.interests(encoded.vector)
        if encoded.unknown_share > MAX_UNKNOWN_SHARE:
            share = f"{encoded.unknown_share:.0%}"
            message = f"text: the encoder does not know {share} of its tokens"
            raise InvalidArgument("TEXT_UNKNOWN", message, field="text")
        found = top_interests(probabilities, models.manifest.categories, num_interests)
        return pb.PredictInterestsResponse(
            interests=interest_messages(found),
            unknown_share=encoded.unknown_share,
            bundle_id=models.id,
        )


def _check_text(text: str, field: str, reason: str) -> None:
    problem = "is blank" if text and not text.strip() else id_problem(text, MAX_TEXT_BYTES)
    if problem is not None:
        raise InvalidArgument(reason, f"{field} {problem}", field=field)
